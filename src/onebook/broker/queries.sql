-- Every statement of the consumers' skeleton, by name.

-- name: mark
-- How far the WAL has been written. Taking a transaction number of one's own settles that every number given before it is either
-- finished or named as open by the snapshot that is taken next.
SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS lsn, pg_current_xact_id()::text AS own;

-- name: snapshot
-- What can be seen of the log now: every transaction below `upto`, but for those still open.
SELECT pg_snapshot_xmax(taken)::text::bigint + shift AS upto,
       ARRAY(SELECT number::text::bigint + shift FROM pg_snapshot_xip(taken) AS number) AS open
FROM log_shift, pg_current_snapshot() AS taken;

-- name: entries_of
-- A page of the entries of some transactions, in the order of the log.
SELECT txn, position, time, type, subject, venues, traceparent, data
FROM log
WHERE txn = ANY ($1::bigint[]) AND (txn, position) > ($2::bigint, $3::bigint)
ORDER BY txn, position LIMIT $4;

-- name: entries_between
-- A page of the entries of the transactions below $1, in the order of the log, after a place in it. No other lower bound: the
-- index would begin each page at that one.
SELECT txn, position, time, type, subject, venues, traceparent, data
FROM log
WHERE txn < $1 AND (txn, position) > ($2::bigint, $3::bigint)
ORDER BY txn, position LIMIT $4;

-- name: entry
-- One entry of the log.
SELECT txn, position, time, type, subject, venues, traceparent, data
FROM log WHERE txn = $1 AND position = $2;

-- name: park
-- Keep an event that could not be handled, or count a further failure; a replay that was asked for has had its try.
INSERT INTO dead_letter (consumer, txn, position, type, subject, reason)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (consumer, position) DO UPDATE
SET attempts = dead_letter.attempts + 1, reason = excluded.reason, last_at = clock_timestamp(), replay_requested_at = NULL;

-- name: wanted_replays
-- Letters of some consumers that are to be tried again, the oldest event first. One that every worker has had the time to try
-- is `due` to be taken out.
SELECT id, consumer, txn, position, type, subject, replay_requested_at < clock_timestamp() - $2::interval AS due
FROM dead_letter
WHERE consumer = ANY ($1::text[]) AND replay_requested_at IS NOT NULL
ORDER BY position LIMIT $3;

-- name: settle
-- A letter that was handled after all, unless another worker has failed on it meanwhile.
DELETE FROM dead_letter WHERE id = $1 AND replay_requested_at IS NOT NULL;

-- name: letters
-- A page of letters, of one consumer or of all, in the order in which they came.
SELECT id, consumer, txn, position, type, subject, reason, attempts, first_at, last_at, replay_requested_at
FROM dead_letter
WHERE id > $1 AND ($2::text IS NULL OR consumer = $2)
ORDER BY id LIMIT $3;

-- name: letter
-- One letter.
SELECT id, consumer, txn, position, type, subject, reason, attempts, first_at, last_at, replay_requested_at
FROM dead_letter WHERE id = $1;

-- name: replay
-- Ask for another try; asking again changes nothing.
UPDATE dead_letter SET replay_requested_at = coalesce(replay_requested_at, clock_timestamp())
WHERE id = ANY ($1::bigint[]) RETURNING id;

-- name: replay_all
-- Ask for another try of all letters of a consumer, or of all there are.
UPDATE dead_letter SET replay_requested_at = coalesce(replay_requested_at, clock_timestamp())
WHERE $1::text IS NULL OR consumer = $1 RETURNING id;

-- name: purge
-- Throw letters away; the log keeps their events.
DELETE FROM dead_letter WHERE id = ANY ($1::bigint[]) RETURNING id;

-- name: purge_all
-- Throw away all letters of a consumer, or all there are.
DELETE FROM dead_letter WHERE $1::text IS NULL OR consumer = $1 RETURNING id;
