-- The statements of the saga. Rows come as one JSON text a batch: checkouts are few beside holds, and their columns many.

-- name: write
-- Everything that a batch of checkouts changes. A checkout that somebody else has moved meanwhile is not moved, and nothing is
-- posted or told of it; one that begins where another one is under way, or that has begun already, does not begin.
WITH begun AS (
    INSERT INTO payment.checkout SELECT * FROM json_populate_recordset(NULL::payment.checkout, $1::json)
    ON CONFLICT DO NOTHING
    RETURNING id
), moved AS (
    UPDATE payment.checkout
    SET revision = new.revision, state = new.state, attempts = new.attempts, due_at = new.due_at, reference = new.reference,
        challenge_url = new.challenge_url, challenged_until = new.challenged_until, code = new.code,
        confirmed_booking = new.confirmed_booking, finished_at = new.finished_at
    FROM json_to_recordset($2::json) AS new (id uuid, revision integer, state text, attempts integer, due_at timestamptz,
        reference text, challenge_url text, challenged_until timestamptz, code text, confirmed_booking uuid,
        finished_at timestamptz)
    WHERE checkout.id = new.id AND checkout.revision = new.revision - 1
    RETURNING checkout.id
), written AS (
    SELECT id FROM begun UNION ALL SELECT id FROM moved
), posted AS (
    INSERT INTO payment.journal (effect, kind, booking, channel, currency, accounts, venues, amounts_minor)
    SELECT effect, kind, booking, channel, currency, accounts, venues, amounts_minor
    FROM json_to_recordset($3::json) AS entry (checkout uuid, effect text, kind text, booking uuid, channel text, currency text,
        accounts text[], venues text[], amounts_minor bigint[])
    WHERE entry.checkout IN (SELECT id FROM written)
), told AS MATERIALIZED (
    SELECT payment.tell(type, subject, venues, traceparent, data)
    FROM json_to_recordset($4::json) AS event (checkout uuid, type text, subject text, venues text[], traceparent text,
        data json)
    WHERE event.checkout IN (SELECT id FROM written)
)
SELECT (SELECT array_agg(id::text) FROM written) AS written, (SELECT count(*) FROM told) AS told;

-- name: take_coupons
-- Use each coupon once more, in the order of all locks on coupons. Fewer rows than asked: one of them is spent.
WITH locked AS (
    SELECT coupon.venue, coupon.code
    FROM payment.coupon JOIN unnest($1::text[], $2::text[]) AS asked (venue, code) USING (venue, code)
    WHERE max_uses IS NULL OR used < max_uses
    ORDER BY coupon.venue, coupon.code FOR UPDATE OF coupon
)
UPDATE payment.coupon SET used = used + 1 FROM locked
WHERE coupon.venue = locked.venue AND coupon.code = locked.code
RETURNING coupon.venue, coupon.code;

-- name: is_used_up_by_customer
-- Whether a customer has had one of these coupons as often as it goes to one. A statement of its own after the lock: it sees what
-- was taken by whom it has waited for. One that is counted by customer is for nobody who names none: else it would be without a limit.
SELECT EXISTS (
    SELECT FROM payment.coupon JOIN unnest($1::text[], $2::text[]) AS asked (venue, code) USING (venue, code)
    WHERE (coupon.terms ->> 'max_uses_per_customer')::bigint <= (
        SELECT count(*) FROM payment.coupon_use AS earlier
        WHERE earlier.venue = coupon.venue AND earlier.code = coupon.code AND earlier.customer = $3
          AND earlier.given_back_at IS NULL
    ) OR ($3::text IS NULL AND coupon.terms ->> 'max_uses_per_customer' IS NOT NULL)
);

-- name: use_coupons
-- Who has used them.
INSERT INTO payment.coupon_use (checkout, venue, code, customer)
SELECT $1::uuid, venue, code, $4 FROM unnest($2::text[], $3::text[]) AS taken (venue, code);

