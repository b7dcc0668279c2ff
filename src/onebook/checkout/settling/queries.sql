-- The statements of settlements. What is decided on a booking's money is decided under a lock of its checkouts.

-- name: is_paid
-- Whether money has been taken for a booking, or is being taken.
SELECT EXISTS (SELECT FROM payment.checkout WHERE confirmed_booking = $1::uuid AND state <> 'failed')
    OR EXISTS (SELECT FROM payment.checkout WHERE booking = $1::uuid AND finished_at IS NULL);

-- name: opening
-- What a settlement begins with: the booking, the last checkout that was completed, the one under way, and the settlements so far.
SELECT booking.status, booking.channel, clock_timestamp() AS now,
       (SELECT row_to_json(paid) FROM payment.checkout AS paid
        WHERE confirmed_booking = $1::uuid AND state = 'completed' ORDER BY finished_at DESC LIMIT 1) AS checkout,
       (SELECT id::text FROM payment.checkout WHERE booking = $1::uuid AND finished_at IS NULL) AS under_way,
       (SELECT json_agg(row_to_json(settlement) ORDER BY begun_at)
        FROM payment.settlement WHERE booking = $1::uuid AND state <> 'refused') AS settlements
FROM booking WHERE id = $1::uuid;

-- name: begin
-- The first row of a settlement; none when another one stands in its way.
INSERT INTO payment.settlement SELECT * FROM json_populate_record(NULL::payment.settlement, $1::json)
ON CONFLICT DO NOTHING
RETURNING row_to_json(settlement);

-- name: settlement
-- A settlement as it is now.
SELECT row_to_json(settlement) FROM payment.settlement WHERE id = $1::uuid;

-- name: claim
-- Take over those that are due, the longest waiting first: until the lease ends nobody else does.
WITH due AS (
    SELECT id FROM payment.settlement WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE payment.settlement SET revision = revision + 1, due_at = clock_timestamp() + $2 * interval '1 second'
FROM due WHERE settlement.id = due.id
RETURNING row_to_json(settlement);

-- name: move
-- A settlement after a step, unless somebody else has moved it meanwhile.
UPDATE payment.settlement
SET revision = new.revision, state = new.state, fee_minor = new.fee_minor, refund_minor = new.refund_minor, code = new.code,
    attempts = new.attempts, due_at = new.due_at, finished_at = new.finished_at
FROM json_populate_record(NULL::payment.settlement, $1::json) AS new
WHERE settlement.id = new.id AND settlement.revision = new.revision - 1
RETURNING settlement.id;

-- name: lock_payments
-- Lock a booking's payments, so that of two settlements that divide the same money one sees what the other has decided.
SELECT id FROM payment.checkout
WHERE confirmed_booking = $1::uuid AND state = 'completed' ORDER BY id FOR NO KEY UPDATE;

-- name: is_being_paid
-- Whether a checkout of a booking is under way.
SELECT EXISTS (SELECT FROM payment.checkout WHERE booking = $1::uuid AND finished_at IS NULL);

-- name: left_of_payments
-- What is left of the payments of a booking, the latest first. A statement of its own after the lock: it sees what others left.
SELECT row_to_json(checkout) AS checkout,
       (amount_minor - coalesce((SELECT sum(refund.amount_minor) FROM payment.refund
                                 WHERE refund.checkout = checkout.id AND refund.state <> 'failed'), 0))::bigint AS left_minor
FROM payment.checkout
WHERE confirmed_booking = $1::uuid AND state = 'completed' ORDER BY finished_at DESC;

-- name: books
-- All entries of a booking, in their order.
SELECT effect, kind, booking::text, channel, currency, accounts, venues, amounts_minor
FROM payment.journal WHERE booking = $1::uuid ORDER BY id;

-- name: post
-- One entry; what is posted already stays as it is.
INSERT INTO payment.journal (effect, kind, booking, channel, currency, accounts, venues, amounts_minor)
VALUES ($1, $2, $3::uuid, $4, $5, $6::text[], $7::text[], $8::bigint[])
ON CONFLICT (effect) DO NOTHING;

-- name: promise
-- What is to be given back of one payment.
INSERT INTO payment.refund (id, settlement, checkout, amount_minor) VALUES ($1::uuid, $2::uuid, $3::uuid, $4);

-- name: refunds
-- What a settlement gives back, in the order in which it was promised, each with its payment.
SELECT refund.id::text, refund.checkout::text, refund.amount_minor, refund.state, refund.reference,
       row_to_json(paid) AS payment
FROM payment.refund JOIN payment.checkout AS paid ON paid.id = refund.checkout
WHERE settlement = $1::uuid ORDER BY refund.checkout DESC;

-- name: answered
-- What the gateway has said of a refund.
UPDATE payment.refund SET state = $2, reference = $3 WHERE id = $1::uuid;

-- name: revive
-- Have a booking's refunds that failed tried again, under other keys: under the old ones the gateway would repeat its answer.
WITH revived AS (
    UPDATE payment.settlement
    SET state = 'refunding', revision = revision + 1, attempts = 0, code = NULL, finished_at = NULL,
        due_at = clock_timestamp() + $2 * interval '1 second'
    WHERE booking = $1::uuid AND state = 'failed'
    RETURNING settlement.*
), asked AS (
    UPDATE payment.refund SET id = gen_random_uuid(), state = 'pending', reference = NULL
    FROM revived WHERE refund.settlement = revived.id AND refund.state = 'failed'
)
SELECT row_to_json(revived) FROM revived ORDER BY begun_at;

-- name: reprice
-- What the booking costs from now on, where its cancellation and its next amendment look for it.
UPDATE payment.checkout SET quote = $2::json WHERE id = $1::uuid;

-- name: tell
-- An entry of the log.
SELECT payment.tell($1, $2, $3::text[], $4, $5::json);
