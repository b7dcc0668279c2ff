"""`python -m baseline`: makes the database, fills it, and serves.

Prints `database URL`, `token JWT` and, when the port is bound, `ready URL`, a line each; `/healthz` answers
as soon as a worker is up. Made for throw-away databases: it drops what an earlier run left.
"""

import argparse
import asyncio
import json
import os
from datetime import UTC, date, datetime, timedelta

import uvicorn
import uvicorn.supervisors
from joserfc.jwk import OKPKey
from sqlalchemy import insert, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from .tables import metadata, resources
from .tokens import PUBLIC_KEY, mint

CAPACITY = 1_000_000
FILL_NIGHTS = text(
    "INSERT INTO nights (resource_id, night, capacity) SELECT id, CAST(:first AS date) + n, :capacity"
    " FROM resources CROSS JOIN generate_series(0, :nights - 1) AS n"
)


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    options = _options()
    first_night = date.fromisoformat(options.first_night)
    database = make_url(options.database).set(drivername="postgresql+asyncpg")
    own_database = database.set(database="baseline").render_as_string(hide_password=False)
    asyncio.run(_create_database(database.render_as_string(hide_password=False)))
    asyncio.run(_create_tables(own_database, options.resources, first_night, options.nights))

    key = OKPKey.generate_key("Ed25519")
    os.environ["BASELINE_DATABASE"] = own_database
    os.environ["BASELINE_LOCK"] = options.lock
    os.environ[PUBLIC_KEY] = json.dumps(key.as_dict(private=False))
    config = uvicorn.Config(
        "baseline.app:app",
        port=options.port,
        workers=options.workers,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
    listener = config.bind_socket()
    host, port = listener.getsockname()
    plain_database = database.set(drivername="postgresql", database="baseline")
    print("database", plain_database.render_as_string(hide_password=False))
    print("token", mint(key, "bench", ttl_seconds=86_400))
    print(f"ready http://{host}:{port}", flush=True)
    uvicorn.supervisors.Multiprocess(config, sockets=[listener]).run()


def _options() -> argparse.Namespace:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    parser = argparse.ArgumentParser(prog="baseline", description="The app that Onebook is measured against.")
    parser.add_argument("--database", required=True, help="URL of a PostgreSQL where a database may be created")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--resources", type=int, default=1000, help="how many: bench/r0, bench/r1, ...")
    parser.add_argument("--first-night", default=tomorrow.isoformat())
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument(
        "--lock",
        choices=("nights", "resource"),
        default="nights",
        help="lock the nights alone, or the resource's row first",
    )
    return parser.parse_args()


async def _create_database(database: str) -> None:
    engine = create_async_engine(database, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("DROP DATABASE IF EXISTS baseline"))
        await connection.execute(text("CREATE DATABASE baseline"))
    await engine.dispose()


async def _create_tables(database: str, count: int, first_night: date, nights: int) -> None:
    engine = create_async_engine(database)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(insert(resources), [{"code": f"bench/r{n}"} for n in range(count)])
        await connection.execute(FILL_NIGHTS, {"first": first_night, "nights": nights, "capacity": CAPACITY})
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text("VACUUM ANALYZE"))
    await engine.dispose()


if __name__ == "__main__":
    main()
