-- Every statement of the write side, by name. One documented lock order: resources ascending (in ledger_open), then rows.

-- name: open_page
-- Lock resources and read, under the locks, everything that the batch needs.
SELECT *
FROM ledger_open($1::text::integer[], $2::text::integer[], $3::text::integer[], $4::text::integer[],
                 string_to_array($5, E'\x1e'), string_to_array($6, E'\x1e'));

-- name: bookings
-- Bookings by id, as they are now.
SELECT id::text, status, channel, idempotency_key, request_hash, placed_at, ttl_seconds, items, amended, expires_at,
       reference, customer, revision
FROM booking WHERE id = ANY ($1::uuid[]);

-- name: blocks
-- Blocks by id, as they are now.
SELECT id::text, reason, placed_at, lifted_at, items, revision FROM block WHERE id = ANY ($1::uuid[]);

-- name: write_page
-- Everything that a batch changes, in one statement. Versions and revisions are compared and swapped: the counts
-- returned must be the numbers of rows sent, or somebody else has written under our locks.
-- Columns come packed (see packing.py). The parts are independent: all see the state before the statement.
WITH heads AS (
    UPDATE head SET version = new.version
    FROM unnest($1::text::integer[], $2::text::bigint[], $3::text::bigint[]) AS new (resource_id, found, version)
    WHERE head.resource_id = new.resource_id AND head.version = new.found
    RETURNING 1
), changed AS (
    -- By how much, not to what: even if somebody wrote under our locks, the constraint would see the sum of both.
    UPDATE cell SET held = cell.held + new.held, booked = cell.booked + new.booked, blocked = cell.blocked + new.blocked
    FROM unnest($4::text::integer[], $5::text::integer[], $6::text::integer[], $7::text::integer[],
                $8::text::integer[]) AS new (resource_id, number, held, booked, blocked)
    WHERE cell.resource_id = new.resource_id AND cell.number = new.number
    RETURNING 1
), created AS (
    INSERT INTO cell (resource_id, number, held, booked, blocked, capacity, overbooking)
    SELECT * FROM unnest($9::text::integer[], $10::text::integer[], $11::text::integer[], $12::text::integer[],
                         $13::text::integer[], $14::text::integer[], $15::text::integer[])
), placed AS (
    INSERT INTO booking (id, status, channel, idempotency_key, request_hash, placed_at, ttl_seconds, items, expires_at,
                         reference, customer, venue_id, other_venues, first_day, last_day, revision)
    SELECT new.id::uuid, new.status, new.channel, new.key, decode(new.hash, 'hex'), $16::timestamptz, new.ttl, new.items::json,
           $16::timestamptz + new.seconds_left * interval '1 second', new.reference, new.customer, new.venue_id,
           new.other_venues::integer[], new.first_day::date, new.last_day::date, new.revision
    FROM unnest(string_to_array($17, E'\x1e'), string_to_array($18, E'\x1e'), string_to_array($19, E'\x1e'),
                string_to_array($20, E'\x1e'), string_to_array($21, E'\x1e'), $22::text::integer[],
                string_to_array($23, E'\x1e'), $24::text::integer[], string_to_array($25, E'\x1e', E'\x1f'),
                string_to_array($26, E'\x1e', E'\x1f'), $27::text::integer[],
                string_to_array($28, E'\x1e', E'\x1f'), string_to_array($29, E'\x1e'),
                string_to_array($30, E'\x1e'), $31::text::integer[])
        AS new (id, status, channel, key, hash, ttl, items, seconds_left, reference, customer, venue_id, other_venues,
                first_day, last_day, revision)
), logged AS (
    INSERT INTO log (txn, time, type, subject, venues, traceparent, data)
    SELECT (SELECT pg_current_xact_id()::text::bigint + shift FROM log_shift), $16, new.type, new.subject, new.venues::text[], new.traceparent, new.data::json
    FROM unnest(string_to_array($32, E'\x1e'), string_to_array($33, E'\x1e'), string_to_array($34, E'\x1e'),
                string_to_array($35, E'\x1e', E'\x1f'), string_to_array($36, E'\x1e'))
        AS new (type, subject, venues, traceparent, data)
)
SELECT (SELECT count(*) FROM heads) AS heads, (SELECT count(*) FROM changed) AS changed;

-- name: reshape_cells
-- Capacity and restrictions of cells, with their counters.
INSERT INTO cell (resource_id, number, held, booked, blocked, capacity, overbooking, min_stay, max_stay,
                  own_capacity, own_overbooking, closed, closed_to_arrival, closed_to_departure)
SELECT * FROM unnest($1::text::integer[], $2::text::integer[], $3::text::integer[], $4::text::integer[],
                     $5::text::integer[], $6::text::integer[], $7::text::integer[], $8::text::smallint[],
                     $9::text::smallint[], $10::text::boolean[], $11::text::boolean[], $12::text::boolean[],
                     $13::text::boolean[], $14::text::boolean[])
