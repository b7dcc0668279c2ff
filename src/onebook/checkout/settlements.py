"""Money that follows a cancellation or an amendment."""

import asyncpg


class Settlements:
    """Money that follows a cancellation or an amendment."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
