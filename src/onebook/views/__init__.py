"""The read side: what is on sale from memory, bookings and the log from the tables. Nothing here decides a booking."""