ON CONFLICT (resource_id, number) DO UPDATE SET
    held = EXCLUDED.held, booked = EXCLUDED.booked, blocked = EXCLUDED.blocked, capacity = EXCLUDED.capacity,
    overbooking = EXCLUDED.overbooking, min_stay = EXCLUDED.min_stay, max_stay = EXCLUDED.max_stay,
    own_capacity = EXCLUDED.own_capacity, own_overbooking = EXCLUDED.own_overbooking, closed = EXCLUDED.closed,
    closed_to_arrival = EXCLUDED.closed_to_arrival, closed_to_departure = EXCLUDED.closed_to_departure;

-- name: move_bookings
-- New states of bookings. The count returned must be the number sent.
WITH moved AS (
    UPDATE booking SET status = new.status, expires_at = new.expires_at::timestamptz, amended = new.amended::json,
                       revision = new.revision, venue_id = new.venue_id,
                       other_venues = new.other_venues::integer[], first_day = new.first_day::date,
                       last_day = new.last_day::date
    FROM unnest(string_to_array($1, E'\x1e'), $2::text::integer[], $3::text::integer[],
                string_to_array($4, E'\x1e'), string_to_array($5, E'\x1e', E'\x1f'),
                string_to_array($6, E'\x1e', E'\x1f'), $7::text::integer[],
                string_to_array($8, E'\x1e', E'\x1f'), string_to_array($9, E'\x1e'), string_to_array($10, E'\x1e'))
        AS new (id, found, revision, status, expires_at, amended, venue_id, other_venues, first_day, last_day)
    WHERE booking.id = new.id::uuid AND booking.revision = new.found
    RETURNING 1
)
SELECT count(*) FROM moved;

-- name: write_blocks
-- Blocks placed or lifted.
INSERT INTO block (id, venue_id, reason, placed_at, lifted_at, revision, items)
SELECT new.id::uuid, new.venue_id, new.reason, new.placed_at::timestamptz, new.lifted_at::timestamptz, new.revision,
       new.items::json
FROM unnest(string_to_array($1, E'\x1e'), $2::text::integer[], string_to_array($3, E'\x1e', E'\x1f'),
            string_to_array($4, E'\x1e'), string_to_array($5, E'\x1e', E'\x1f'), $6::text::integer[],
            string_to_array($7, E'\x1e'))
    AS new (id, venue_id, reason, placed_at, lifted_at, revision, items)
ON CONFLICT (id) DO UPDATE SET lifted_at = EXCLUDED.lifted_at, revision = EXCLUDED.revision;

-- name: due_holds
-- Holds whose deadline has passed, the oldest first. By now(), which an index scan can stop at; a volatile clock would have it
-- look at every living hold.
SELECT id::text FROM booking
WHERE status = 'held' AND expires_at <= now()
ORDER BY expires_at LIMIT $1;

-- name: claim_sweep
-- Be the only one to sweep until this transaction ends.
SELECT pg_try_advisory_xact_lock(79111, 0);

-- name: venues
-- Venues by code.
SELECT id, code, name, timezone, currency, market, prepaid FROM venue WHERE code = ANY ($1);

-- name: resources
-- Definitions by venue and code, with the revision they are at; and those defined next to them, since who sells one seat of a
-- hall will be asked for the others.
WITH asked AS (
    SELECT resource.id, resource.venue_id
    FROM unnest($1::text[], $2::text[]) AS name (venue, code)
    JOIN venue ON venue.code = name.venue
    JOIN resource ON resource.venue_id = venue.id AND resource.code = name.code
), wanted AS (
    SELECT id FROM asked
    UNION
    SELECT next.id
    FROM (SELECT venue_id, min(id) AS first FROM asked GROUP BY venue_id) AS lowest
    JOIN resource AS next ON next.id BETWEEN lowest.first - 100 AND lowest.first + 400
                         AND next.venue_id = lowest.venue_id
)
SELECT resource.id, venue.code AS venue, resource.code, kind, resource.name, unit, cell_minutes, capacity, overbooking,
       buffer_before, buffer_after, hours, min_stay, max_stay, revision
FROM wanted
JOIN resource ON resource.id = wanted.id
JOIN venue ON venue.id = resource.venue_id
JOIN head ON head.resource_id = resource.id;

-- name: sessions
-- Sessions by venue and code.
SELECT session.id, venue.code AS venue, session.code, starts_at, ends_at
FROM unnest($1::text[], $2::text[]) AS asked (venue, code)
JOIN venue ON venue.code = asked.venue
JOIN session ON session.venue_id = venue.id AND session.code = asked.code;

-- name: append
-- One entry of the log, outside a batch.
INSERT INTO log (txn, time, type, subject, venues, data) VALUES (log_txn(), clock_timestamp(), $1, $2, $3, $4);

-- name: lock_venue
-- One definition of a venue or its sessions at a time, before anything is written, so that the log tells them in order.
SELECT pg_advisory_xact_lock(79113, hashtext($1));

