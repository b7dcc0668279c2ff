"""`onebook replay`: real bookings through the HTTP API."""
