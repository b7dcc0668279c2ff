-- The statements of the ledger of money: reading it, and the settlements that add to it.

-- name: folio
-- What is in the books of a booking, for those who may see it ($2: the only channel, or null), in the order of posting.
SELECT effect, kind, posted_at, booking::text, journal.channel, currency, accounts, venues, amounts_minor
FROM payment.journal WHERE booking = $1::uuid AND ($2::text IS NULL OR channel = $2) ORDER BY id;

-- name: seen
-- Whether there is such a booking, for those who may see it.
SELECT EXISTS (SELECT FROM booking WHERE id = $1::uuid AND ($2::text IS NULL OR channel = $2));

-- name: trial_balance
-- Every account in every currency, of all that was ever posted.
SELECT currency, account, coalesce(sum(amount_minor) FILTER (WHERE amount_minor > 0), 0)::bigint AS debit_minor,
       coalesce(-sum(amount_minor) FILTER (WHERE amount_minor < 0), 0)::bigint AS credit_minor
FROM payment.posting GROUP BY currency, account ORDER BY currency, account;

-- name: report
-- What was posted from one day to another (UTC, half-open; null leaves an end open), by account and by one more thing ($3).
SELECT currency, account, told.what, sum(amount_minor)::bigint AS amount_minor
FROM payment.posting
CROSS JOIN LATERAL (
    SELECT CASE $3::text WHEN 'day' THEN to_char(posted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') WHEN 'venue' THEN venue
                         WHEN 'channel' THEN channel ELSE account END AS what
) AS told
WHERE ($1::date IS NULL OR posted_at >= $1::date::timestamp AT TIME ZONE 'UTC')
  AND ($2::date IS NULL OR posted_at < $2::date::timestamp AT TIME ZONE 'UTC')
GROUP BY currency, told.what, account ORDER BY currency, told.what, account
LIMIT $4;

-- name: ours
-- Every payment of a gateway as we have it, to be held against the gateway's own list.
SELECT checkout.id::text AS checkout, coalesce(confirmed_booking, checkout.booking)::text AS booking, purpose, state,
       amount_minor, checkout.currency,
       coalesce((SELECT sum(posted.amount) FROM unnest(entry.accounts, entry.amounts_minor) AS posted (account, amount)
                 WHERE posted.account = 'gateway-clearing'), 0)::bigint AS posted_minor,
       coalesce(given.succeeded_minor, 0)::bigint AS refunded_minor,
       confirms AND confirmed_booking IS NOT NULL AND booking.status = 'confirmed' AS has_confirmed,
       coalesce(given.is_pending, false) AS is_refunding
FROM payment.checkout
LEFT JOIN booking ON booking.id = coalesce(confirmed_booking, checkout.booking)
LEFT JOIN payment.journal AS entry ON entry.effect = 'capture:' || checkout.id
LEFT JOIN LATERAL (
    SELECT sum(refund.amount_minor) FILTER (WHERE refund.state = 'succeeded') AS succeeded_minor,
           bool_or(refund.state = 'pending') AS is_pending
    FROM payment.refund WHERE refund.checkout = checkout.id
) AS given ON true
WHERE gateway = $1;
