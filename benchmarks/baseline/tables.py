"""The baseline's tables: prefilled nights, bookings with their items, and an outbox of its own."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

resources = Table(
    "resources",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
)

nights = Table(
    "nights",
    metadata,
    Column("resource_id", ForeignKey(resources.c.id), primary_key=True),
    Column("night", Date, primary_key=True),
    Column("capacity", Integer, nullable=False),
    Column("taken", Integer, nullable=False, server_default="0"),
    CheckConstraint("taken <= capacity", name="nights_never_oversold"),
    # Free space on each page keeps updates of `taken` off the index (HOT updates).
    postgresql_with={"fillfactor": 50},
)

bookings = Table(
    "bookings",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("channel", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("channel", "idempotency_key", name="bookings_one_effect_per_key"),
)

items = Table(
    "items",
    metadata,
    Column("booking_id", ForeignKey(bookings.c.id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("resource", Text, nullable=False),
    Column("first_night", Date, nullable=False),
    Column("end", Date, nullable=False),
    Column("quantity", Integer, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("type", Text, nullable=False),
    Column("booking_id", BigInteger, nullable=False),
    Column("body", JSONB, nullable=False),
    # When it is written, and not when its transaction began: what polls it is measured from there.
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
