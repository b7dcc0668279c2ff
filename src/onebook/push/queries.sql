-- What the hub asks the database. Nothing here is asked while clients are merely listening.

-- name: horizon
-- Below this transaction nothing can appear in the log any more.
SELECT log_horizon();

-- name: behind
-- The horizon, and how many entries of the log lie between a cursor and it; counts no further than $3.
SELECT log_horizon() AS horizon,
       (SELECT count(*) FROM (
           SELECT FROM log WHERE (txn, position) > ($1::bigint, $2::bigint) AND txn < log_horizon() LIMIT $3
       ) AS entries) AS entries;

-- name: since
-- The log of some venues after a cursor and below a horizon, in its order.
SELECT txn, position, time, type, subject, venues, traceparent, data
FROM log
WHERE (txn, position) > ($1::bigint, $2::bigint) AND txn < $3::bigint AND venues && $4::text[]
ORDER BY txn, position LIMIT $5;

-- name: known_venues
-- Those of the codes that are venues.
SELECT code FROM venue WHERE code = ANY($1::text[]);
