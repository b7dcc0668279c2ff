-- Every statement of the channels, by name.

-- name: create_endpoint
-- A new endpoint, wanting what is committed from now on; and the venues among its wishes that do not exist.
WITH unknown AS (
    SELECT wished.code FROM unnest($3::text[]) AS wished (code)
    WHERE wished.code <> '*' AND NOT EXISTS (SELECT 1 FROM venue WHERE venue.code = wished.code)
), created AS (
    INSERT INTO webhook_endpoint (id, url, venues, types, channel, secret, since_txn, first_txn)
    SELECT $1, $2, $3, $4, $5, $6, log_horizon(), log_horizon() WHERE NOT EXISTS (SELECT 1 FROM unknown)
    RETURNING id, url, venues, types, channel, secret, status, reason, created_at
)
SELECT created.*, (SELECT code FROM unknown LIMIT 1) AS unknown_venue
FROM (SELECT 1) AS always LEFT JOIN created ON true;

-- name: endpoint
-- One endpoint as its owner sees it; of one channel, or of any.
SELECT id, url, venues, types, channel, status, reason, previous_until, created_at
FROM webhook_endpoint WHERE id = $1 AND ($2::text IS NULL OR channel = $2);

-- name: endpoints_of
-- Endpoints of one channel, or of all, the oldest first.
SELECT id, url, venues, types, channel, status, reason, previous_until, created_at
FROM webhook_endpoint WHERE $1::text IS NULL OR channel = $1
ORDER BY created_at, id LIMIT $2;

-- name: change_endpoint
-- Other wishes, or another state; what is null stays. Enabled again, it wants what is committed from then on.
UPDATE webhook_endpoint
SET url = coalesce($3, url), venues = coalesce($4, venues), types = coalesce($5, types), status = coalesce($6, status),
    reason = CASE WHEN coalesce($6, status) = 'active' THEN NULL ELSE coalesce(reason, 'disabled on request') END,
    revision = revision + 1, since_txn = log_horizon(),
    first_txn = CASE WHEN status = 'disabled' AND $6 = 'active' THEN log_horizon() ELSE first_txn END
WHERE id = $1 AND ($2::text IS NULL OR channel = $2)
RETURNING id, url, venues, types, channel, status, reason, previous_until, created_at;

-- name: delete_endpoint
-- An endpoint; its deliveries follow in the background.
DELETE FROM webhook_endpoint WHERE id = $1 AND ($2::text IS NULL OR channel = $2) RETURNING id;

-- name: rotate_secret
-- A new secret; the one before it goes on signing for a while.
UPDATE webhook_endpoint
SET secret = $3, previous_secret = secret, previous_until = clock_timestamp() + $4::interval
WHERE id = $1 AND ($2::text IS NULL OR channel = $2)
RETURNING id, url, venues, types, channel, secret, status, reason, previous_until, created_at;

-- name: unknown_venue
-- A code among some that is no venue's.
SELECT wished.code FROM unnest($1::text[]) AS wished (code)
WHERE wished.code <> '*' AND NOT EXISTS (SELECT 1 FROM venue WHERE venue.code = wished.code) LIMIT 1;

-- name: queue_test
-- A test event for an endpoint, at a place of its own in the order of the log.
WITH woken AS (
    UPDATE webhook_endpoint SET woken = woken + 1
    WHERE id = $1 AND ($2::text IS NULL OR channel = $2) AND status = 'active' RETURNING id
)
INSERT INTO webhook_delivery (endpoint_id, position, txn, type, is_test)
SELECT id, nextval(pg_get_serial_sequence('log', 'position')), log_horizon(), $3, true FROM woken
RETURNING position;

-- name: deliveries
-- A page of an endpoint's deliveries, the latest first, with the last attempts of each.
SELECT page.*, coalesce(tried.attempts, '[]') AS tried
FROM (
    SELECT position, type, status, attempts, created_at, next_at, finished_at
    FROM webhook_delivery
    WHERE endpoint_id = $1 AND ($2::text IS NULL OR status = $2) AND ($3::bigint IS NULL OR position < $3)
      AND ($5::bigint IS NULL OR position = $5)
    ORDER BY position DESC LIMIT $4
) AS page
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object('at', at, 'status_code', status_code, 'latency_ms', latency_ms, 'excerpt', excerpt,
                                      'error', error) ORDER BY id) AS attempts
    FROM (SELECT * FROM webhook_attempt WHERE endpoint_id = $1 AND position = page.position ORDER BY id DESC LIMIT 20) AS latest
) AS tried ON true
ORDER BY position DESC;

