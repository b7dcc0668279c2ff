"""The baseline's statements, built once and not per request, which would cost it processor time."""

from sqlalchemy import bindparam, insert, select, update

from .tables import bookings, events, items, nights, resources

_of_the_stay = (
    nights.c.night >= bindparam("first_night"),
    nights.c.night < bindparam("end"),
)

# In order of date, so that two stays that overlap cannot lock each other out.
LOCK_NIGHTS = (
    select(nights.c.resource_id, nights.c.night, (nights.c.capacity - nights.c.taken).label("available"))
    .join(resources)
    .where(resources.c.code == bindparam("resource"), *_of_the_stay)
    .order_by(nights.c.night)
    .with_for_update(of=nights)
)

LOCK_RESOURCE = select(resources.c.id).where(resources.c.code == bindparam("resource")).with_for_update()

TAKE_NIGHTS = (
    update(nights)
    .where(nights.c.resource_id == bindparam("of_resource"), *_of_the_stay)
    .values(taken=nights.c.taken + bindparam("quantity"))
)

INSERT_BOOKING = insert(bookings).returning(bookings.c.id)
INSERT_ITEMS = insert(items)
INSERT_EVENT = insert(events)

FIND_BY_KEY = select(bookings).where(
    bookings.c.channel == bindparam("channel"), bookings.c.idempotency_key == bindparam("key")
)
FIND_ITEMS = select(items).where(items.c.booking_id == bindparam("booking_id")).order_by(items.c.line)

FIND_NIGHTS = (
    select(nights.c.night, (nights.c.capacity - nights.c.taken).label("available"))
    .join(resources)
    .where(resources.c.code == bindparam("resource"), *_of_the_stay)
    .order_by(nights.c.night)
)
