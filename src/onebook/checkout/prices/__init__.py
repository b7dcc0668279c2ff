"""What things cost: offers as they were put, quotes, and the seal that holds their price."""
