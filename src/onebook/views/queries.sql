-- Every statement of the read side, by name.

-- name: booking
-- One booking; of one channel, or of any.
SELECT id::text, status, channel, idempotency_key, request_hash, placed_at, ttl_seconds, items, amended, expires_at,
       reference, customer, revision, clock_timestamp() AS read_at
FROM booking WHERE id = $1::uuid AND ($2::text IS NULL OR channel = $2);

-- name: bookings
-- A page of bookings, the latest arrival first.
SELECT id::text, status, channel, idempotency_key, request_hash, placed_at, ttl_seconds, items, amended, expires_at,
       reference, customer, revision, first_day
FROM booking
WHERE ($1::text IS NULL OR channel = $1)
  AND ($2::text IS NULL OR venue_id = (SELECT id FROM venue WHERE code = $2)
       OR other_venues @> ARRAY[(SELECT id FROM venue WHERE code = $2)])
  AND ($3::date IS NULL OR last_day > $3) AND ($4::date IS NULL OR first_day < $4)
  AND ($5::text IS NULL OR status = $5)
  AND ($6::date IS NULL OR (first_day, id) < ($6, $7::uuid))
ORDER BY first_day DESC, id DESC LIMIT $8;

-- name: view_venues
-- Venues for the view: all, or those of some codes.
SELECT id, code, name, timezone, currency, market FROM venue WHERE $1::text[] IS NULL OR code = ANY ($1) ORDER BY id;

-- name: view_sessions
-- Their sessions.
SELECT session.id, venue.code AS venue, session.code, starts_at
FROM session JOIN venue ON venue.id = session.venue_id
WHERE $1::text[] IS NULL OR venue.code = ANY ($1);

-- name: view_resources
-- Definitions with the versions they are at: all, or some, by venue and code.
SELECT resource.id, venue.code || '/' || resource.code AS resource, kind, resource.name, unit, cell_minutes, capacity,
       overbooking, hours, min_stay, max_stay, version
FROM resource JOIN venue ON venue.id = resource.venue_id JOIN head ON head.resource_id = resource.id
WHERE $1::text[] IS NULL
   OR (venue.code, resource.code) IN (SELECT name.venue, name.code FROM unnest($1, $2::text[]) AS name (venue, code))
ORDER BY resource.id;

-- name: view_cells
-- What is left in stored cells, and their rules in one number (see rules.py); for COPY in binary, so every column is of one size.
SELECT resource_id, number,
       (CASE WHEN closed THEN 0 ELSE capacity + overbooking - held - booked - blocked END)::integer AS free,
       coalesce(min_stay, 0)::bigint | (coalesce(max_stay, 0)::bigint << 15)
       | (closed_to_arrival::integer::bigint << 30) | (closed_to_departure::integer::bigint << 31)
       | (closed::integer::bigint << 32) | (own_capacity::integer::bigint << 33)
       | (own_overbooking::integer::bigint << 34) AS rules
FROM cell WHERE $1::integer[] IS NULL OR resource_id = ANY ($1);

-- name: view_log
-- The log from a place on; the whole of what one snapshot sees, or, with the horizon, what is settled.
SELECT txn, position, type, data
FROM log WHERE (txn, position) > ($1::bigint, $2::bigint) AND ($3 OR txn < log_horizon())
ORDER BY txn, position LIMIT $4;
