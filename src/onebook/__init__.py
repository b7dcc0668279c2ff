"""Onebook: one ledger for everything sold by time, and every channel that sells it in lock-step."""
