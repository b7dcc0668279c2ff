"""The read side: availability, search and bookings, answered from the ledger's tables. Nothing here decides a booking."""
