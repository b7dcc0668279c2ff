-- Checkouts, coupons and the ledger of money. Nothing here is read or written by whoever only sells or only looks (0011_roles.sql).

CREATE SCHEMA payment;

-- One row is one saga: everything that a worker needs to go on where another one was killed.
-- The filler space lets the steps in between stay on their page: they touch no indexed column.
CREATE TABLE payment.checkout (
    id                uuid PRIMARY KEY,
    revision          integer NOT NULL,
    booking           uuid NOT NULL,
    purpose           text NOT NULL,
    confirms          boolean NOT NULL,
    channel           text NOT NULL,
    venues            text[] NOT NULL,
    idempotency_key   text COLLATE "C" NOT NULL,
    request_hash      text NOT NULL,
    state             text NOT NULL,
    attempts          integer NOT NULL,
    due_at            timestamptz,
    gateway           text NOT NULL,
    token             text NOT NULL,
    amount_minor      bigint NOT NULL,
    currency          text NOT NULL,
    reference         text,
    challenge_url     text,
    challenged_until  timestamptz,
    code              text,
    on_decline        text NOT NULL,
    quote             json NOT NULL,
    amended           json,
    former            json,
    confirmed_booking uuid,
    traceparent       text,
    begun_at          timestamptz NOT NULL,
    finished_at       timestamptz,
    -- One request has one effect, even from two processes at once.
    CONSTRAINT checkout_key_has_one_effect UNIQUE (booking, idempotency_key),
    CONSTRAINT checkout_state_is_known CHECK (state IN ('authorizing', 'challenged', 'committing', 'reacquiring', 'capturing',
        'releasing', 'revoking', 'voiding', 'completed', 'failed')),
    CONSTRAINT checkout_purpose_is_known CHECK (purpose IN ('booking', 'balance', 'amendment')),
    CONSTRAINT checkout_amendment_names_items CHECK ((purpose = 'amendment') = (amended IS NOT NULL AND former IS NOT NULL)),
    CONSTRAINT checkout_amount_is_not_negative CHECK (amount_minor >= 0),
    -- What has ended says when; what has not is looked after: no saga is forgotten.
    CONSTRAINT checkout_ends_once CHECK ((state IN ('completed', 'failed')) = (finished_at IS NOT NULL)),
    CONSTRAINT checkout_is_looked_after CHECK ((finished_at IS NULL) = (due_at IS NOT NULL)),
    -- A completed one has confirmed something: the booking, or what was taken in its place.
    CONSTRAINT checkout_completed_is_confirmed CHECK (state <> 'completed' OR confirmed_booking IS NOT NULL)
) WITH (fillfactor = 50);

-- Two payers cannot pay for one booking at the same time.
CREATE UNIQUE INDEX checkout_is_one_at_a_time ON payment.checkout (booking) WHERE finished_at IS NULL;
CREATE INDEX checkout_due ON payment.checkout (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX checkout_confirmed ON payment.checkout (confirmed_booking) WHERE confirmed_booking IS NOT NULL;

-- Coupons and how often they are used: taken with the checkout's first row, given back with its last if it fails.
CREATE TABLE payment.coupon (
    venue    text NOT NULL,
    code     text NOT NULL,
    terms    json NOT NULL,
    max_uses integer,
    used     integer NOT NULL DEFAULT 0,
    PRIMARY KEY (venue, code),
    -- No coupon is given twice more often than it exists, whatever the program above believes.
    CONSTRAINT coupon_is_never_overused CHECK (used >= 0 AND (max_uses IS NULL OR used <= max_uses))
);

CREATE TABLE payment.coupon_use (
    checkout      uuid NOT NULL REFERENCES payment.checkout DEFERRABLE INITIALLY DEFERRED,
    venue         text NOT NULL,
    code          text NOT NULL,
    customer      text,
    taken_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    given_back_at timestamptz,
    PRIMARY KEY (checkout, venue, code),
    FOREIGN KEY (venue, code) REFERENCES payment.coupon
);

CREATE FUNCTION payment.sum_of(amounts bigint[]) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT coalesce(sum(amount), 0) FROM unnest(amounts) AS posted (amount));

-- Double entry: one row is one entry with all of its postings, debits positive, credits negative.
CREATE TABLE payment.journal (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    effect        text COLLATE "C" NOT NULL,
    posted_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind          text NOT NULL,
    booking       uuid NOT NULL,
    channel       text NOT NULL,
    currency      text NOT NULL,
    accounts      text[] NOT NULL,
    venues        text[] NOT NULL,
    amounts_minor bigint[] NOT NULL,
    -- What happened once is posted once, however often its step is repeated.
    CONSTRAINT journal_effect_is_posted_once UNIQUE (effect),
    -- No entry makes or loses money.
    CONSTRAINT journal_entry_balances CHECK (payment.sum_of(amounts_minor) = 0),
    CONSTRAINT journal_entry_is_whole CHECK (cardinality(accounts) >= 2 AND cardinality(accounts) = cardinality(amounts_minor)
        AND cardinality(accounts) = cardinality(venues) AND array_position(amounts_minor, NULL) IS NULL),
    CONSTRAINT journal_account_is_known CHECK (accounts <@ ARRAY['receivable', 'gateway-clearing', 'deposit-liability',
        'revenue', 'tax', 'refund', 'coupon'])
);

CREATE INDEX journal_of_booking ON payment.journal (booking);
CREATE INDEX journal_by_time ON payment.journal USING brin (posted_at) WITH (pages_per_range = 16, autosummarize = on);

CREATE TRIGGER journal_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payment.journal
FOR EACH STATEMENT EXECUTE FUNCTION log_is_append_only();

CREATE VIEW payment.posting AS
SELECT journal.id AS entry, posted_at, kind, booking, channel, currency, account, venue, amount_minor
FROM payment.journal CROSS JOIN LATERAL unnest(accounts, venues, amounts_minor) AS posted (account, venue, amount_minor);

-- What gateways have told, so that a repeated notification is known.
CREATE TABLE payment.notification (
    gateway  text NOT NULL,
    id       text NOT NULL,
    key      text,
    heard_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (gateway, id)
);

CREATE INDEX notification_by_time ON payment.notification (heard_at);

-- The one way for payments into the log: entries of their own kind, and no others.
CREATE FUNCTION payment.tell(type text, subject text, venues text[], traceparent text, data json) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF type NOT LIKE 'checkout.%' THEN
        RAISE EXCEPTION 'payments tell of checkouts, and of nothing else' USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO log (txn, time, type, subject, venues, traceparent, data)
    VALUES (log_txn(), clock_timestamp(), type, subject, venues, traceparent, data);
    RETURN 1;
END
$$;

-- While a checkout is under way, its booking is confirmed by it, when the money is authorized, and by nobody else.
CREATE FUNCTION payment.guard_confirmation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM payment.checkout
               WHERE booking = NEW.id AND finished_at IS NULL AND state NOT IN ('committing', 'capturing')) THEN
        RAISE EXCEPTION 'this booking is confirmed by its checkout'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_is_confirmed_by_its_checkout', TABLE = 'booking';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER booking_is_confirmed_by_its_checkout AFTER UPDATE OF status ON booking
FOR EACH ROW WHEN (OLD.status = 'held' AND NEW.status = 'confirmed') EXECUTE FUNCTION payment.guard_confirmation();
