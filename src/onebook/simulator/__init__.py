"""A payment gateway that moves no money: a process of its own with its own ledger, which fails on request."""