-- name: put_venue
-- A venue, whole. No row when its time zone or currency would change under resources or sessions.
WITH before AS (
    SELECT id, name, timezone, currency, market, prepaid FROM venue WHERE code = $1
), put AS (
    INSERT INTO venue (code, name, timezone, currency, market, prepaid) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (code) DO UPDATE SET name = $2, timezone = $3, currency = $4, market = $5, prepaid = $6
    WHERE (venue.timezone, venue.currency) = ($3, $4)
       OR (NOT EXISTS (SELECT FROM resource WHERE venue_id = venue.id)
           AND NOT EXISTS (SELECT FROM session WHERE venue_id = venue.id))
    RETURNING id
)
SELECT put.id, before.id IS NULL AS created,
       (before.name, before.timezone, before.currency, before.market, before.prepaid)
           IS DISTINCT FROM ($2, $3, $4, $5, $6) AS changed, before.prepaid IS DISTINCT FROM $6 AS is_paid_otherwise
FROM put LEFT JOIN before ON true;

-- name: grow_revisions
-- Have every decision on a venue's resources that was prepared with its old definition be prepared again.
UPDATE head SET revision = head.revision + 1
FROM resource WHERE resource.id = head.resource_id AND resource.venue_id = $1;

-- name: put_session
-- A session, whole. No row when it is stored like that already.
INSERT INTO session (venue_id, code, starts_at, ends_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (venue_id, code) DO UPDATE SET starts_at = $3, ends_at = $4
WHERE (session.starts_at, session.ends_at) IS DISTINCT FROM ($3, $4)
RETURNING id, xmax = 0 AS created;

-- name: lock_resources
-- Lock those of the codes that exist, in the order of all locks.
SELECT pg_advisory_xact_lock(79110, existing.id)
FROM (SELECT id FROM resource WHERE venue_id = $1 AND code = ANY ($2) ORDER BY id) AS existing;

-- name: stored
-- Definitions as they are, in the order of ResourceDefinition, and whether cells of theirs are stored.
SELECT code, kind, resource.name, unit, cell_minutes, capacity, overbooking, buffer_before, buffer_after, hours::text,
       min_stay, max_stay, id, version, EXISTS (SELECT FROM cell WHERE cell.resource_id = id) AS in_use
FROM resource JOIN head ON head.resource_id = id
WHERE venue_id = $1 AND code = ANY ($2);

-- name: insert_resources
-- New resources, at version and revision 1.
WITH new AS (
    INSERT INTO resource (venue_id, code, kind, name, unit, cell_minutes, capacity, overbooking, buffer_before,
                          buffer_after, hours, min_stay, max_stay)
    SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::integer[],
                             $8::integer[], $9::integer[], $10::integer[], $11::json[], $12::integer[], $13::integer[])
    RETURNING id, code
), heads AS (
    INSERT INTO head (resource_id, version, revision) SELECT id, 1, 1 FROM new
)
SELECT id, code FROM new;

-- name: update_resources
-- Other definitions of resources, raising version and revision.
WITH changed AS (
    UPDATE resource SET kind = new.kind, name = new.name, unit = new.unit, cell_minutes = new.cell_minutes,
                        capacity = new.capacity, overbooking = new.overbooking, buffer_before = new.buffer_before,
                        buffer_after = new.buffer_after, hours = new.hours, min_stay = new.min_stay,
                        max_stay = new.max_stay
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::integer[], $8::integer[],
                $9::integer[], $10::integer[], $11::json[], $12::integer[], $13::integer[])
        AS new (code, kind, name, unit, cell_minutes, capacity, overbooking, buffer_before, buffer_after, hours,
                min_stay, max_stay)
    WHERE resource.venue_id = $1 AND resource.code = new.code
    RETURNING resource.id
)
UPDATE head SET version = version + 1, revision = revision + 1 FROM changed WHERE head.resource_id = changed.id;

-- name: reshape_defaults
-- The default capacity and overbooking of resources, in their stored cells that have none of their own.
UPDATE cell SET capacity = CASE WHEN own_capacity THEN cell.capacity ELSE resource.capacity END,
                overbooking = CASE WHEN own_overbooking THEN cell.overbooking ELSE resource.overbooking END
FROM resource
WHERE resource.id = cell.resource_id AND resource.id = ANY ($1) AND NOT (own_capacity AND own_overbooking);

-- name: oversold_by
-- The fullest cell that a default capacity and overbooking would leave oversold.
SELECT number, held + booked + blocked AS taken, new.capacity, new.overbooking,
       (SELECT session.code FROM resource JOIN session ON session.id = number
        WHERE resource.id = cell.resource_id AND unit = 'session') AS session
FROM cell CROSS JOIN LATERAL (
    SELECT CASE WHEN own_capacity THEN cell.capacity ELSE $2::integer END AS capacity,
           CASE WHEN own_overbooking THEN cell.overbooking ELSE $3::integer END AS overbooking
) AS new
WHERE resource_id = $1 AND held + booked + blocked > new.capacity + new.overbooking
ORDER BY held + booked + blocked - new.capacity - new.overbooking DESC LIMIT 1;
