"""Folios and reports of the money ledger."""

import asyncpg


class MoneyBook:
    """Folios and reports of the money ledger."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