-- name: replay
-- Queue deliveries once more, under their ids: those named, or the oldest of those made since a time; their letters go.
WITH chosen AS (
    SELECT position FROM webhook_delivery
    WHERE endpoint_id = $1 AND status <> 'pending'
      AND ($2::bigint[] IS NULL OR position = ANY ($2)) AND ($3::timestamptz IS NULL OR created_at >= $3)
    ORDER BY position LIMIT $4
), queued AS (
    UPDATE webhook_delivery
    SET status = 'pending', finished_at = NULL, next_at = NULL, attempts = 0, queued_at = clock_timestamp()
    FROM chosen WHERE endpoint_id = $1 AND webhook_delivery.position = chosen.position
    RETURNING webhook_delivery.position
), freed AS (
    DELETE FROM dead_letter USING queued WHERE consumer = 'webhook/' || $1::text AND dead_letter.position = queued.position
), woken AS (
    UPDATE webhook_endpoint SET woken = woken + 1 WHERE id = $1 AND EXISTS (SELECT 1 FROM queued)
)
SELECT count(*) FROM queued;

-- name: claim
-- Be the one sender of this database, as long as the session lives.
SELECT pg_try_advisory_lock(79115);

-- name: registry_version
-- Whether an endpoint has changed.
SELECT version FROM webhook_registry;

-- name: registry
-- All endpoints, and the version that this is.
SELECT version, endpoint.*
FROM webhook_registry LEFT JOIN webhook_endpoint AS endpoint ON true;

-- name: stand
-- Where this consumer goes on; at its first start, from now on.
INSERT INTO consumer (name, horizon) VALUES ($1, log_horizon())
ON CONFLICT (name) DO UPDATE SET written_at = consumer.written_at
RETURNING horizon;

-- name: advance
-- Everything below the horizon is written down as deliveries. That we live is said also while a long transaction holds it back.
UPDATE consumer SET horizon = greatest(horizon, $2), written_at = clock_timestamp() WHERE name = $1;

-- name: log_horizon
-- Below this transaction nothing can appear in the log any more.
SELECT log_horizon();

-- name: log_page
-- The log from a place on, as far as it can be seen.
SELECT txn, position, time, type, subject, venues, traceparent, data
FROM log WHERE (txn, position) > ($1::bigint, $2::bigint) ORDER BY txn, position LIMIT $3;

-- name: enqueue
-- What endpoints are owed; returns what is new. Nothing is owed to an endpoint that has been deleted meanwhile.
INSERT INTO webhook_delivery (endpoint_id, position, txn, type)
SELECT owed.endpoint_id, owed.position, owed.txn, owed.type
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[]) AS owed (endpoint_id, position, txn, type)
WHERE EXISTS (SELECT 1 FROM webhook_endpoint WHERE webhook_endpoint.id = owed.endpoint_id)
ON CONFLICT DO NOTHING
RETURNING endpoint_id::text, position;

-- name: filled
-- What was committed since an endpoint's latest change has been looked through for what it wants now.
UPDATE webhook_endpoint SET filled_revision = filled.revision
FROM unnest($1::uuid[], $2::integer[]) AS filled (id, revision)
WHERE webhook_endpoint.id = filled.id AND filled_revision < filled.revision AND filled.revision <= webhook_endpoint.revision;

-- name: pending
-- An endpoint's oldest pending deliveries, with their events.
SELECT owed.txn, owed.position, owed.type AS delivery_type, is_test, attempts, queued_at, next_at, created_at,
       log.time, log.type, log.subject, log.venues, log.traceparent, log.data
FROM (
    SELECT * FROM webhook_delivery WHERE endpoint_id = $1 AND status = 'pending' ORDER BY txn, position LIMIT $2
) AS owed
LEFT JOIN log ON log.txn = owed.txn AND log.position = owed.position
ORDER BY owed.txn, owed.position;

