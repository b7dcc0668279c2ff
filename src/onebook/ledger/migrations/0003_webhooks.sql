-- Webhooks: who wants to be told, what each is owed, and how every attempt went.

CREATE TABLE webhook_endpoint (
    id              uuid PRIMARY KEY,
    url             text NOT NULL,
    venues          text[] NOT NULL,
    types           text[] NOT NULL,
    channel         text,
    secret          text NOT NULL,
    previous_secret text,
    previous_until  timestamptz,
    status          text NOT NULL DEFAULT 'active',
    reason          text,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Raised by each change of what it wants; what was committed since `since_txn` is looked through again for the new wish
    -- until `filled_revision` is the same. So no event between a change and the sender's hearing of it is missed.
    revision        integer NOT NULL DEFAULT 1,
    filled_revision integer NOT NULL DEFAULT 0,
    since_txn       bigint NOT NULL,
    -- What is older is none of its business.
    first_txn       bigint NOT NULL,
    -- Raised when deliveries have been queued by others than the sender, which then looks for them.
    woken           integer NOT NULL DEFAULT 0,
    CONSTRAINT webhook_endpoint_status_is_known CHECK (status IN ('active', 'disabled')),
    -- An endpoint that wants nothing would never be told anything, and nobody would know why.
    CONSTRAINT webhook_endpoint_wants_something CHECK (cardinality(venues) > 0 AND cardinality(types) > 0),
    -- A secret without an end would sign for ever.
    CONSTRAINT webhook_previous_secret_has_an_end CHECK ((previous_secret IS NULL) = (previous_until IS NULL)),
    CONSTRAINT webhook_endpoint_fills_what_it_wanted CHECK (filled_revision <= revision)
);

CREATE INDEX webhook_endpoint_of_channel ON webhook_endpoint (channel, created_at, id);

-- The registry's version: a number to look at instead of reading all endpoints again and again.
CREATE TABLE webhook_registry (
    only_row boolean PRIMARY KEY DEFAULT true,
    version  bigint NOT NULL,
    CONSTRAINT webhook_registry_has_one_row CHECK (only_row)
);
INSERT INTO webhook_registry (version) VALUES (1);

CREATE FUNCTION webhook_registry_changes() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE webhook_registry SET version = version + 1;
    RETURN NULL;
END
$$;

CREATE TRIGGER webhook_registry_changes
AFTER INSERT OR DELETE OR UPDATE OF url, venues, types, channel, secret, previous_secret, status, woken ON webhook_endpoint
FOR EACH STATEMENT EXECUTE FUNCTION webhook_registry_changes();

-- One row per event and endpoint. The body is not stored: it is read from the log, or, for a test, made from the row.
-- No foreign key: an endpoint is gone at once, and its deliveries follow in the background; they are looked at by nobody.
CREATE TABLE webhook_delivery (
    endpoint_id uuid NOT NULL,
    position    bigint NOT NULL,
    txn         bigint NOT NULL,
    type        text NOT NULL,
    is_test     boolean NOT NULL DEFAULT false,
    status      text NOT NULL DEFAULT 'pending',
    attempts    integer NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    queued_at   timestamptz NOT NULL DEFAULT now(), -- later than created_at: it was asked for again
    next_at     timestamptz,
    finished_at timestamptz,
    -- An event goes to an endpoint under one id, however often it comes along, is tried, or is asked for again.
    CONSTRAINT webhook_delivery_is_one_per_event PRIMARY KEY (endpoint_id, position),
    CONSTRAINT webhook_delivery_status_is_known CHECK (status IN ('pending', 'delivered', 'dead')),
    -- Whatever is not pending has come to its end.
    CONSTRAINT webhook_delivery_ends_once CHECK ((status = 'pending') = (finished_at IS NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX webhook_delivery_pending ON webhook_delivery (endpoint_id, txn, position) WHERE status = 'pending';
CREATE INDEX webhook_delivery_dead ON webhook_delivery (endpoint_id, position) WHERE status = 'dead';
CREATE INDEX webhook_delivery_by_time ON webhook_delivery
USING brin (created_at) WITH (pages_per_range = 16, autosummarize = on);

-- How each attempt went.
CREATE TABLE webhook_attempt (
    endpoint_id uuid NOT NULL,
    position    bigint NOT NULL,
    id          bigint GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL,
    status_code integer,
    latency_ms  real NOT NULL,
    excerpt     text,
    error       text,
    PRIMARY KEY (endpoint_id, position, id),
    -- Either they answered, or there is a reason why they did not.
    CONSTRAINT webhook_attempt_has_an_outcome CHECK (status_code IS NOT NULL OR error IS NOT NULL)
);

CREATE INDEX webhook_attempt_by_time ON webhook_attempt USING brin (at) WITH (pages_per_range = 16, autosummarize = on);
