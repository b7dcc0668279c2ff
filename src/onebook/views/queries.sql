-- Every statement of the read side, by name.

-- name: venue_resources
-- Definitions and versions of a venue's resources, or of some of them.
SELECT resource.id, venue.code AS venue, resource.code, kind, resource.name, unit, cell_minutes, capacity, overbooking,
       buffer_before, buffer_after, hours, min_stay, max_stay, revision, version
FROM venue
JOIN resource ON resource.venue_id = venue.id
JOIN head ON head.resource_id = resource.id
WHERE venue.code = $1 AND ($2::text[] IS NULL OR resource.code = ANY ($2))
ORDER BY resource.id;

-- name: sessions_within
-- Sessions of a venue that begin in a period.
SELECT session.id, session.code, starts_at, ends_at
FROM session JOIN venue ON venue.id = session.venue_id
WHERE venue.code = $1 AND starts_at >= $2 AND starts_at < $3
ORDER BY starts_at, session.id;

-- name: cells_within
-- Stored cells of resources, each in its own range.
SELECT cell.resource_id, number, CASE WHEN closed THEN 0 ELSE capacity + overbooking - held - booked - blocked END AS available
FROM unnest($1::integer[], $2::integer[], $3::integer[]) AS span (resource_id, first, "end")
JOIN cell ON cell.resource_id = span.resource_id AND cell.number >= span.first AND cell.number < span."end";

-- name: search
-- Resources with at least a quantity in each cell of a period, restrictions observed, those with the most left first.
-- $4/$5: the period in nights; $6/$7: in minutes since the epoch; $8: sessions that begin in it.
WITH candidate AS (
    SELECT resource.id, venue.code || '/' || resource.code AS key, resource.name, kind, unit, cell_minutes,
           capacity + overbooking AS total, min_stay, max_stay, hours, venue.timezone,
           session.id AS session_id, session.code AS session,
           CASE unit WHEN 'night' THEN $4 WHEN 'minute' THEN $6 / cell_minutes ELSE session.id END AS first,
           CASE unit WHEN 'night' THEN $5 WHEN 'minute' THEN $7 / cell_minutes ELSE session.id + 1 END AS "end"
    FROM venue
    JOIN resource ON resource.venue_id = venue.id
    LEFT JOIN session ON unit = 'session' AND session.venue_id = venue.id AND session.id = ANY ($8::integer[])
    WHERE ($1::text IS NULL OR venue.market = $1) AND ($2::text IS NULL OR venue.code = $2)
      AND ($3::text IS NULL OR kind = $3) AND capacity + overbooking >= 0
      AND (unit <> 'session' OR session.id IS NOT NULL)
      AND (unit <> 'night' OR $4 IS NOT NULL)
      AND (unit <> 'minute' OR ($6 IS NOT NULL AND $6 % cell_minutes = 0 AND $7 % cell_minutes = 0))
)
SELECT key, name, kind, unit, session, hours, timezone, first * cell_minutes AS first_minute,
       "end" * cell_minutes AS end_minute, available
FROM candidate
LEFT JOIN cell AS arrival ON arrival.resource_id = candidate.id AND arrival.number = first
LEFT JOIN cell AS departure ON departure.resource_id = candidate.id AND departure.number = "end" AND unit <> 'session'
CROSS JOIN LATERAL (
    SELECT CASE WHEN count(*) = "end" - first THEN min(free) ELSE least(min(free), total) END AS available
    FROM (SELECT CASE WHEN closed THEN 0 ELSE capacity + overbooking - held - booked - blocked END AS free
          FROM cell WHERE resource_id = candidate.id AND number >= first AND number < "end") AS stored
) AS lowest
WHERE available >= $9 AND "end" > first
  AND (unit = 'session' OR (
      coalesce(NOT arrival.closed_to_arrival, true) AND coalesce(NOT departure.closed_to_departure, true)
      AND "end" - first >= coalesce(arrival.min_stay, candidate.min_stay, 1)
      AND "end" - first <= coalesce(arrival.max_stay, candidate.max_stay, "end" - first)))
ORDER BY available DESC, key, session LIMIT $10;

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

-- name: cells_of
-- Stored cells of one resource, whole, in the order of the table's columns.
SELECT * FROM cell WHERE resource_id = $1 AND number >= $2 AND number < $3;
