-- The ledger: what is sold, what is taken of it, by whom, and the log of how it came about.
-- Each guarantee is a named constraint under a sentence that says what it prevents.

CREATE TABLE venue (
    id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code      text NOT NULL,
    name      text NOT NULL,
    timezone  text NOT NULL,
    currency  text NOT NULL,
    market    text NOT NULL,
    -- Two venues under one name would make "venue/resource" ambiguous.
    CONSTRAINT venue_code_is_unique UNIQUE (code)
);

CREATE INDEX venue_of_market ON venue (market);

CREATE TABLE session (
    id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    venue_id  integer NOT NULL REFERENCES venue,
    code      text NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at   timestamptz NOT NULL,
    CONSTRAINT session_code_is_unique UNIQUE (venue_id, code),
    -- An empty or reversed performance cannot be sold.
    CONSTRAINT session_has_a_length CHECK (starts_at < ends_at)
);

CREATE TABLE resource (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    venue_id      integer NOT NULL REFERENCES venue,
    code          text NOT NULL,
    kind          text NOT NULL,
    name          text NOT NULL,
    unit          text NOT NULL,
    cell_minutes  integer NOT NULL,
    capacity      integer NOT NULL,
    overbooking   integer NOT NULL,
    buffer_before integer NOT NULL,
    buffer_after  integer NOT NULL,
    hours         json,
    min_stay      integer,
    max_stay      integer,
    CONSTRAINT resource_code_is_unique UNIQUE (venue_id, code),
    CONSTRAINT resource_kind_is_known
        CHECK (kind IN ('room', 'table', 'vehicle', 'seat', 'staff', 'activity')),
    CONSTRAINT resource_unit_is_known CHECK (unit IN ('night', 'minute', 'session')),
    CONSTRAINT resource_figures_are_not_negative
        CHECK (capacity >= 0 AND overbooking >= 0 AND buffer_before >= 0 AND buffer_after >= 0)
);

-- The hot part of a resource, apart from its definition: a hold rewrites this short row and no other of the resource.
-- `version` is raised by one by each committed change; `revision` by each change of the definition.
-- The filler space lets updates stay on their page (HOT).
CREATE TABLE head (
    resource_id integer PRIMARY KEY,
    version     bigint NOT NULL,
    revision    integer NOT NULL
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05);

