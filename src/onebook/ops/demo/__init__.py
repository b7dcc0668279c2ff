"""`onebook demo`: a market, a crowd that competes for it, and the verdict."""
