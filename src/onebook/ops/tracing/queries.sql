-- name: store
-- One span that has ended.
INSERT INTO span (trace_id, span_id, parent_id, name, process, started_at, ended_at, attributes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: forget
-- Of the oldest $3 rows, those from before $1 and those beyond the newest $2. Several processes may do so at once: what another
-- has deleted is passed over.
DELETE FROM span WHERE position IN (
    SELECT oldest.position
    FROM (SELECT position, ended_at FROM span ORDER BY position LIMIT $3) AS oldest
    WHERE oldest.ended_at < $1 OR oldest.position <= (SELECT max(position) FROM span) - $2::bigint
);

-- name: entries_of_booking
-- What the log tells of a booking. Its first entry has the booking's own time, so the scan begins there, by log_by_time.
SELECT type, time, traceparent
FROM log
WHERE subject = 'bookings/' || $1::text AND time >= (SELECT placed_at FROM booking WHERE id = $1::text::uuid)
ORDER BY txn, position LIMIT $2;

-- name: spans_of_traces
-- Every span kept of these traces, as they began.
SELECT trace_id, span_id, parent_id, name, process, started_at, ended_at, attributes
FROM span
WHERE trace_id = ANY($1)
ORDER BY started_at, position LIMIT $2;