-- One row per resource and cell that differs from the resource's default.
-- No foreign key: it would lock the resource's row for each first sale of a night; `onebook verify` looks for orphans.
-- Capacity and overbooking are copied from the resource unless `own_…` says that the operator set them for this cell.
CREATE TABLE cell (
    resource_id         integer NOT NULL,
    number              integer NOT NULL,
    held                integer NOT NULL,
    booked              integer NOT NULL,
    blocked             integer NOT NULL,
    capacity            integer NOT NULL,
    overbooking         integer NOT NULL,
    min_stay            smallint,
    max_stay            smallint,
    own_capacity        boolean NOT NULL DEFAULT false,
    own_overbooking     boolean NOT NULL DEFAULT false,
    closed              boolean NOT NULL DEFAULT false,
    closed_to_arrival   boolean NOT NULL DEFAULT false,
    closed_to_departure boolean NOT NULL DEFAULT false,
    PRIMARY KEY (resource_id, number),
    -- Nothing is ever sold twice, whatever the program above believes.
    CONSTRAINT cell_is_never_oversold CHECK (held + booked + blocked <= capacity + overbooking),
    -- Nothing is given back that was not taken.
    CONSTRAINT cell_counters_are_not_negative CHECK (held >= 0 AND booked >= 0 AND blocked >= 0)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- One row carries the booking, its idempotency key and its items: every further row or index would cost each hold.
-- `items` is what was placed and never changes (the answer to a repeated key is derived from it); an amendment stands beside it.
CREATE TABLE booking (
    id              uuid PRIMARY KEY,
    placed_at       timestamptz NOT NULL,
    expires_at      timestamptz,
    venue_id        integer NOT NULL,
    first_day       date NOT NULL,
    last_day        date NOT NULL,
    ttl_seconds     integer,
    revision        integer NOT NULL,
    status          text NOT NULL,
    channel         text NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL,
    request_hash    bytea NOT NULL,
    reference       text,
    customer        text,
    other_venues    integer[],
    items           json NOT NULL,
    amended         json,
    -- One idempotency key has one effect, even from two processes at once.
    CONSTRAINT booking_key_has_one_effect UNIQUE (channel, idempotency_key),
    CONSTRAINT booking_status_is_known
        CHECK (status IN ('held', 'confirmed', 'released', 'expired', 'cancelled')),
    -- A hold has a deadline and nothing else has: no hold lives for ever, no booking runs out.
    CONSTRAINT booking_deadline_belongs_to_a_hold CHECK ((status = 'held') = (expires_at IS NOT NULL))
) WITH (fillfactor = 90);

CREATE INDEX booking_due ON booking (expires_at) WHERE status = 'held';
CREATE INDEX booking_of_venue ON booking (venue_id, first_day);
CREATE INDEX booking_of_further_venues ON booking USING gin (other_venues) WHERE other_venues IS NOT NULL;

CREATE TABLE block (
    id        uuid PRIMARY KEY,
    venue_id  integer NOT NULL REFERENCES venue,
    reason    text,
    placed_at timestamptz NOT NULL,
    lifted_at timestamptz,
    revision  integer NOT NULL,
    items     json NOT NULL
);

CREATE INDEX block_of_venue ON block (venue_id, placed_at);

-- A database restored from a dump counts transactions anew; the shift keeps the log's order going upward (see ARCHITECTURE.md).
CREATE TABLE log_shift (
    only_row boolean PRIMARY KEY DEFAULT true,
    shift    bigint NOT NULL,
    CONSTRAINT log_shift_has_one_row CHECK (only_row)
);
INSERT INTO log_shift (shift) VALUES (0);

-- The log is the outbox: append-only, written in the transaction of the effect it tells of.
-- (txn, position) is its order. A transaction gets its number only after it holds all of its resource locks, so per
-- resource this order is that of `version`; below log_horizon() nothing can appear any more, so a reader loses nothing.
CREATE TABLE log (
    txn         bigint NOT NULL,
    position    bigint GENERATED ALWAYS AS IDENTITY,
    time        timestamptz NOT NULL,
    type        text NOT NULL,
    subject     text NOT NULL,
    venues      text[] NOT NULL,
    traceparent text,
    data        json NOT NULL,
    PRIMARY KEY (txn, position)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.5);

CREATE FUNCTION log_txn() RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN pg_current_xact_id()::text::bigint + (SELECT shift FROM log_shift);

CREATE FUNCTION log_horizon() RETURNS bigint
LANGUAGE sql STABLE
RETURN pg_snapshot_xmin(pg_current_snapshot())::text::bigint + (SELECT shift FROM log_shift);

CREATE FUNCTION log_is_append_only() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log
FOR EACH STATEMENT EXECUTE FUNCTION log_is_append_only();

-- Lock the resources, in the order given (ascending, so that no two transactions wait for each other), then read under the locks.
-- Each statement of this function has its own snapshot, so what it reads is what the last holder of the locks committed.
-- Advisory locks write nothing and leave the transaction without a number until it writes; the log's order rests on that.
CREATE FUNCTION ledger_open(
    resources integer[],
    span_resources integer[], span_firsts integer[], span_ends integer[],
    channels text[], keys text[],
    OUT opened_at timestamptz,
    OUT head_resources integer[], OUT head_versions bigint[], OUT head_revisions integer[],
    OUT cell_resources integer[], OUT cell_numbers integer[], OUT cell_held integer[], OUT cell_booked integer[],
    OUT cell_blocked integer[], OUT cell_capacities integer[], OUT cell_overbooking integer[],
    OUT special_cells cell[],
    OUT replayed uuid[]
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(79110, locked.id) FROM unnest(resources) AS locked (id);
    opened_at := clock_timestamp();
    SELECT array_agg(head.resource_id), array_agg(head.version), array_agg(head.revision)
    INTO head_resources, head_versions, head_revisions
    FROM head WHERE head.resource_id = ANY (resources);
    -- Column by column, since aggregating whole rows costs ten times as much; only the few cells that carry more than
    -- counters come whole as well.
    SELECT array_agg(cell.resource_id), array_agg(number), array_agg(held), array_agg(booked), array_agg(blocked),
           array_agg(capacity), array_agg(overbooking),
           array_agg(cell) FILTER (WHERE own_capacity OR own_overbooking OR closed OR closed_to_arrival
                                      OR closed_to_departure OR min_stay IS NOT NULL OR max_stay IS NOT NULL)
    INTO cell_resources, cell_numbers, cell_held, cell_booked, cell_blocked, cell_capacities, cell_overbooking,
         special_cells
    FROM unnest(span_resources, span_firsts, span_ends) AS span (resource_id, first, "end")
    JOIN cell ON cell.resource_id = span.resource_id AND cell.number >= span.first AND cell.number < span."end";
    IF cardinality(keys) > 0 THEN
        SELECT array_agg(booking.id) INTO replayed
        FROM unnest(channels, keys) AS asked (channel, key)
        JOIN booking ON booking.channel = asked.channel AND booking.idempotency_key = asked.key;
    END IF;
END
$$;
