-- Every statement about customers, by name. Locks are taken in one order: customer, data key, fields.

-- name: create
-- A customer, the key, the fields and the entry of the log: one statement, all or nothing.
WITH made AS (
    INSERT INTO customer.customer (id, channel, key_hash, request_hash, email_hash) VALUES ($1, $2, $3, $4, $5)
    RETURNING id, channel, created_at
), locked AS (
    INSERT INTO customer.data_key (customer, master, wrapped) SELECT id, $6, $7 FROM made
), kept AS (
    INSERT INTO customer.field (customer, name, sealed)
    SELECT id, given.name, given.sealed FROM made CROSS JOIN unnest($8::text[], $9::bytea[]) AS given (name, sealed)
)
SELECT created_at, customer.tell('customer.created', id, channel, $10) FROM made;

-- name: by_id
-- One customer; with a channel, only if it is that one's.
SELECT * FROM customer.stored WHERE id = $1 AND ($2::text IS NULL OR channel = $2);

-- name: by_key
-- What an idempotency key has made.
SELECT * FROM customer.stored WHERE channel = $1 AND key_hash = $2;

-- name: by_email
-- Who has an address, by its hash: one customer per channel at the most.
SELECT * FROM customer.stored WHERE email_hash = $1 AND ($2::text IS NULL OR channel = $2) ORDER BY id LIMIT $3;

-- name: change
-- Fields put and fields dropped, if the customer is still as it was read. No row when it is not.
WITH changed AS (
    UPDATE customer.customer SET revision = revision + 1, changed_at = clock_timestamp(), email_hash = $3
    WHERE id = $1 AND revision = $2 AND erased_at IS NULL
    RETURNING id, channel, revision
), put AS (
    INSERT INTO customer.field (customer, name, sealed)
    SELECT id, given.name, given.sealed FROM changed CROSS JOIN unnest($4::text[], $5::bytea[]) AS given (name, sealed)
    ON CONFLICT (customer, name) DO UPDATE SET sealed = EXCLUDED.sealed
), dropped AS (
    DELETE FROM customer.field USING changed WHERE customer = changed.id AND name = ANY ($6::text[])
)
SELECT revision, customer.tell('customer.changed', id, channel, $7) FROM changed;

-- name: erase
-- Destroy the key, and with it every field; forget the hashes. No row when there is nobody alive.
WITH erased AS (
    UPDATE customer.customer
    SET revision = revision + 1, changed_at = clock_timestamp(), erased_at = clock_timestamp(), request_hash = NULL,
        email_hash = NULL
    WHERE id = $1 AND ($2::text IS NULL OR channel = $2) AND erased_at IS NULL
    RETURNING id, channel
), destroyed AS (
    DELETE FROM customer.data_key USING erased WHERE customer = erased.id
)
SELECT customer.tell('customer.erased', id, channel, $3) FROM erased;

-- name: bookings
-- What a customer has booked, the latest first; with a channel, only there.
SELECT id::text, status, channel, placed_at, expires_at, reference, coalesce(amended, items)::text AS items
FROM booking WHERE customer = $1 AND ($3::text IS NULL OR channel = $3) ORDER BY placed_at DESC LIMIT $2;

-- name: register_master
-- A master key that is used from now on. One that was retired stays so.
INSERT INTO customer.master_key (name) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: search_key
-- The key of the hashes, wrapped.
SELECT master, wrapped FROM customer.search_key;

-- name: add_search_key
-- The key of the hashes, unless somebody was faster.
INSERT INTO customer.search_key (master, wrapped) VALUES ($1, $2) ON CONFLICT (only_row) DO NOTHING;

-- name: keys_to_rewrap
-- Data keys that another master key than the newest wraps.
SELECT customer::text, master, wrapped FROM customer.data_key WHERE master <> $1 LIMIT $2;

-- name: rewrap
-- The same data keys under the newest master key, where they are still as they were read.
UPDATE customer.data_key SET master = $1, wrapped = new.wrapped
FROM unnest($2::uuid[], $3::bytea[], $4::bytea[]) AS new (customer, found, wrapped)
WHERE data_key.customer = new.customer AND data_key.wrapped = new.found;

-- name: rewrap_search_key
-- The same for the key of the hashes.
UPDATE customer.search_key SET master = $1, wrapped = $3 WHERE wrapped = $2;

-- name: masters_to_destroy
-- Master keys besides the newest that may still exist.
SELECT name FROM customer.master_key WHERE name <> $1 AND destroyed_at IS NULL ORDER BY added_at;

-- name: retire_master
-- Nothing is wrapped by it from now on. Refused by name while anything is.
UPDATE customer.master_key SET retired_at = clock_timestamp() WHERE name = $1 AND retired_at IS NULL;

-- name: note_destroyed
-- It is gone where it was kept.
UPDATE customer.master_key SET destroyed_at = clock_timestamp() WHERE name = $1;
