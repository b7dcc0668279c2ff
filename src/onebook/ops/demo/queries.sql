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

-- name: books
-- What has been taken and given back, by currency, and what policies have kept of what was cancelled or given up.
SELECT currency, sum(taken)::bigint AS taken, sum(given_back)::bigint AS given_back, sum(kept)::bigint AS kept
FROM (
    SELECT currency, amount_minor AS taken, 0 AS given_back, 0 AS kept FROM payment.checkout WHERE state = 'completed'
    UNION ALL
    SELECT currency, 0, refund.amount_minor, 0 FROM payment.refund JOIN payment.checkout ON checkout.id = refund.checkout
    WHERE refund.state = 'succeeded'
    UNION ALL
    SELECT currency, 0, 0, fee_minor FROM payment.settlement
    WHERE kind IN ('cancellation', 'amendment') AND state NOT IN ('moving', 'refused')
) AS moved GROUP BY currency;

-- name: under_way
-- How often a coupon is used ($1: its venue, $2: its code) and money was given back, and what has not come to its end.
SELECT (SELECT count(*) FROM payment.refund WHERE state = 'succeeded') AS refunds,
       coalesce((SELECT used FROM payment.coupon WHERE venue = $1 AND code = $2), 0) AS coupon_used,
       count(*) AS unfinished, min(begun_at) AS oldest, clock_timestamp() AS read_at
FROM (
    SELECT begun_at FROM payment.checkout WHERE finished_at IS NULL
    UNION ALL
    SELECT begun_at FROM payment.settlement WHERE finished_at IS NULL
) AS open;

-- name: sold_unpaid
-- Bookings that stand in channels that charge, and for which no checkout was completed.
SELECT count(*) FROM booking
WHERE channel = ANY($1::text[]) AND status = 'confirmed' AND NOT EXISTS (
    SELECT FROM payment.checkout
    WHERE coalesce(confirmed_booking, checkout.booking) = booking.id AND state = 'completed');
