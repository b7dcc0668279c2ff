"""The stream between the relay and everything derived: the protocol, its implementations, and the consumers' skeleton."""
