"""Kinds of damage to the ledger of audited.sql, each with the finding that the auditor must make of it."""

from dataclasses import dataclass

BOOKING = "bookings/00000000-0000-7000-8000-00000000000"
BLOCK = "blocks/00000000-0000-7000-8000-00000000000"
ENDPOINT = "00000000-0000-7000-8000-0000000000e"
OPEN_LOG = "ALTER TABLE log DISABLE TRIGGER log_is_append_only;"
CLOSE_LOG = "ALTER TABLE log ENABLE TRIGGER log_is_append_only;"


def in_log(statement: str) -> str:
    """A change of the log, with its protection away for the moment."""
    return f"{OPEN_LOG} {statement}; {CLOSE_LOG}"


def rewritten(txn: int, old: str, new: str) -> str:
    """An entry of the log with other words."""
    return in_log(f"UPDATE log SET data = replace(data::text, '{old}', '{new}')::json WHERE txn = {txn}")


def of_delivery(endpoint: int, txn: int, change: str) -> str:
    """A change of one delivery."""
    return f"UPDATE webhook_delivery SET {change} WHERE endpoint_id = '{ENDPOINT}{endpoint}' AND txn = {txn}"


def delivered(endpoint: int, txn: int, position: int, kind: str) -> str:
    """One more delivery."""
    return (
        "INSERT INTO webhook_delivery (endpoint_id, position, txn, type, status, finished_at)"
        f" VALUES ('{ENDPOINT}{endpoint}', {position}, {txn}, '{kind}', 'delivered', now())"
    )


@dataclass(frozen=True)
class Damage:
    """What is done to the ledger, and the finding that must be made of it."""

    name: str
    sql: str
    check: str
    where: str
    what: str


