"""Dead letters are counted for the alerts."""

import asyncpg
from prometheus_client import REGISTRY

from onebook.ledger.database import open_reader
from onebook.ops.lag.letters import LetterCount


async def test_letters_are_counted_by_consumer_until_they_are_gone(database_url: str) -> None:
    """Those of all endpoints are one count, and a consumer whose letters are gone says 0 and not what it said last."""
    pool = await open_reader(database_url, 1)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO dead_letter (consumer, txn, position, type, subject, reason) VALUES "
            "('view', 1, 1, 't', 's', 'r'), ('webhook/a', 1, 1, 't', 's', 'r'), ('webhook/b', 1, 1, 't', 's', 'r')"
        )
        count = LetterCount(pool)
        assert await count.run_once() == {"view": 1, "webhook": 2}
        await connection.execute("DELETE FROM dead_letter WHERE consumer = 'view'")
        assert await count.run_once() == {"view": 0, "webhook": 2}
        assert REGISTRY.get_sample_value("onebook_dead_letters", {"consumer": "view"}) == 0
    finally:
        await connection.close()
        pool.terminate()
