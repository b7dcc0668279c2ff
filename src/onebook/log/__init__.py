"""The append-only log: what an entry says, how it reads on the wire, and reading it in order."""
