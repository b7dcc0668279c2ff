-- What `onebook bench grown` asks the database beside the load: to write bookings as the ledger would have, and how large it is.

-- name: lock_resources
-- The locks of every command, in the order of all locks: the sweeper of a running server waits.
SELECT pg_advisory_xact_lock(79110, existing.id) FROM (SELECT id FROM resource ORDER BY id) AS existing;

-- name: book
-- Stays of three nights on every resource, confirmed as they are placed: $2 bookings of each resource, from cell $1 on, $3 of
-- them for the same stay before the next one begins. The locks are held. Each booking is one version of its resource; of the
-- nights it tells what was left after it, which is what is left at the end and what the later ones of its stay take.
WITH shelf AS MATERIALIZED (
    SELECT resource.id, venue_id, venue.code AS venue, venue.code || '/' || resource.code AS key, capacity, overbooking,
           version
    FROM resource
    JOIN venue ON venue.id = venue_id
    JOIN head ON head.resource_id = resource.id
), stay AS MATERIALIZED (
    SELECT number, $1::integer + 3 * number AS first, least($3::integer, $2::integer - $3 * number) AS bookings
    FROM generate_series(0, ($2 - 1) / $3) AS number
), raised AS (
    UPDATE head SET version = version + $2
), night AS (
    INSERT INTO cell (resource_id, number, held, booked, blocked, capacity, overbooking)
    SELECT shelf.id, stay.first + night, 0, stay.bookings, 0, capacity, overbooking
    FROM shelf CROSS JOIN stay CROSS JOIN generate_series(0, 2) AS night
    -- By night: one resource's nights lie far from each other, as they do where they are sold one by one.
    ORDER BY stay.first + night, shelf.id
    ON CONFLICT (resource_id, number) DO UPDATE SET booked = cell.booked + EXCLUDED.booked
    RETURNING resource_id, number, capacity + overbooking - held - booked - blocked AS available
), remainder AS (
    SELECT resource_id, (number - $1) / 3 AS stay, array_agg(available ORDER BY number) AS available
    FROM night
    GROUP BY resource_id, (number - $1) / 3
), placed AS (
    SELECT uuidv7() AS id, number, venue_id, venue, key, shelf.version + 1 + number AS version, first,
           date '1970-01-01' + first AS first_day, date '1970-01-01' + first + 3 AS last_day,
           available[1] + later AS first_left, available[2] + later AS second_left, available[3] + later AS third_left
    FROM remainder
    JOIN shelf ON shelf.id = remainder.resource_id
    JOIN (SELECT stay.number AS stay, first, bookings - 1 - turn AS later, stay.number * $3 + turn AS number
          FROM stay CROSS JOIN LATERAL generate_series(0, bookings - 1) AS turn) AS asked USING (stay)
    ORDER BY number, shelf.id
), written AS MATERIALIZED (
    SELECT *, concat('[{"resource":"', key, '","from":"', to_char(first_day, 'YYYY-MM-DD'),
                     '","to":"', to_char(last_day, 'YYYY-MM-DD'), '","quantity":1,"version":', version,
                     ',"cells":[', first, ',', first + 3, ']}]') AS items
    FROM placed
), kept AS (
    INSERT INTO booking (id, placed_at, venue_id, first_day, last_day, revision, status, channel, idempotency_key,
                         request_hash, items)
    SELECT id, statement_timestamp(), venue_id, first_day, last_day, 1, 'confirmed', 'bench',
           concat($4::text, '-', key, '-', number), decode(md5(items), 'hex'), items::json
    FROM written
    RETURNING 1
), told AS (
    INSERT INTO log (txn, time, type, subject, venues, data)
    SELECT (SELECT log_txn()), statement_timestamp(), 'booking.confirmed', 'bookings/' || id, ARRAY[venue],
           concat('{"booking":"', id, '","status":"confirmed","channel":"bench","revision":1,"placed_at":"',
                  to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                  '","items":', items, ',"resources":[{"resource":"', key, '","version":', version, ',"cells":["',
                  to_char(first_day, 'YYYY-MM-DD'), '","', to_char(first_day + 1, 'YYYY-MM-DD'), '","',
                  to_char(first_day + 2, 'YYYY-MM-DD'), '"],"available":[', first_left, ',', second_left, ',',
                  third_left, ']}]}')::json
    FROM written
    ORDER BY number, key
)
SELECT count(*) FROM kept;

-- name: falling_due
-- Holds whose deadline comes within the next $1 seconds.
SELECT count(*) FROM booking
WHERE status = 'held' AND expires_at < clock_timestamp() + $1::integer * interval '1 second';

-- name: sizes
-- The tables that bookings go into, with the bytes of their rows and of their indexes.
SELECT name, pg_table_size(name::regclass) AS table_bytes, pg_indexes_size(name::regclass) AS index_bytes
FROM unnest(ARRAY['booking', 'log', 'cell', 'head']) AS name;
