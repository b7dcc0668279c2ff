"""Events to whoever listens: SSE and WebSocket from one hub."""
