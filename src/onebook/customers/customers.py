"""The public face of customers."""

import asyncpg


class Customers:
    """The public face of customers."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
