-- What the demo's proof reads of the ledger's tables, by name. Nothing here is shared with what answers requests.

-- name: versions
-- How far every resource is.
SELECT venue.code || '/' || resource.code AS resource, version
FROM head JOIN resource ON resource.id = head.resource_id JOIN venue ON venue.id = resource.venue_id;

-- name: resources
-- Definitions and versions.
SELECT resource.id, venue.code AS venue, resource.code, timezone, unit, cell_minutes, resource.capacity + resource.overbooking AS free,
       hours, version
FROM resource JOIN venue ON venue.id = resource.venue_id JOIN head ON head.resource_id = resource.id;

-- name: sessions
-- Sessions that touch a period.
SELECT venue.code AS venue, session.code, session.id
FROM session JOIN venue ON venue.id = session.venue_id
WHERE ends_at > $1::timestamp AT TIME ZONE timezone AND starts_at < $2::timestamp AT TIME ZONE timezone;

-- name: cells
-- What is left in every stored cell.
SELECT resource_id, number, CASE WHEN closed THEN 0 ELSE capacity + overbooking - held - booked - blocked END AS free
FROM cell;

-- name: deliveries
-- What became of the webhooks; one that took more than one attempt was retried.
SELECT count(*) FILTER (WHERE status = 'delivered') AS delivered, count(*) FILTER (WHERE status = 'dead') AS dead,
       count(*) FILTER (WHERE status = 'pending') AS pending, count(*) FILTER (WHERE attempts > 1) AS retried
FROM webhook_delivery;
