"""Makes quotes, signs them, and knows its own again."""

import asyncpg


class Quotes:
    """Makes quotes, signs them, and knows its own again."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
