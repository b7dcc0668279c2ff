"""The money that follows the end or the change of what was paid for."""
