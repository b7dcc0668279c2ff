"""Customers: encrypted profiles, found by exact e-mail, exported and erased."""
