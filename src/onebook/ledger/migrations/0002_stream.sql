-- The way out of the log: what the relay reads, and what consumers remember of their place.

CREATE PUBLICATION onebook_log FOR TABLE log WITH (publish = 'insert');

-- A slot that has been made is never made again in silence: this row outlives it, and a relay that finds the row but not the
-- slot knows that the WAL in between is gone for good.
CREATE TABLE relay_slot (
    name       text PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lost_at    timestamptz,
    times_lost integer NOT NULL DEFAULT 0,
    CONSTRAINT relay_slot_losses_are_not_negative CHECK (times_lost >= 0)
);

-- Where a durable consumer goes on: every transaction of the log below the horizon has been handled.
CREATE TABLE consumer (
    name       text PRIMARY KEY,
    horizon    bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Events that a consumer could not handle, and deliveries given up: kept with their reason until somebody replays or purges them.
CREATE TABLE dead_letter (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer            text NOT NULL,
    txn                 bigint NOT NULL,
    position            bigint NOT NULL,
    type                text NOT NULL,
    subject             text NOT NULL,
    reason              text NOT NULL,
    attempts            integer NOT NULL DEFAULT 1,
    first_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    replay_requested_at timestamptz,
    -- Several workers fail on the same event: it is one letter.
    CONSTRAINT dead_letter_is_kept_once UNIQUE (consumer, position)
);

CREATE INDEX dead_letter_to_replay ON dead_letter (consumer) WHERE replay_requested_at IS NOT NULL;

-- What changed since a time, without reading the log from its start: its rows lie in the order of time, nearly.
CREATE INDEX log_by_time ON log USING brin (time) WITH (pages_per_range = 16, autosummarize = on);
