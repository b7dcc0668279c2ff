-- The auditor's statements about money, of the same form as those of queries.sql. Debits are positive, credits negative.

-- name: money_sizes
-- How much there is to examine.
SELECT (SELECT count(*) FROM payment.journal) AS entries, (SELECT count(*) FROM payment.checkout) AS checkouts,
       (SELECT count(*) FROM payment.settlement) AS settlements, (SELECT count(*) FROM payment.coupon) AS coupons;

-- name: books
-- Every entry balances, for each of its venues too; no effect is posted twice; all of them together balance in every currency.
WITH posted AS (
    SELECT journal.id, effect, currency, account, venue, amount
    FROM payment.journal CROSS JOIN LATERAL unnest(accounts, venues, amounts_minor) AS posting (account, venue, amount)
), findings AS (
    SELECT format('journal/%s %s', id, venue) AS "where", 'does not balance' AS what, '0' AS expected,
           sum(amount) || ' ' || currency AS found
    FROM posted GROUP BY id, venue, currency HAVING sum(amount) IS DISTINCT FROM 0
    UNION ALL
    SELECT format('journal/%s', id), 'accounts, venues and amounts are not as many', cardinality(accounts)::text,
           format('%s, %s', cardinality(venues), cardinality(amounts_minor))
    FROM payment.journal
    WHERE cardinality(accounts) <> cardinality(venues) OR cardinality(accounts) <> cardinality(amounts_minor)
    UNION ALL
    SELECT format('journal/%s %s', id, venue), 'an account that there is not', 'an account of the chart', account
    FROM posted
    WHERE account IS NULL OR account NOT IN ('receivable', 'gateway-clearing', 'deposit-liability', 'revenue', 'tax', 'refund',
                                             'coupon')
    UNION ALL
    SELECT effect, 'posted more than once', 'one entry', count(*)::text FROM payment.journal GROUP BY effect HAVING count(*) > 1
    UNION ALL
    SELECT currency, 'the trial balance is off', '0', sum(amount)::text
    FROM posted GROUP BY currency HAVING sum(amount) IS DISTINCT FROM 0
)
SELECT *, count(*) OVER () AS total FROM findings ORDER BY "where", what LIMIT $1;

