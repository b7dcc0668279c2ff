-- What a search must find, said in SQL over the ledger's tables: resources with at least a quantity in each cell of a period,
-- restrictions observed, opening hours apart.
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
ORDER BY available DESC, key COLLATE "C", session COLLATE "C";
