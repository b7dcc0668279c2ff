"""Partners: signed webhooks out, and what they missed in one call."""
