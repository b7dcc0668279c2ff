"""The public face of checkouts."""

import asyncpg


class Checkouts:
    """The public face of checkouts."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