-- name: settle
-- How attempts went: the log of them, what it means for each delivery (one row a delivery), a letter for each dead one, and none
-- any more for what has arrived after all.
WITH went AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::timestamptz[], $5::integer[], $6::real[], $7::text[],
                         $8::text[], $9::timestamptz[], $10::bigint[], $11::text[], $12::text[])
        AS went (endpoint_id, position, status, at, status_code, latency_ms, excerpt, error, next_at, txn, type, subject)
), logged AS (
    INSERT INTO webhook_attempt (endpoint_id, position, at, status_code, latency_ms, excerpt, error)
    SELECT endpoint_id, position, at, status_code, latency_ms, excerpt, error FROM went
), buried AS (
    INSERT INTO dead_letter (consumer, txn, position, type, subject, reason)
    SELECT 'webhook/' || endpoint_id, txn, position, type, subject, coalesce(error, 'answered ' || status_code)
    FROM went WHERE status = 'dead'
    ON CONFLICT (consumer, position) DO UPDATE
    SET reason = excluded.reason, attempts = dead_letter.attempts + 1, last_at = excluded.last_at, replay_requested_at = NULL
), answered AS (
    DELETE FROM dead_letter USING went
    WHERE went.status = 'delivered' AND dead_letter.consumer = 'webhook/' || went.endpoint_id
      AND dead_letter.position = went.position
)
UPDATE webhook_delivery
SET status = went.status, attempts = attempts + 1, next_at = went.next_at,
    finished_at = CASE WHEN went.status <> 'pending' THEN went.at + went.latency_ms * interval '1 millisecond' END
FROM went
WHERE webhook_delivery.endpoint_id = went.endpoint_id AND webhook_delivery.position = went.position;

-- name: disable
-- Endpoints that want nothing more.
UPDATE webhook_endpoint SET status = 'disabled', reason = $2 WHERE id = ANY ($1::uuid[]) AND status = 'active';

-- name: replay_letters
-- Queue again what somebody wants replayed from among the dead letters.
WITH wanted AS (
    DELETE FROM dead_letter WHERE id IN (
        SELECT id FROM dead_letter
        WHERE consumer LIKE 'webhook/%' AND replay_requested_at IS NOT NULL ORDER BY id LIMIT $1
    )
    RETURNING substring(consumer FROM 9)::uuid AS endpoint_id, position
)
UPDATE webhook_delivery
SET status = 'pending', finished_at = NULL, next_at = NULL, attempts = 0, queued_at = clock_timestamp()
FROM wanted
WHERE webhook_delivery.endpoint_id = wanted.endpoint_id AND webhook_delivery.position = wanted.position AND status = 'dead'
RETURNING webhook_delivery.endpoint_id::text;

-- name: purge_deliveries
-- Deliveries past their time: finished, or owed to an endpoint that is disabled or gone.
DELETE FROM webhook_delivery WHERE (endpoint_id, position) IN (
    SELECT delivery.endpoint_id, delivery.position
    FROM webhook_delivery AS delivery LEFT JOIN webhook_endpoint AS endpoint ON endpoint.id = delivery.endpoint_id
    WHERE delivery.created_at < clock_timestamp() - $1::interval
      AND (delivery.status <> 'pending' OR endpoint.status IS DISTINCT FROM 'active')
    LIMIT $2
);

-- name: purge_attempts
-- Attempts past their time.
DELETE FROM webhook_attempt WHERE (endpoint_id, position, id) IN (
    SELECT endpoint_id, position, id FROM webhook_attempt WHERE at < clock_timestamp() - $1::interval LIMIT $2
);

-- name: touched_since
-- What the log says was touched in a venue since a time: resources with the labels of their cells, and sessions put.
SELECT data FROM log
WHERE time >= $2 AND venues @> ARRAY[$1::text] LIMIT $3;

-- name: read_mark
-- The present time, and the place in the log up to which everything is seen.
SELECT clock_timestamp() AS read_at, log_horizon() AS horizon;

-- name: resources_of
-- Definitions and versions of a venue's resources.
SELECT resource.id, venue.code AS venue, resource.code, kind, resource.name, unit, cell_minutes, capacity, overbooking,
       buffer_before, buffer_after, hours, min_stay, max_stay, revision, version
FROM venue
JOIN resource ON resource.venue_id = venue.id
JOIN head ON head.resource_id = resource.id
WHERE venue.code = $1 ORDER BY resource.id;

-- name: sessions_of
-- Every session of a venue.
SELECT session.id, session.code FROM session JOIN venue ON venue.id = session.venue_id WHERE venue.code = $1;

-- name: cells_numbered
-- Stored cells of resources among the numbers given, one each.
SELECT cell.resource_id, cell.number,
       CASE WHEN closed THEN 0 ELSE capacity + overbooking - held - booked - blocked END AS available
FROM unnest($1::integer[], $2::integer[]) AS wanted (resource_id, number)
JOIN cell ON cell.resource_id = wanted.resource_id AND cell.number = wanted.number;

-- name: cells_stored
-- Every stored cell of resources.
SELECT resource_id, number, CASE WHEN closed THEN 0 ELSE capacity + overbooking - held - booked - blocked END AS available
FROM cell WHERE resource_id = ANY ($1::integer[]) ORDER BY resource_id, number LIMIT $2;
