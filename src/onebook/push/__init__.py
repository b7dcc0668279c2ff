"""Streams to clients: one hub per worker; Server-Sent Events and WebSockets hang on it (see api/stream_routes.py)."""
