-- Who may do what. Nothing is allowed that does not stand here; docs/security.md has the same as a table, and a test compares.
-- The roles themselves belong to the cluster and are made before (database.py). This file may be run again: a dump does not always
-- carry privileges. A later table is given in another file whose name ends in _roles.sql.

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA public, payment, customer
FROM PUBLIC, onebook_ledger, onebook_reader, onebook_payments, onebook_customers;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA payment, customer
FROM PUBLIC, onebook_ledger, onebook_reader, onebook_payments, onebook_customers;
REVOKE ALL ON FUNCTION log_txn(), log_horizon(), log_is_append_only(), webhook_registry_changes() FROM PUBLIC;
REVOKE ALL ON FUNCTION ledger_open(integer[], integer[], integer[], integer[], text[], text[]) FROM PUBLIC;
-- Functions that come later are nobody's until they are given to somebody.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- The relay's heartbeats say what consumers need not look at any more, and anybody with a connection could forge one. PostgreSQL
-- leaves this decision to a superuser; by its present signature only, since a dump names it.
DO $$
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AND current_setting('server_version_num')::integer >= 170000
    THEN
        REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text, boolean),
                                   pg_logical_emit_message(boolean, text, bytea, boolean) FROM PUBLIC;
    END IF;
END
$$;

-- The ledger: decides bookings, keeps what they cost, sends what follows from them. It deletes nothing that is sold, knows no money.
GRANT USAGE ON SCHEMA public TO onebook_ledger;
GRANT SELECT, INSERT, UPDATE ON venue, session, resource, head, cell, booking, block, consumer TO onebook_ledger;
GRANT SELECT, INSERT ON log TO onebook_ledger;
GRANT SELECT ON log_shift TO onebook_ledger;
GRANT SELECT, INSERT, UPDATE, DELETE ON rate_plan, tax, policy TO onebook_ledger;
GRANT SELECT, INSERT, UPDATE ON offer_version TO onebook_ledger;
GRANT SELECT ON offer TO onebook_ledger;
GRANT SELECT, INSERT, UPDATE, DELETE ON dead_letter, webhook_endpoint, webhook_delivery, refused_message TO onebook_ledger;
GRANT SELECT, INSERT, DELETE ON webhook_attempt, span TO onebook_ledger;
GRANT SELECT, UPDATE ON webhook_registry TO onebook_ledger;
GRANT USAGE ON SEQUENCE log_position_seq TO onebook_ledger;
GRANT EXECUTE ON FUNCTION log_txn(), log_horizon() TO onebook_ledger;
GRANT EXECUTE ON FUNCTION ledger_open(integer[], integer[], integer[], integer[], text[], text[]) TO onebook_ledger;

-- Readers: what is sold, what is taken of it, what it costs, and the log of how it came about.
GRANT USAGE ON SCHEMA public TO onebook_reader;
GRANT SELECT ON venue, session, resource, head, cell, booking, block, log, log_shift, consumer TO onebook_reader;
GRANT SELECT ON rate_plan, tax, policy, offer_version, offer TO onebook_reader;
GRANT EXECUTE ON FUNCTION log_horizon() TO onebook_reader;

-- Payments: money, and of the bookings what is to be paid. What has been posted stays; into the log goes what payment.tell lets
-- through.
GRANT USAGE ON SCHEMA public, payment TO onebook_payments;
GRANT SELECT ON venue, session, resource, booking, rate_plan, tax, policy, offer_version, offer TO onebook_payments;
GRANT SELECT, INSERT, UPDATE
ON payment.checkout, payment.coupon_use, payment.settlement, payment.refund TO onebook_payments;
GRANT SELECT, INSERT, UPDATE, DELETE ON payment.coupon TO onebook_payments;
GRANT SELECT, INSERT ON payment.journal TO onebook_payments;
GRANT SELECT ON payment.posting TO onebook_payments;
GRANT SELECT, INSERT, DELETE ON payment.notification TO onebook_payments;
GRANT EXECUTE ON FUNCTION payment.sum_of(bigint[]), payment.tell(text, text, text[], text, json) TO onebook_payments;

-- Customers: profiles and their keys, and of the bookings what an export tells. Erasing deletes keys and fields, never the id.
GRANT USAGE ON SCHEMA public, customer TO onebook_customers;
GRANT SELECT ON booking TO onebook_customers;
GRANT SELECT, INSERT, UPDATE ON customer.customer, customer.master_key, customer.search_key TO onebook_customers;
GRANT SELECT, INSERT, UPDATE, DELETE ON customer.data_key, customer.field TO onebook_customers;
GRANT SELECT ON customer.stored TO onebook_customers;
GRANT EXECUTE ON FUNCTION customer.tell(text, uuid, text, text) TO onebook_customers;
