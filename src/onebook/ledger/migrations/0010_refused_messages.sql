-- Messages of the broker that the relay has not signed: what was refused, by whom and why, so that somebody can look into it.
CREATE TABLE refused_message (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer      text NOT NULL,
    heard_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_heard_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason        text NOT NULL,
    lsn           bigint,
    subject       text,
    digest        bytea NOT NULL,
    excerpt       bytea NOT NULL,
    times         bigint NOT NULL,
    CONSTRAINT refused_message_reason_is_known CHECK (reason IN ('unsigned', 'unknown-key', 'wrong-signature')),
    -- However often one is sent, it takes one row; how many rows are kept is bounded by who writes them.
    CONSTRAINT refused_message_is_kept_once UNIQUE (consumer, digest),
    CONSTRAINT refused_message_excerpt_is_short CHECK (octet_length(excerpt) <= 1000)
);

-- What is told of a customer belongs to no venue. Every reader copes with an entry without one; never with one that names null.
ALTER TABLE log DROP CONSTRAINT log_entry_says_when_and_where;
ALTER TABLE log ADD CONSTRAINT log_entry_says_when_and_where CHECK (
    coalesce(array_ndims(venues), 1) = 1 AND array_position(venues, NULL) IS NULL AND isfinite(time)
    AND (cardinality(venues) > 0 OR type LIKE 'customer.%')
) NOT VALID;
