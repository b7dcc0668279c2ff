-- Messages that were not the relay's.

-- name: record
-- Write them down; one that is there already, or that another worker has heard too, is counted.
INSERT INTO refused_message (consumer, reason, lsn, subject, digest, excerpt, times)
SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::text[], $5::bytea[], $6::bytea[], $7::bigint[])
ON CONFLICT (consumer, digest) DO UPDATE
SET times = refused_message.times + excluded.times, last_heard_at = clock_timestamp();

-- name: forget
-- All of a consumer's but so many, the oldest first.
DELETE FROM refused_message
WHERE consumer = $1 AND id <= (SELECT id FROM refused_message WHERE consumer = $1 ORDER BY id DESC OFFSET $2 LIMIT 1);