-- name: give_back_coupons
-- Those of a checkout that has failed may be used again; once.
WITH given_back AS (
    UPDATE payment.coupon_use SET given_back_at = clock_timestamp() WHERE checkout = $1::uuid AND given_back_at IS NULL
    RETURNING venue, code
)
UPDATE payment.coupon SET used = used - 1 FROM given_back
WHERE coupon.venue = given_back.venue AND coupon.code = given_back.code;

-- name: checkout
-- One checkout.
SELECT row_to_json(checkout) AS checkout FROM payment.checkout WHERE id = $1::uuid;

-- name: of_booking
-- The checkouts of a booking, the latest last.
SELECT row_to_json(checkout) AS checkout FROM payment.checkout WHERE booking = $1::uuid OR confirmed_booking = $1::uuid
ORDER BY begun_at LIMIT 100;

-- name: booking
-- A booking as it is now.
SELECT id::text, status, channel, idempotency_key, request_hash, placed_at, ttl_seconds, items, amended, expires_at,
       reference, customer, revision
FROM booking WHERE id = $1::uuid;

-- name: entries
-- The books of a booking, in their order.
SELECT effect, kind, booking::text, channel, currency, accounts, venues, amounts_minor
FROM payment.journal WHERE booking = $1::uuid ORDER BY id;

-- name: under_way
-- The checkout of a booking that is under way, if one is.
SELECT id::text FROM payment.checkout WHERE booking = $1::uuid AND finished_at IS NULL;

-- name: is_settled
-- Whether a booking's money has been divided at its end, or is being.
SELECT EXISTS (SELECT FROM payment.settlement
               WHERE booking = $1::uuid AND kind IN ('cancellation', 'no-show') AND state <> 'refused');

-- name: openings
-- What checkouts begin with: each booking as it is, the ledger's clock, and the booking's checkouts so far.
SELECT booking.id::text, status, booking.channel, idempotency_key, request_hash, placed_at, ttl_seconds, items, amended, expires_at,
       reference, customer, revision, clock_timestamp() AS now,
       (SELECT json_agg(earlier ORDER BY begun_at) FROM payment.checkout AS earlier
        WHERE earlier.booking = booking.id OR earlier.confirmed_booking = booking.id) AS checkouts
FROM booking WHERE id = ANY($1::uuid[]);

-- name: claim_due
-- Take over those that are due, the longest waiting first: until the lease ends nobody else does.
WITH due AS (
    SELECT id FROM payment.checkout WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE payment.checkout SET revision = revision + 1, due_at = clock_timestamp() + $2 * interval '1 second'
FROM due WHERE checkout.id = due.id
RETURNING row_to_json(checkout) AS checkout;

-- name: hear
-- Remember a notification, and have somebody look at its checkout now; false when it was heard before. A checkout that is being
-- moved by somebody is looked at after that.
WITH heard AS (
    INSERT INTO payment.notification (gateway, id, key) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id
), nudged AS (
    UPDATE payment.checkout SET due_at = clock_timestamp() FROM heard
    WHERE checkout.id = $4::uuid AND finished_at IS NULL AND (state = 'challenged' OR attempts > 0)
)
SELECT EXISTS (SELECT FROM heard);

-- name: standing
-- What an operator has to know: how old the oldest checkout is that waits for no payer, and how many refunds have failed.
SELECT coalesce(extract(epoch FROM clock_timestamp() - (
           SELECT min(begun_at) FROM payment.checkout WHERE due_at IS NOT NULL AND state <> 'challenged')), 0)::float8 AS oldest_seconds,
       (SELECT count(*) FROM payment.refund WHERE state = 'failed') AS refunds_failed;

-- name: forget_notifications
-- Gateways repeat for three days at the most.
DELETE FROM payment.notification WHERE heard_at < clock_timestamp() - interval '7 days';
