-- Customers. The database sees ciphertexts and keyed hashes only: the keys that open them lie elsewhere (docs/customers.md).

CREATE SCHEMA customer;

-- One row is one person at one channel; after the erasure the id that bookings still name, and nothing else.
-- The hashes are HMACs under a key of their own, so that they say nothing to whoever has only the database.
CREATE TABLE customer.customer (
    id           uuid PRIMARY KEY,
    channel      text NOT NULL,
    revision     integer NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    erased_at    timestamptz,
    is_alive     boolean NOT NULL GENERATED ALWAYS AS (erased_at IS NULL) STORED,
    key_hash     bytea NOT NULL,
    request_hash bytea,
    email_hash   bytea,
    -- One idempotency key has one effect, also after the erasure: a late repeat must not bring a person back.
    CONSTRAINT customer_key_has_one_effect UNIQUE (channel, key_hash),
    CONSTRAINT customer_and_life UNIQUE (id, is_alive),
    -- What is erased cannot be searched for, nor be guessed at.
    CONSTRAINT customer_erased_has_no_hashes CHECK (is_alive OR (request_hash IS NULL AND email_hash IS NULL))
);

-- Whoever looks for an address at a channel finds one person.
CREATE UNIQUE INDEX customer_email_is_taken_once ON customer.customer (email_hash, channel) WHERE email_hash IS NOT NULL;

-- The versions of the master key, by name only. A retired one stays here, so that nobody takes it for new.
CREATE TABLE customer.master_key (
    name         text COLLATE "C" PRIMARY KEY,
    added_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired_at   timestamptz,
    destroyed_at timestamptz,
    is_alive     boolean NOT NULL GENERATED ALWAYS AS (retired_at IS NULL) STORED,
    CONSTRAINT master_key_and_life UNIQUE (name, is_alive),
    -- What is still used is not destroyed.
    CONSTRAINT master_key_is_retired_first CHECK (destroyed_at IS NULL OR retired_at IS NOT NULL)
);

-- Each customer's own key, wrapped. It is in a table of its own: destroying it is the erasure, the rest follows from it.
-- Dead rows are vacuumed away at the next look, not when a fifth of the table is dead.
CREATE TABLE customer.data_key (
    customer         uuid PRIMARY KEY,
    customer_is_here boolean NOT NULL DEFAULT true CHECK (customer_is_here),
    master           text COLLATE "C" NOT NULL,
    master_is_here   boolean NOT NULL DEFAULT true CHECK (master_is_here),
    wrapped          bytea NOT NULL,
    -- No customer is marked as erased while the key exists, and none that is erased gets one.
    CONSTRAINT data_key_belongs_to_the_living FOREIGN KEY (customer, customer_is_here)
        REFERENCES customer.customer (id, is_alive),
    -- No master key is retired while anything is wrapped by it, and nothing is wrapped by one that is.
    CONSTRAINT data_key_is_wrapped_by_the_living FOREIGN KEY (master, master_is_here)
        REFERENCES customer.master_key (name, is_alive)
) WITH (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0);

CREATE INDEX data_key_by_master ON customer.data_key (master);

-- One encrypted value per field. Without the key there is nothing to keep: whatever deletes the key deletes these.
CREATE TABLE customer.field (
    customer uuid NOT NULL REFERENCES customer.data_key ON DELETE CASCADE,
    name     text COLLATE "C" NOT NULL,
    sealed   bytea NOT NULL,
    PRIMARY KEY (customer, name),
    CONSTRAINT field_is_known CHECK (name IN ('name', 'email', 'phone', 'address', 'birth_date', 'language', 'tier', 'notes',
        'consent', 'attributes'))
) WITH (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0);

-- The key of the hashes, wrapped like the others.
CREATE TABLE customer.search_key (
    only_row       boolean PRIMARY KEY DEFAULT true,
    master         text COLLATE "C" NOT NULL,
    master_is_here boolean NOT NULL DEFAULT true CHECK (master_is_here),
    wrapped        bytea NOT NULL,
    CONSTRAINT search_key_has_one_row CHECK (only_row),
    CONSTRAINT search_key_is_wrapped_by_the_living FOREIGN KEY (master, master_is_here)
        REFERENCES customer.master_key (name, is_alive)
);

-- A customer as the program reads it: everything that is sealed beside the key that opens it.
CREATE VIEW customer.stored AS
SELECT customer.id, channel, revision, created_at, changed_at, erased_at, key_hash, request_hash, email_hash, master, wrapped,
       names, sealed
FROM customer.customer
LEFT JOIN customer.data_key ON data_key.customer = customer.id
CROSS JOIN LATERAL (SELECT array_agg(name) AS names, array_agg(field.sealed) AS sealed
                    FROM customer.field WHERE field.customer = customer.id) AS kept;

-- What is held about a person includes the bookings; only those that name somebody pay for this index.
CREATE INDEX booking_of_customer ON booking (customer, placed_at) WHERE customer IS NOT NULL;

-- The one way for customers into the log, for those who keep copies: entries that name an id, and can say nothing more.
-- A customer belongs to no venue, so they name none.
CREATE FUNCTION customer.tell(type text, customer uuid, channel text, traceparent text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF type NOT IN ('customer.created', 'customer.changed', 'customer.erased') THEN
        RAISE EXCEPTION 'customers tell of customers, and of nothing else' USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO log (txn, time, type, subject, venues, traceparent, data)
    VALUES (log_txn(), clock_timestamp(), type, 'customers/' || customer, '{}', traceparent,
            json_build_object('customer', customer, 'channel', channel, 'resources', '[]'::json));
END
$$;
