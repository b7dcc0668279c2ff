"""The baseline's HTTP API: `POST /v1/bookings`, one transaction per hold; `GET /v1/availability`, one SELECT per request."""

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from . import queries
from .tokens import channel_of
from .wire import Availability, Held, Line, OnSale, PlaceHold

# For each of two workers: of 5, 8, 10, 15 and 20 the best, or close to it, over 1,000 resources and over one.
POOL_SIZE = 10

LOCKS_RESOURCES = os.environ["BASELINE_LOCK"] == "resource"
engine = create_async_engine(os.environ["BASELINE_DATABASE"], pool_size=POOL_SIZE, max_overflow=0)
reading = engine.execution_options(isolation_level="AUTOCOMMIT")  # spares a SELECT its BEGIN and ROLLBACK


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the connections when the server stops."""
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}


@app.post("/v1/bookings", status_code=201)
async def place_hold(
    command: PlaceHold,
    channel: Annotated[str, Depends(channel_of)],
    idempotency_key: Annotated[str, Header(min_length=1, max_length=255)],
    response: Response,
) -> Held:
    """All lines or none; a repeat of the key gets the booking that the first one made."""
    request_hash = hashlib.sha256(command.model_dump_json().encode()).digest()
    try:
        async with engine.begin() as transaction:
            for line in sorted(command.items, key=lambda line: (line.resource, line.first_night)):
                await _take_nights(transaction, line)
            return await _write_booking(transaction, command, channel, idempotency_key, request_hash)
    except IntegrityError as error:
        if "bookings_one_effect_per_key" not in str(error.orig):
            raise
    response.status_code = 200
    response.headers["Idempotent-Replayed"] = "true"
    return await _replay(channel, idempotency_key, request_hash)


@app.get("/v1/availability", dependencies=[Depends(channel_of)])
async def availability(
    venue: str,
    resource: str,
    first_night: Annotated[date, Query(alias="from")],
    end: Annotated[date, Query(alias="to")],
) -> Availability:
    """One resource's nights, read without a transaction; asyncpg has the statement prepared."""
    key = f"{venue}/{resource}"
    stay = {"resource": key, "first_night": first_night, "end": end}
    async with reading.connect() as connection:
        rows = (await connection.execute(queries.FIND_NIGHTS, stay)).all()
    on_sale = OnSale.model_construct(
        resource=key, cells=[row.night for row in rows], available=[row.available for row in rows]
    )
    return Availability.model_construct(venue=venue, first_night=first_night, end=end, resources=[on_sale])


async def _take_nights(transaction: AsyncConnection, line: Line) -> None:
    """Lock the nights, check each, and take the units from all of them."""
    stay = {"first_night": line.first_night, "end": line.end}
    if LOCKS_RESOURCES:
        await transaction.execute(queries.LOCK_RESOURCE, {"resource": line.resource})
    nights = (await transaction.execute(queries.LOCK_NIGHTS, {"resource": line.resource, **stay})).all()
    if len(nights) < (line.end - line.first_night).days:
        raise HTTPException(404, "there is no such resource, or it is not sold on all of these nights")
    unavailable = [night.night.isoformat() for night in nights if night.available < line.quantity]
    if unavailable:
        raise HTTPException(409, {"code": "sold-out", "unavailable": unavailable})
    await transaction.execute(
        queries.TAKE_NIGHTS, {"of_resource": nights[0].resource_id, "quantity": line.quantity, **stay}
    )


async def _write_booking(
    transaction: AsyncConnection,
    command: PlaceHold,
    channel: str,
    idempotency_key: str,
    request_hash: bytes,
) -> Held:
    now = datetime.now(UTC)
    expires_at = now + timedelta(seconds=command.ttl_seconds)
    booking = {
        "channel": channel,
        "idempotency_key": idempotency_key,
        "request_hash": request_hash,
        "status": "held",
        "created_at": now,
        "expires_at": expires_at,
    }
    booking_id: int = (await transaction.execute(queries.INSERT_BOOKING, booking)).scalar_one()
    lines = [
        {"booking_id": booking_id, "line": number, **line.model_dump(by_alias=False)}
        for number, line in enumerate(command.items)
    ]
    await transaction.execute(queries.INSERT_ITEMS, lines)
    held = Held(id=str(booking_id), channel=channel, expires_at=expires_at, items=command.items)
    event = {"type": "booking.held", "booking_id": booking_id, "body": held.model_dump(mode="json")}
    await transaction.execute(queries.INSERT_EVENT, event)
    return held


async def _replay(channel: str, idempotency_key: str, request_hash: bytes) -> Held:
    async with engine.connect() as connection:
        booking = (await connection.execute(queries.FIND_BY_KEY, {"channel": channel, "key": idempotency_key})).one()
        if booking.request_hash != request_hash:
            raise HTTPException(422, {"code": "idempotency-key-reused"})
        rows = await connection.execute(queries.FIND_ITEMS, {"booking_id": booking.id})
        lines = [
            Line.model_validate(
                {"resource": row.resource, "from": row.first_night, "to": row.end, "quantity": row.quantity}
            )
            for row in rows
        ]
    return Held(id=str(booking.id), channel=channel, expires_at=booking.expires_at, items=lines)