-- name: checkouts
-- What is completed is confirmed, posted as it was paid, and told once; a cancellation goes with its settlement. What has failed
-- has no entry, keeps no hold that it should give back, and has confirmed nothing that stands.
WITH posted AS (
    SELECT substring(effect FROM '^(?:capture|charge):(.*)$') AS checkout, split_part(effect, ':', 1) AS step,
           (SELECT coalesce(sum(amount), 0) FROM unnest(accounts, amounts_minor) AS posting (account, amount)
            WHERE account = 'gateway-clearing') AS taken_minor
    FROM payment.journal WHERE effect LIKE 'capture:%' OR effect LIKE 'charge:%'
), told AS (
    SELECT substring(subject FROM '^checkouts/(.*)$') AS checkout, count(*) FILTER (WHERE type = 'checkout.completed') AS completed,
           count(*) FILTER (WHERE type = 'checkout.failed') AS failed
    FROM log WHERE type IN ('checkout.completed', 'checkout.failed') GROUP BY subject
), judged AS (
    SELECT checkout.id, checkout.state, amount_minor, (quote ->> 'total_minor')::bigint AS total_minor, purpose,
           coalesce(confirmed_booking, booking) AS stands_for, booking.status AS status, on_decline, confirms,
           confirmed_booking, coalesce(told.completed, 0) AS told_completed, coalesce(told.failed, 0) AS told_failed,
           (SELECT sum(taken_minor) FROM posted WHERE posted.checkout = checkout.id::text AND step = 'capture') AS taken_minor,
           EXISTS (SELECT FROM posted WHERE posted.checkout = checkout.id::text) AS is_posted,
           EXISTS (SELECT FROM posted WHERE posted.checkout = checkout.id::text AND step = 'charge') AS is_charged,
           EXISTS (SELECT FROM payment.settlement
                   WHERE settlement.booking = coalesce(confirmed_booking, checkout.booking)
                     AND kind IN ('cancellation', 'no-show') AND settlement.state <> 'refused') AS is_settled,
           EXISTS (SELECT FROM payment.checkout AS other
                   WHERE other.confirmed_booking = checkout.confirmed_booking AND other.state = 'completed') AS is_paid
    FROM payment.checkout
    LEFT JOIN booking ON booking.id = coalesce(confirmed_booking, checkout.booking)
    LEFT JOIN told ON told.checkout = checkout.id::text
), findings AS (
    SELECT 'checkouts/' || id AS "where", wrong.what, wrong.expected, wrong.found
    FROM judged
    CROSS JOIN LATERAL (VALUES
        (state = 'completed' AND NOT coalesce(status = 'confirmed' OR (status = 'cancelled' AND is_settled), false),
         'paid, and its booking neither stands nor is settled', 'confirmed', coalesce(status, 'no booking')),
        (state = 'completed' AND coalesce(taken_minor, 0) <> amount_minor,
         'another amount than was posted', amount_minor::text, coalesce(taken_minor::text, 'no entry')),
        (state = 'completed' AND purpose = 'booking' AND total_minor > 0 AND NOT is_charged,
         'paid, and nothing was charged', 'an entry', 'none'),
        (state <> 'completed' AND is_posted, 'posted, and not completed', 'no entry', state),
        (told_completed <> (state = 'completed')::integer OR told_failed <> (state = 'failed')::integer,
         'its end is not told once', state, format('completed %s, failed %s times', told_completed, told_failed)),
        (state = 'failed' AND confirms AND on_decline = 'release' AND status = 'held',
         'failed, and its hold lives on', 'no hold', status),
        (state = 'failed' AND confirms AND confirmed_booking IS NOT NULL AND status = 'confirmed' AND NOT is_paid,
         'confirmed and not paid', 'cancelled', status)
    ) AS wrong (is_so, what, expected, found)
    WHERE wrong.is_so
    UNION ALL
    SELECT step || ':' || posted.checkout, 'an entry of no checkout', 'a checkout', 'none'
    FROM posted WHERE NOT EXISTS (SELECT FROM payment.checkout WHERE checkout.id::text = posted.checkout)
)
SELECT *, count(*) OVER () AS total FROM findings ORDER BY "where", what LIMIT $1;

-- name: coupons
-- A coupon is used as often as its uses say, and not more often than it may be; what failed has given it back, and nothing else.
WITH findings AS (
    SELECT format('coupons/%s/%s', venue, code) AS "where", 'another number of uses than is written down' AS what,
           count(taken.checkout)::text AS expected, used::text AS found
    FROM payment.coupon
    LEFT JOIN payment.coupon_use AS taken USING (venue, code)
    WHERE taken.given_back_at IS NULL
    GROUP BY venue, code, used HAVING used <> count(taken.checkout)
    UNION ALL
    SELECT format('coupons/%s/%s', venue, code), 'used more often than it may be', max_uses::text, used::text
    FROM payment.coupon WHERE used > max_uses
    UNION ALL
    SELECT format('checkouts/%s %s/%s', checkout.id, venue, coupon_use.code), wrong.what, wrong.expected, checkout.state
    FROM payment.coupon_use
    JOIN payment.checkout ON checkout.id = coupon_use.checkout
    CROSS JOIN LATERAL (VALUES
        (checkout.state = 'failed' AND given_back_at IS NULL, 'failed, and its coupon is gone', 'given back'),
        (checkout.state <> 'failed' AND given_back_at IS NOT NULL, 'its coupon was given back', 'used')
    ) AS wrong (is_so, what, expected)
    WHERE wrong.is_so
)
SELECT *, count(*) OVER () AS total FROM findings ORDER BY "where", what LIMIT $1;

