-- What took how long, of the commands that were followed. Kept for a while (tracing.keep_hours) and never more than a bound: for
-- `onebook trace`. Nothing refers to it, and losing rows of it harms nobody.
CREATE TABLE span (
    position   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    trace_id   text NOT NULL,
    span_id    text NOT NULL,
    parent_id  text,
    name       text NOT NULL,
    process    text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL,
    attributes json NOT NULL,
    CONSTRAINT span_ends_after_it_began CHECK (started_at <= ended_at)
);

CREATE INDEX span_by_trace ON span (trace_id);
