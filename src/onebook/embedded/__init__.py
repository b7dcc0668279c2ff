"""The embedded default: a real PostgreSQL from a wheel, started and supervised by `onebook up`."""