-- name: settlements
-- No more is given back than was taken; what is promised and what was given back is posted as the rows say; a booking whose money was
-- divided has nothing open, and one that was cancelled so is cancelled.
WITH posted AS (
    SELECT effect, booking, coalesce(sum(amount) FILTER (WHERE account = 'refund'), 0) AS refund_minor,
           coalesce(sum(amount) FILTER (WHERE account IN ('receivable', 'deposit-liability')), 0) AS open_minor
    FROM payment.journal CROSS JOIN LATERAL unnest(accounts, amounts_minor) AS posting (account, amount)
    GROUP BY journal.id, effect, booking
), given AS (
    SELECT settlement, sum(amount_minor) AS amount_minor FROM payment.refund GROUP BY settlement
), findings AS (
    SELECT 'settlements/' || settlement.id AS "where", wrong.what, wrong.expected, wrong.found
    FROM payment.settlement
    LEFT JOIN booking ON booking.id = settlement.booking
    LEFT JOIN posted ON posted.effect = 'settle:' || settlement.id
    LEFT JOIN given ON given.settlement = settlement.id
    CROSS JOIN LATERAL (SELECT -coalesce(posted.refund_minor, 0) AS promised_minor) AS promise
    CROSS JOIN LATERAL (VALUES
        (settlement.state IN ('refunding', 'settled', 'failed') AND promised_minor <> settlement.refund_minor,
         'another amount than was promised', settlement.refund_minor::text, promised_minor::text),
        (settlement.state IN ('refunding', 'settled', 'failed') AND coalesce(given.amount_minor, 0) <> settlement.refund_minor,
         'another amount than its refunds', settlement.refund_minor::text, coalesce(given.amount_minor, 0)::text),
        (settlement.state IN ('refunding', 'settled', 'failed') AND kind = 'cancellation'
             AND booking.status IS DISTINCT FROM 'cancelled',
         'settled, and its booking stands', 'cancelled', coalesce(booking.status, 'no booking')),
        (settlement.state = 'settled' AND EXISTS (
             SELECT FROM payment.refund WHERE refund.settlement = settlement.id AND refund.state <> 'succeeded'),
         'settled, and something was not given back', 'succeeded', 'another state')
    ) AS wrong (is_so, what, expected, found)
    WHERE wrong.is_so
    UNION ALL
    SELECT 'refunds/' || refund.id, 'not posted as it was given back',
           CASE refund.state WHEN 'succeeded' THEN refund.amount_minor ELSE 0 END::text,
           coalesce(posted.refund_minor, 0)::text
    FROM payment.refund LEFT JOIN posted ON posted.effect = 'refund:' || refund.id
    WHERE coalesce(posted.refund_minor, 0) <> CASE refund.state WHEN 'succeeded' THEN refund.amount_minor ELSE 0 END
    UNION ALL
    SELECT 'checkouts/' || checkout.id, 'more was given back than was taken', checkout.amount_minor::text, sum(refund.amount_minor)::text
    FROM payment.refund JOIN payment.checkout ON checkout.id = refund.checkout
    WHERE refund.state <> 'failed'
    GROUP BY checkout.id
    HAVING sum(refund.amount_minor) > checkout.amount_minor OR checkout.state <> 'completed'
    UNION ALL
    SELECT 'bookings/' || posted.booking, 'settled, and something is still open', '0', sum(open_minor)::text
    FROM posted
    WHERE booking IN (SELECT booking FROM payment.settlement
                      WHERE kind IN ('cancellation', 'no-show') AND state IN ('refunding', 'settled', 'failed'))
    GROUP BY posted.booking HAVING sum(open_minor) <> 0
)
SELECT *, count(*) OVER () AS total FROM findings ORDER BY "where", what LIMIT $1;