DAMAGES = [
    # 1: nothing is sold twice
    Damage(
        "oversold without the constraint",
        "ALTER TABLE cell DROP CONSTRAINT cell_is_never_oversold;"
        "UPDATE cell SET booked = 9 WHERE resource_id = 1 AND number = 20789",
        "counters", "alfama/double 2026-12-02", "oversold",
    ),
    Damage(
        "constraint dropped",
        "ALTER TABLE cell DROP CONSTRAINT cell_is_never_oversold",
        "guards", "cell", "cell_is_never_oversold does not stand",
    ),
    Damage(
        "constraint weakened",
        "ALTER TABLE cell DROP CONSTRAINT cell_is_never_oversold;"
        "ALTER TABLE cell ADD CONSTRAINT cell_is_never_oversold CHECK (held + booked <= capacity + overbooking)",
        "guards", "cell", "cell_is_never_oversold does not stand",
    ),
    Damage(
        "constraint not validated",
        "ALTER TABLE cell DROP CONSTRAINT cell_counters_are_not_negative;"
        "ALTER TABLE cell ADD CONSTRAINT cell_counters_are_not_negative"
        " CHECK (held >= 0 AND booked >= 0 AND blocked >= 0) NOT VALID",
        "guards", "cell", "cell_counters_are_not_negative does not stand",
    ),
    Damage(
        "negative counter",
        "ALTER TABLE cell DROP CONSTRAINT cell_counters_are_not_negative;"
        "UPDATE cell SET held = -1 WHERE resource_id = 2 AND number = 1995704",
        "counters", "alfama/ana 2026-12-01 14:00:00", "oversold",
    ),
    Damage(
        "oversold once, as the log tells",
        rewritten(112, '"capacity":2', '"capacity":0'),
        "history", "log 112/12 alfama/double 2026-12-02", "oversold",
    ),
    # 2: every hold ends once
    Damage(
        "status changed behind the log",
        "UPDATE booking SET status = 'cancelled' WHERE idempotency_key = 'k3'",
        "bookings", f"{BOOKING}3 log 110/10", "another state than the log's",
    ),
    Damage(
        "ended twice",
        in_log(
            "INSERT INTO log (txn, time, type, subject, venues, data)"
            " SELECT 119, time, type, subject, venues, data FROM log WHERE txn = 119"
        ),
        "bookings", f"{BOOKING}5 log 119/24", "an illegal move",
    ),
    Damage(
        "placed twice",
        in_log(
            "INSERT INTO log (txn, time, type, subject, venues, data)"
            " SELECT 130, time, type, subject, venues, data FROM log WHERE txn = 123"
        ),
        "bookings", f"{BOOKING}7 log 130/24", "an illegal move",
    ),
    Damage(
        "entry deleted",
        in_log("DELETE FROM log WHERE txn = 107"),
        "bookings", f"{BOOKING}1 log 111/11", "an illegal move",
    ),
    Damage(
        "revision skipped",
        rewritten(121, '"revision":2', '"revision":3'),
        "bookings", f"{BOOKING}6 log 121/21", "not the next revision",
    ),
    Damage(
        "placing entry deleted",
        in_log("DELETE FROM log WHERE txn = 110"),
        "bookings", f"{BOOKING}3", "a booking that the log does not tell of",
    ),
    Damage(
        "booking deleted",
        "DELETE FROM booking WHERE idempotency_key = 'k7'",
        "bookings", f"{BOOKING}7 log 123/23", "the log tells of a booking that is not there",
    ),
    Damage(
        "item quantity changed",
        "UPDATE booking SET items = replace(items::text, '\"quantity\":1', '\"quantity\":2')::json"
        " WHERE idempotency_key = 'k3'",
        "bookings", f"{BOOKING}3 log 110/10", "other items than the log's",
    ),
    Damage(
        "items changed without an amendment",
        rewritten(119, '"quantity":1', '"quantity":2'),
        "bookings", f"{BOOKING}5 log 119/19", "other items without an amendment",
    ),
    Damage(
        "hold without a deadline",
        "ALTER TABLE booking DROP CONSTRAINT booking_deadline_belongs_to_a_hold;"
        "UPDATE booking SET expires_at = NULL WHERE idempotency_key = 'k7'",
        "bookings", f"{BOOKING}7 log 123/23", "another deadline than the log's",
    ),
    Damage(
        "deadline changed behind the log",
        "UPDATE booking SET expires_at = '2101-01-01Z' WHERE idempotency_key = 'k4'",
        "bookings", f"{BOOKING}4 log 117/17", "another deadline than the log's",
    ),
    Damage(
        "confirmed after its deadline",
        rewritten(106, '"expires_at":"2026-11-01T10:10:06Z"', '"expires_at":"2026-11-01T10:00:06.5Z"'),
        "bookings", f"{BOOKING}1 log 107/7", "moved after its deadline",
    ),
    Damage(
        "expired before its deadline",
        rewritten(118, '"expires_at":"2026-11-01T10:01:18Z"', '"expires_at":"2026-11-01T10:10:18Z"'),
        "bookings", f"{BOOKING}5 log 119/19", "expired before its deadline",
    ),
    Damage(
        "hold without a deadline, in the log too",
        "ALTER TABLE booking DROP CONSTRAINT booking_deadline_belongs_to_a_hold;"
        "UPDATE booking SET expires_at = NULL WHERE idempotency_key = 'k7';"
        + rewritten(123, ',"expires_at":"2100-01-01T00:00:00Z"', ""),
        "bookings", f"{BOOKING}7 log 123/23", "a deadline belongs to a hold and to nothing else",
    ),
    Damage(
        "items placed changed under an amendment",
        "UPDATE booking SET items = replace(items::text, '\"quantity\":1', '\"quantity\":2')::json"
        " WHERE id = '00000000-0000-7000-8000-000000000001'",
        "bookings", f"{BOOKING}1 log 106/6", "other items placed than the log's",
    ),
    Damage(
        "channel changed behind the log",
        "UPDATE booking SET channel = 'pos' WHERE idempotency_key = 'k3'",
        "bookings", f"{BOOKING}3 log 110/10", "placed otherwise than the log says",
    ),
    Damage(
        "deadline constraint dropped",
        "ALTER TABLE booking DROP CONSTRAINT booking_deadline_belongs_to_a_hold",
        "guards", "booking", "booking_deadline_belongs_to_a_hold does not stand",
    ),
    # 3: cells are the sums of what is taken
    Damage(
        "counter off by one",
        "UPDATE cell SET booked = booked + 1 WHERE resource_id = 1 AND number = 20791",
        "cells", "alfama/double 2026-12-04", "another sum than its bookings and blocks",
    ),
    Damage(
        "block not counted",
        "UPDATE cell SET blocked = 0 WHERE resource_id = 1 AND number = 20798",
        "cells", "alfama/double 2026-12-11", "another sum than its bookings and blocks",
    ),
    Damage(
        "missing cell",
        "DELETE FROM cell WHERE resource_id = 2 AND number = 1995690",
        "cells", "alfama/ana 2026-12-01 10:30:00", "a missing cell",
    ),
    Damage(
        "orphan cell",
        "INSERT INTO cell (resource_id, number, held, booked, blocked, capacity, overbooking)"
        " VALUES (99, 5, 0, 0, 0, 1, 0)",
        "cells", "resource 99 cell 5", "a cell of a resource that is not there",
    ),
    Damage(
        "resource without a head",
        "DELETE FROM head WHERE resource_id = 3",
        "cells", "opera/A-42", "a resource without a head",
    ),
    Damage(
        "head without its resource",
        "INSERT INTO head VALUES (99, 1, 1)",
        "cells", "resource 99", "a head without its resource",
    ),
    Damage(
        "unreadable items",
        "UPDATE booking SET items = '[{\"resource\":\"alfama/ana\",\"quantity\":\"many\",\"cells\":[1,2]}]'"
        " WHERE idempotency_key = 'k3'",
        "cells", "cells", "rows that cannot be read",
    ),
    Damage(
        "block lifted behind the log",
        "UPDATE block SET lifted_at = now() WHERE reason = 'painting'",
        "blocks", f"{BLOCK}a", "another life than the log's",
    ),
    # 4: the log is whole, and rebuilds the ledger
    Damage(
        "version missing",
        in_log("DELETE FROM log WHERE txn = 117"),
        "versions", "log 122/22 alfama/double", "versions are missing before this one",
    ),
    Damage(
        "version twice",
        rewritten(123, '"version":12,"cells":["', '"version":11,"cells":["'),
        "versions", "log 123/23 alfama/double", "a version again",
    ),
    Damage(
        "order swapped",
        in_log("UPDATE log SET txn = CASE txn WHEN 114 THEN 115 ELSE 114 END WHERE txn IN (114, 115)"),
        "versions", "log 114/15 alfama/ana", "versions are missing before this one",
    ),
    Damage(
        "head beyond the log",
        "UPDATE head SET version = 13 WHERE resource_id = 1",
        "versions", "head alfama/double", "another version than the log's last",
    ),
    Damage(
        "end of the log cut off",
        in_log("DELETE FROM log WHERE txn = 123"),
        "versions", "head alfama/double", "another version than the log's last",
    ),
    Damage(
        "wrong available",
        rewritten(109, '"available":[2]', '"available":[3]'),
        "entries", "log 109/9 alfama/double 2026-12-02", "another availability",
    ),
    Damage(
        "other cells named",
        rewritten(109, '"cells":["2026-12-02"]', '"cells":["2026-12-03"]'),
        "entries", "log 109/9 alfama/double", "other cells than those touched",
    ),
    Damage(
        "other venues named",
        in_log("UPDATE log SET venues = '{alfama}' WHERE txn = 108"),
        "entries", "log 108/8", "other venues than its resources'",
    ),
    Damage(
        "item without units",
        rewritten(123, '"quantity":1', '"quantity":0'),
        "entries", "log 123/23 alfama/double", "an item of no units",
    ),
    Damage(
        "turnaround not taken",
        rewritten(110, "1995693", "1995692"),
        "entries",
        "log 110/10 alfama/ana",
        "an item whose cells are not its period 2026-12-01T10:00:00+00:00 – 2026-12-01T11:00:00+00:00",
    ),
    Damage(
        "nights that are not the period",
        rewritten(106, "20788,20791", "20788,20792"),
        "entries", "log 106/6 alfama/double", "an item whose cells are not its period 2026-12-01 – 2026-12-04",
    ),
    Damage(
        "session's cell of another session",
        rewritten(120, '"cells":[1,2]', '"cells":[2,3]'),
        "entries",
        "log 120/20 opera/A-42",
        "an item whose cells are not its period 2026-12-24T15:00:00+00:00 – 2026-12-24T18:00:00+00:00",
    ),
    Damage(
        "entry that cannot be read",
        in_log("UPDATE log SET data = '{}' WHERE txn = 112"),
        "entries", "log 112/12", "an entry that cannot be read",
    ),
    Damage(
        "capacity changed behind the log",
        "UPDATE cell SET capacity = 5 WHERE resource_id = 1 AND number = 20788",
        "replay", "alfama/double 2026-12-01", "another capacity than the log's",
    ),
    Damage(
        "restriction changed behind the log",
        "UPDATE cell SET closed = false WHERE resource_id = 1 AND number = 20790",
        "replay", "alfama/double 2026-12-03", "another closed than the log's",
    ),
    Damage(
        "cell the log never touched",
        "INSERT INTO cell (resource_id, number, held, booked, blocked, capacity, overbooking)"
        " VALUES (1, 20800, 0, 0, 0, 4, 1)",
        "replay", "alfama/double 2026-12-13", "a cell that the log never touched",
    ),
    Damage(
        "definition changed behind the log",
        "UPDATE resource SET max_stay = 99 WHERE code = 'double'",
        "replay", "resources/alfama/double", "another max_stay than the log's",
    ),
    Damage(
        "hours changed behind the log",
        "UPDATE resource SET hours = NULL WHERE code = 'ana'",
        "replay", "resources/alfama/ana", "other hours than the log's",
    ),
    Damage(
        "session moved behind the log",
        "UPDATE session SET ends_at = '2026-12-24T19:00Z'",
        "replay", "sessions/opera/matinee", "another session than the log's",
    ),
    Damage(
        "append-only trigger disabled",
        OPEN_LOG,
        "guards", "log", "log_is_append_only does not stand",
    ),
    # 6: one key, one effect
    Damage(
        "key with two effects",
        "ALTER TABLE booking DROP CONSTRAINT booking_key_has_one_effect;"
        "UPDATE booking SET idempotency_key = 'k3' WHERE idempotency_key = 'k5'",
        "keys", "channel web key k3", "a key with several effects",
    ),
    Damage(
        "key constraint dropped",
        "ALTER TABLE booking DROP CONSTRAINT booking_key_has_one_effect",
        "guards", "booking", "booking_key_has_one_effect does not stand",
    ),
    Damage(
        "request without a hash",
        "UPDATE booking SET request_hash = '' WHERE idempotency_key = 'k3'",
        "keys", f"{BOOKING}3", "no hash of the request",
    ),
    # 9: every webhook at least once, in order per resource
    Damage(
        "delivery missing",
        f"DELETE FROM webhook_delivery WHERE endpoint_id = '{ENDPOINT}1' AND txn = 109",
        "deliveries", f"webhooks/{ENDPOINT}1 log 109/9", "an event that was wanted has no delivery",
    ),
    Damage(
        "delivery missing of what anybody may know",
        f"DELETE FROM webhook_delivery WHERE endpoint_id = '{ENDPOINT}2' AND txn = 114",
        "deliveries", f"webhooks/{ENDPOINT}2 log 114/14", "an event that was wanted has no delivery",
    ),
    Damage(
        "delivery missing since a change",
        f"DELETE FROM webhook_delivery WHERE endpoint_id = '{ENDPOINT}3' AND txn = 121",
        "deliveries", f"webhooks/{ENDPOINT}3 log 121/21", "an event that was wanted has no delivery",
    ),
    Damage(
        "delivery of another venue's event",
        delivered(2, 120, 20, "onebook.booking.confirmed.v1"),
        "deliveries", f"webhooks/{ENDPOINT}2 log 120/20", "a delivery of an event that was not wanted",
    ),
    Damage(
        "delivery from before there was the endpoint",
        delivered(1, 105, 5, "onebook.resource.defined.v1"),
        "deliveries", f"webhooks/{ENDPOINT}1 log 105/5", "a delivery of an event that was not wanted",
    ),
    Damage(
        "delivery of nothing",
        delivered(1, 999, 999, "onebook.booking.held.v1"),
        "deliveries", f"webhooks/{ENDPOINT}1 log 999/999", "a delivery of no event",
    ),
    Damage(
        "another channel's booking told in full",
        of_delivery(2, 113, "type = 'onebook.block.placed.v1'"),
        "deliveries", f"webhooks/{ENDPOINT}2 log 113/13", "told in another form than this endpoint may see",
    ),
    Damage(
        "delivered before its predecessor",
        of_delivery(1, 111, "finished_at = '2026-11-01T10:00:09.5Z'"),
        "order", f"webhooks/{ENDPOINT}1 log 111/11 alfama/double", "ended before an earlier one of its resource",
    ),
    Damage(
        "overtaken while pending",
        of_delivery(1, 109, "status = 'pending', finished_at = NULL"),
        "order", f"webhooks/{ENDPOINT}1 log 120/20 opera/A-42", "ended before an earlier one of its resource",
    ),
    Damage(
        "delivery constraint dropped",
        "ALTER TABLE webhook_delivery DROP CONSTRAINT webhook_delivery_is_one_per_event",
        "guards", "webhook_delivery", "webhook_delivery_is_one_per_event does not stand",
    ),
]  # fmt: skip
