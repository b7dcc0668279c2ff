-- What `onebook bench checkout` asks the database, to see that what was answered is what is written down.

-- name: under_way
-- Checkouts that have not ended yet.
SELECT count(*) FROM payment.checkout WHERE finished_at IS NULL;

-- name: completed
-- Every completed checkout with what it has charged, and whether its booking stands confirmed, by it alone.
SELECT checkout.id::text AS id, amount_minor,
       booking.status = 'confirmed' AND count(*) OVER (PARTITION BY confirmed_booking) = 1 AS is_confirmed
FROM payment.checkout LEFT JOIN booking ON booking.id = confirmed_booking
WHERE state = 'completed';

-- name: confirmed
-- Bookings that are confirmed: in a benchmark of checkouts nothing else confirms any.
SELECT count(*) FROM booking WHERE status = 'confirmed';

-- name: balance
-- What all postings come to, without their signs cancelling out between currencies: 0, or money was made.
SELECT coalesce(sum(abs(balance)), 0)::bigint
FROM (SELECT sum(amount_minor) AS balance FROM payment.posting GROUP BY currency) AS trial;

-- name: taken
-- What the books say was taken through the gateway.
SELECT coalesce(sum(amount_minor), 0)::bigint FROM payment.posting WHERE account = 'gateway-clearing';
