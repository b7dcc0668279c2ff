"""What things cost, as it was put."""

import asyncpg


class Offers:
    """What things cost, as it was put."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
