-- Money that follows the end or the change of a booking that was paid: what is kept of it, and what goes back.

-- One row is one settlement: like a checkout's, everything that a worker needs to go on where another one was killed.
CREATE TABLE payment.settlement (
    id              uuid PRIMARY KEY,
    revision        integer NOT NULL,
    checkout        uuid NOT NULL REFERENCES payment.checkout,
    booking         uuid NOT NULL,
    kind            text NOT NULL,
    state           text NOT NULL,
    idempotency_key text COLLATE "C",
    channel         text NOT NULL,
    fee_minor       bigint NOT NULL DEFAULT 0,
    refund_minor    bigint NOT NULL DEFAULT 0,
    currency        text NOT NULL,
    quote           json,
    amended         json,
    reason          text,
    code            text,
    attempts        integer NOT NULL DEFAULT 0,
    due_at          timestamptz,
    traceparent     text,
    begun_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at     timestamptz,
    CONSTRAINT settlement_kind_is_known CHECK (kind IN ('cancellation', 'no-show', 'amendment', 'goodwill')),
    CONSTRAINT settlement_state_is_known CHECK (state IN ('moving', 'refunding', 'settled', 'failed', 'refused')),
    -- What changes a booking says into what, and at which price.
    CONSTRAINT settlement_amendment_names_items CHECK ((kind = 'amendment') = (quote IS NOT NULL AND amended IS NOT NULL)),
    CONSTRAINT settlement_amounts_are_not_negative CHECK (fee_minor >= 0 AND refund_minor >= 0),
    -- What has ended says when; what has not is looked after.
    CONSTRAINT settlement_ends_once CHECK ((state IN ('settled', 'failed', 'refused')) = (finished_at IS NOT NULL)),
    CONSTRAINT settlement_is_looked_after CHECK ((finished_at IS NULL) = (due_at IS NOT NULL))
) WITH (fillfactor = 70);

-- One request has one effect, even from two processes at once; what was refused has none, and may be sent again.
CREATE UNIQUE INDEX settlement_key_has_one_effect ON payment.settlement (booking, idempotency_key) WHERE state <> 'refused';

-- A booking ends once, and its money is divided once.
CREATE UNIQUE INDEX settlement_ends_a_booking_once ON payment.settlement (booking)
WHERE kind IN ('cancellation', 'no-show') AND state <> 'refused';
-- Each amendment is decided from the one before it.
CREATE UNIQUE INDEX settlement_amends_one_at_a_time ON payment.settlement (booking)
WHERE kind = 'amendment' AND state = 'moving';
CREATE INDEX settlement_of_booking ON payment.settlement (booking);
CREATE INDEX settlement_due ON payment.settlement (due_at) WHERE due_at IS NOT NULL;

-- What a settlement gives back of each payment; the id is the refund's key at the gateway.
CREATE TABLE payment.refund (
    id           uuid PRIMARY KEY,
    settlement   uuid NOT NULL REFERENCES payment.settlement,
    checkout     uuid NOT NULL REFERENCES payment.checkout,
    amount_minor bigint NOT NULL,
    state        text NOT NULL DEFAULT 'pending',
    reference    text,
    CONSTRAINT refund_is_positive CHECK (amount_minor > 0),
    CONSTRAINT refund_state_is_known CHECK (state IN ('pending', 'succeeded', 'failed'))
);

CREATE INDEX refund_of_settlement ON payment.refund (settlement);
CREATE INDEX refund_of_checkout ON payment.refund (checkout);

-- No more is given back than was taken. The checkout's row is locked, so that of two refunds at once one sees the other; not
-- against the keys of rows that name it, since each of the two has locked it so already.
CREATE FUNCTION payment.guard_refund() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    captured bigint;
BEGIN
    SELECT amount_minor INTO captured FROM payment.checkout WHERE id = NEW.checkout AND state = 'completed' FOR NO KEY UPDATE;
    IF coalesce(captured, 0) < (SELECT sum(amount_minor) FROM payment.refund
                                WHERE checkout = NEW.checkout AND state <> 'failed') THEN
        RAISE EXCEPTION 'more would be given back than was taken'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_never_exceeds_the_capture', TABLE = 'refund';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER refund_never_exceeds_the_capture AFTER INSERT OR UPDATE ON payment.refund
FOR EACH ROW EXECUTE FUNCTION payment.guard_refund();

-- Whoever cancels a booking that was paid settles its money: a cancellation that knows nothing of payments is refused, and so is
-- any while money is being taken for it. A checkout whose capture was refused after all takes its own booking back (revoking).
CREATE FUNCTION payment.guard_cancellation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM payment.checkout
               WHERE (booking = NEW.id OR confirmed_booking = NEW.id) AND finished_at IS NULL AND state <> 'revoking')
        OR EXISTS (SELECT FROM payment.checkout WHERE confirmed_booking = NEW.id AND state = 'completed')
        AND NOT EXISTS (SELECT FROM payment.settlement
                        WHERE booking = NEW.id AND kind IN ('cancellation', 'no-show') AND state <> 'refused') THEN
        RAISE EXCEPTION 'this booking is cancelled with its settlement'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_is_cancelled_with_its_settlement', TABLE = 'booking';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER booking_is_cancelled_with_its_settlement AFTER UPDATE OF status ON booking
FOR EACH ROW WHEN (OLD.status = 'confirmed' AND NEW.status = 'cancelled') EXECUTE FUNCTION payment.guard_cancellation();

-- Whoever gives a booking that is paid, or is being paid, other items does so for its checkout or its settlement, and while that
-- stands at this step: nobody else, and no worker that has slept through the end of it.
CREATE FUNCTION payment.guard_amendment() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM payment.checkout WHERE (booking = NEW.id OR confirmed_booking = NEW.id) AND finished_at IS NULL
               AND NOT (purpose = 'amendment' AND state IN ('committing', 'revoking')))
        OR EXISTS (SELECT FROM payment.checkout WHERE confirmed_booking = NEW.id AND state = 'completed')
        AND NOT EXISTS (SELECT FROM payment.checkout WHERE booking = NEW.id AND finished_at IS NULL)
        AND NOT EXISTS (SELECT FROM payment.settlement WHERE booking = NEW.id AND kind = 'amendment' AND state = 'moving') THEN
        RAISE EXCEPTION 'this booking is amended with its money'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_is_amended_with_its_money', TABLE = 'booking';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER booking_is_amended_with_its_money AFTER UPDATE OF amended ON booking
FOR EACH ROW WHEN (OLD.status = 'confirmed' AND NEW.status = 'confirmed') EXECUTE FUNCTION payment.guard_amendment();
