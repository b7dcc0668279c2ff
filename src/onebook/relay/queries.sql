-- The relay's slot, and what is known of it, by name.

-- name: lock_slot
-- One relay at a time looks at the slot and makes it: until it lets go, or its connection ends.
SELECT pg_advisory_lock(79114, hashtext($1));

-- name: unlock_slot
-- Let the others look.
SELECT pg_advisory_unlock(79114, hashtext($1));

-- name: slot
-- The slot as the server has it.
SELECT plugin, database = current_database() AS is_ours, active, wal_status,
       confirmed_flush_lsn AS confirmed_lsn,
       greatest(pg_current_wal_lsn() - restart_lsn, 0)::bigint AS retained_bytes,
       safe_wal_size AS safe_bytes,
       pg_current_wal_lsn() AS server_lsn
FROM pg_replication_slots WHERE slot_name = $1;

-- name: is_recorded
-- Whether this slot has been made before.
SELECT EXISTS (SELECT FROM relay_slot WHERE name = $1);

-- name: record_made
-- This slot exists; from now on its absence is a loss.
INSERT INTO relay_slot (name) VALUES ($1) ON CONFLICT (name) DO NOTHING;

-- name: record_lost
-- The WAL that this slot kept for us is gone.
UPDATE relay_slot SET lost_at = clock_timestamp(), times_lost = times_lost + 1 WHERE name = $1;

-- name: drop_slot
-- Give up a slot that can no longer be read.
SELECT pg_drop_replication_slot($1);

-- name: make_slot
-- A slot from here on. Waits for the transactions that are writing now.
SELECT pg_create_logical_replication_slot($1, 'pgoutput', false, false);

-- name: make_failover_slot
-- The same, kept on standbys of the server too (PostgreSQL 17).
SELECT pg_create_logical_replication_slot($1, 'pgoutput', false, false, true);

-- name: heartbeat
-- Through the WAL, behind every transaction that had ended: everything below the horizon comes before it.
SELECT pg_logical_emit_message(true, 'onebook', json_build_object('kind', 'heartbeat', 'horizon', log_horizon())::text);
