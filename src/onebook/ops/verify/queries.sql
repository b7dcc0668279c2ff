-- The auditor's statements. Each check returns where, what, expected, found and the total of its findings, of which it
-- brings the first $1. They use nothing of the ledger's: what must hold is said here once more.

-- name: snapshot
-- The first statement: it fixes the snapshot, and says when that was.
SELECT now();

-- name: sizes
-- How much there is to examine.
SELECT (SELECT count(*) FROM cell) AS cells, (SELECT count(*) FROM booking) AS bookings,
       (SELECT count(*) FROM block) AS blocks, (SELECT count(*) FROM webhook_delivery) AS deliveries,
       (SELECT count(*) FROM pg_constraint
        WHERE contype IN ('c', 'p', 'u')
          AND conrelid IN ('cell'::regclass, 'head'::regclass, 'booking'::regclass, 'log'::regclass,
                           'webhook_delivery'::regclass, 'dead_letter'::regclass, 'payment.checkout'::regclass,
                           'payment.coupon'::regclass, 'payment.journal'::regclass, 'payment.settlement'::regclass,
                           'payment.refund'::regclass)) AS guards;

-- name: guards
-- The constraints, triggers and unique indexes stand, are enforced for every row, and say what they said when they were made.
WITH promised (relation, name, definition) AS (VALUES
    ('cell', 'cell_pkey', 'PRIMARY KEY (resource_id, number)'),
    ('cell', 'cell_is_never_oversold', 'CHECK ((((held + booked) + blocked) <= (capacity + overbooking)))'),
    ('cell', 'cell_counters_are_not_negative', 'CHECK (((held >= 0) AND (booked >= 0) AND (blocked >= 0)))'),
    ('head', 'head_pkey', 'PRIMARY KEY (resource_id)'),
    ('booking', 'booking_pkey', 'PRIMARY KEY (id)'),
    ('booking', 'booking_key_has_one_effect', 'UNIQUE (channel, idempotency_key)'),
    ('booking', 'booking_deadline_belongs_to_a_hold',
     'CHECK (((status = ''held''::text) = (expires_at IS NOT NULL)))'),
    ('booking', 'booking_status_is_known',
     'CHECK ((status = ANY (ARRAY[''held''::text, ''confirmed''::text, ''released''::text, ''expired''::text, '
     '''cancelled''::text])))'),
    ('log', 'log_pkey', 'PRIMARY KEY (txn, "position")'),
    ('log', 'log_is_append_only',
     'CREATE TRIGGER log_is_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON log FOR EACH STATEMENT '
     'EXECUTE FUNCTION log_is_append_only()'),
    ('webhook_delivery', 'webhook_delivery_is_one_per_event', 'PRIMARY KEY (endpoint_id, "position")'),
    ('webhook_delivery', 'webhook_delivery_status_is_known',
     'CHECK ((status = ANY (ARRAY[''pending''::text, ''delivered''::text, ''dead''::text])))'),
    ('webhook_delivery', 'webhook_delivery_ends_once',
     'CHECK (((status = ''pending''::text) = (finished_at IS NULL)))'),
    ('dead_letter', 'dead_letter_is_kept_once', 'UNIQUE (consumer, "position")'),
    ('payment.checkout', 'checkout_pkey', 'PRIMARY KEY (id)'),
    ('payment.checkout', 'checkout_key_has_one_effect', 'UNIQUE (booking, idempotency_key)'),
    ('payment.checkout', 'checkout_ends_once',
     'CHECK (((state = ANY (ARRAY[''completed''::text, ''failed''::text])) = (finished_at IS NOT NULL)))'),
    ('payment.checkout', 'checkout_is_looked_after', 'CHECK (((finished_at IS NULL) = (due_at IS NOT NULL)))'),
    ('payment.checkout', 'checkout_completed_is_confirmed',
     'CHECK (((state <> ''completed''::text) OR (confirmed_booking IS NOT NULL)))'),
    ('payment.checkout', 'checkout_is_one_at_a_time',
     'CREATE UNIQUE INDEX checkout_is_one_at_a_time ON payment.checkout USING btree (booking) WHERE (finished_at IS NULL)'),
    ('payment.coupon', 'coupon_is_never_overused',
     'CHECK (((used >= 0) AND ((max_uses IS NULL) OR (used <= max_uses))))'),
    ('payment.journal', 'journal_effect_is_posted_once', 'UNIQUE (effect)'),
    ('payment.journal', 'journal_entry_balances', 'CHECK ((payment.sum_of(amounts_minor) = (0)::numeric))'),
    ('payment.journal', 'journal_entry_is_whole',
     'CHECK (((cardinality(accounts) >= 2) AND (cardinality(accounts) = cardinality(amounts_minor)) AND '
     '(cardinality(accounts) = cardinality(venues)) AND (array_position(amounts_minor, NULL::bigint) IS NULL)))'),
    ('payment.journal', 'journal_is_append_only',
     'CREATE TRIGGER journal_is_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON payment.journal FOR EACH STATEMENT '
     'EXECUTE FUNCTION log_is_append_only()'),
    ('payment.settlement', 'settlement_key_has_one_effect',
     'CREATE UNIQUE INDEX settlement_key_has_one_effect ON payment.settlement USING btree (booking, idempotency_key) '
     'WHERE (state <> ''refused''::text)'),
    ('payment.settlement', 'settlement_ends_a_booking_once',
     'CREATE UNIQUE INDEX settlement_ends_a_booking_once ON payment.settlement USING btree (booking) WHERE ((kind = ANY '
     '(ARRAY[''cancellation''::text, ''no-show''::text])) AND (state <> ''refused''::text))'),
    ('payment.refund', 'refund_pkey', 'PRIMARY KEY (id)'),
    ('payment.refund', 'refund_never_exceeds_the_capture',
     'CREATE TRIGGER refund_never_exceeds_the_capture AFTER INSERT OR UPDATE ON payment.refund FOR EACH ROW '
     'EXECUTE FUNCTION payment.guard_refund()'),
    ('booking', 'booking_is_confirmed_by_its_checkout',
     'CREATE TRIGGER booking_is_confirmed_by_its_checkout AFTER UPDATE OF status ON booking FOR EACH ROW '
     'WHEN (old.status = ''held''::text AND new.status = ''confirmed''::text) EXECUTE FUNCTION payment.guard_confirmation()'),
    ('booking', 'booking_is_cancelled_with_its_settlement',
     'CREATE TRIGGER booking_is_cancelled_with_its_settlement AFTER UPDATE OF status ON booking FOR EACH ROW '
     'WHEN (old.status = ''confirmed''::text AND new.status = ''cancelled''::text) '
     'EXECUTE FUNCTION payment.guard_cancellation()'),
    ('booking', 'booking_is_amended_with_its_money',
     'CREATE TRIGGER booking_is_amended_with_its_money AFTER UPDATE OF amended ON booking FOR EACH ROW '
     'WHEN (old.status = ''confirmed''::text AND new.status = ''confirmed''::text) '
     'EXECUTE FUNCTION payment.guard_amendment()')
), standing AS (
    -- A constraint that is not valid or not enforced says so at the end of its definition.
    SELECT conrelid AS relation, conname AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint
    UNION ALL
    SELECT tgrelid, tgname, CASE WHEN tgenabled IN ('O', 'A') THEN pg_get_triggerdef(oid, true) ELSE 'disabled' END
    FROM pg_trigger
    UNION ALL
    SELECT indrelid, relname, CASE WHEN indisvalid THEN pg_get_indexdef(indexrelid) ELSE 'invalid' END
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
)
SELECT promised.relation AS "where", promised.name || ' does not stand' AS what, promised.definition AS expected,
       coalesce(standing.definition, 'absent') AS found, count(*) OVER () AS total
FROM promised
LEFT JOIN standing ON standing.relation = promised.relation::regclass AND standing.name = promised.name
WHERE standing.definition IS DISTINCT FROM promised.definition
ORDER BY 1, 2
LIMIT $1;

-- name: counters
-- No cell has more taken than there is, and none less than nothing.
SELECT concat_ws(' ', venue.code || '/' || resource.code, CASE unit
           WHEN 'night' THEN (date '1970-01-01' + number)::text
           WHEN 'minute' THEN (to_timestamp(number::bigint * cell_minutes * 60) AT TIME ZONE timezone)::text
           ELSE 'cell ' || number END) AS "where", 'oversold' AS what,
       format('0 to %s + %s', cell.capacity, cell.overbooking) AS expected,
       format('%s held, %s booked, %s blocked', held, booked, blocked) AS found, count(*) OVER () AS total
FROM cell
LEFT JOIN resource ON resource.id = cell.resource_id
LEFT JOIN venue ON venue.id = resource.venue_id
WHERE held + booked + blocked > cell.capacity + cell.overbooking OR held < 0 OR booked < 0 OR blocked < 0
ORDER BY cell.resource_id, cell.number
LIMIT $1;

-- name: cells
-- The counters of every cell are the sums of the items of living bookings and blocks; nothing hangs in the air.
WITH named AS (
    SELECT resource.id, venue.code || '/' || resource.code AS key, unit, cell_minutes, timezone
    FROM resource JOIN venue ON venue.id = resource.venue_id
), taken AS (
    -- Summed by equal periods before they are cut into cells: far fewer rows.
    SELECT item.resource, item.cells, sum(item.quantity) FILTER (WHERE status = 'held') AS held,
           sum(item.quantity) FILTER (WHERE status = 'confirmed') AS booked, NULL::bigint AS blocked
    FROM booking
    CROSS JOIN LATERAL json_to_recordset(coalesce(amended, items))
        AS item (resource text, cells integer[], quantity integer)
    WHERE status IN ('held', 'confirmed')
    GROUP BY item.resource, item.cells
    UNION ALL
    SELECT item.resource, item.cells, NULL, NULL, sum(item.quantity)
    FROM block
    CROSS JOIN LATERAL json_to_recordset(items) AS item (resource text, cells integer[], quantity integer)
    WHERE lifted_at IS NULL
    GROUP BY item.resource, item.cells
), owed AS (
    SELECT named.id AS resource_id, number, coalesce(sum(held), 0) AS held, coalesce(sum(booked), 0) AS booked,
           coalesce(sum(blocked), 0) AS blocked
    FROM taken
    JOIN named ON named.key = taken.resource
    CROSS JOIN LATERAL generate_series(cells[1], cells[2] - 1) AS number
    GROUP BY named.id, number
), findings AS (
    SELECT concat_ws(' ', named.key, CASE unit
               WHEN 'night' THEN (date '1970-01-01' + number)::text
               WHEN 'minute' THEN (to_timestamp(number::bigint * cell_minutes * 60) AT TIME ZONE timezone)::text
               ELSE 'cell ' || number END) AS "where",
           CASE WHEN cell.held IS NULL THEN 'a missing cell'
                ELSE 'another sum than its bookings and blocks' END AS what,
           format('%s held, %s booked, %s blocked', coalesce(owed.held, 0), coalesce(owed.booked, 0),
                  coalesce(owed.blocked, 0)) AS expected,
           CASE WHEN cell.held IS NULL THEN 'no row'
                ELSE format('%s held, %s booked, %s blocked', cell.held, cell.booked, cell.blocked) END AS found
    FROM owed FULL JOIN cell USING (resource_id, number)
    LEFT JOIN named ON named.id = resource_id
    WHERE (cell.held, cell.booked, cell.blocked)
          IS DISTINCT FROM (coalesce(owed.held, 0), coalesce(owed.booked, 0), coalesce(owed.blocked, 0))
    UNION ALL
    SELECT taken.resource, 'items of a resource that is not there', 'a resource', 'none'
    FROM taken WHERE NOT EXISTS (SELECT FROM named WHERE named.key = taken.resource)
    UNION ALL
    SELECT format('resource %s cell %s', resource_id, number), 'a cell of a resource that is not there', 'a resource',
           'none'
    FROM cell WHERE NOT EXISTS (SELECT FROM resource WHERE resource.id = cell.resource_id)
    UNION ALL
    SELECT named.key, 'a resource without a head', 'a head', 'none'
    FROM named WHERE NOT EXISTS (SELECT FROM head WHERE head.resource_id = named.id)
    UNION ALL
    SELECT format('resource %s', resource_id), 'a head without its resource', 'a resource', 'none'
    FROM head WHERE NOT EXISTS (SELECT FROM resource WHERE resource.id = head.resource_id)
)
SELECT *, count(*) OVER () AS total FROM findings ORDER BY "where", what LIMIT $1;

-- name: bookings
-- Each booking's life in the log: placed once, moved only as the states allow and on the right side of its deadline,
-- ended at most once, revisions dense, items changed by amendments alone; and the row is what the last entry says.
WITH legal (type, before, status) AS (VALUES
    ('booking.held', NULL, 'held'),
    ('booking.confirmed', NULL, 'confirmed'),
    ('booking.confirmed', 'held', 'confirmed'),
    ('booking.extended', 'held', 'held'),
    ('booking.released', 'held', 'released'),
    ('booking.expired', 'held', 'expired'),
    ('booking.cancelled', 'confirmed', 'cancelled'),
    ('booking.amended', 'held', 'held'),
    ('booking.amended', 'confirmed', 'confirmed')
), told AS (
    -- Items are compared by a hash of their text: each list is written by one encoder, in the log and in the row.
    SELECT log.subject, log.txn, log.position, log.type, log.time, facts.status, facts.revision, facts.channel,
           facts.placed_at, facts.expires_at, hashtextextended(facts.items, 0) AS items
    FROM log
    CROSS JOIN LATERAL json_to_record(log.data) AS facts
        (status text, revision integer, channel text, placed_at timestamptz, expires_at timestamptz, items text)
    WHERE log.type LIKE 'booking.%'
), step AS (
    SELECT told.*, row_number() OVER life AS number, lead(type) OVER life IS NULL AS last,
           lag(status) OVER life AS before, lag(expires_at) OVER life AS deadline, lag(items) OVER life AS items_before
    FROM told WINDOW life AS (PARTITION BY subject ORDER BY txn, position)
), kept AS (
    SELECT 'bookings/' || id AS subject, status, revision, channel, placed_at, expires_at,
           hashtextextended(items::text, 0) AS items, hashtextextended(coalesce(amended, items)::text, 0) AS items_now
    FROM booking
), judged AS (
    -- One row per entry, with its booking's row beside it; or a booking alone.
    SELECT subject, txn, position, step.type, time, number, step.before, deadline, step.status, step.revision,
           step.channel, step.placed_at, step.expires_at, kept.status AS kept_status, kept.revision AS kept_revision,
           kept.channel AS kept_channel, kept.placed_at AS kept_placed_at, kept.expires_at AS kept_expires_at,
           step.txn IS NULL AS is_untold,
           kept.status IS NULL AND step.last AS is_lost,
           step.txn IS NOT NULL AND legal.type IS NULL AS is_illegal,
           step.revision <> step.number AS is_out_of_turn,
           (step.status = 'held') <> (step.expires_at IS NOT NULL) AS has_wrong_deadline,
           step.type = 'booking.expired' AND step.time < step.deadline AS is_early,
           step.type NOT IN ('booking.expired', 'booking.released') AND step.time >= step.deadline AS is_late,
           step.type <> 'booking.amended' AND step.items <> step.items_before AS changes_items,
           step.last AND (kept.status, kept.revision) IS DISTINCT FROM (step.status, step.revision) AS is_not_kept,
           step.last AND kept.expires_at IS DISTINCT FROM step.expires_at AS deadline_is_not_kept,
           step.last AND kept.items_now <> step.items AS items_are_not_kept,
           step.number = 1 AND kept.items <> step.items AS items_were_not_kept,
           step.number = 1 AND (kept.channel, kept.placed_at) IS DISTINCT FROM (step.channel, step.placed_at)
               AS placing_is_not_kept
    FROM step
    FULL JOIN kept USING (subject)
    LEFT JOIN legal ON legal.type = step.type AND legal.status = step.status
                   AND legal.before IS NOT DISTINCT FROM step.before
), findings AS (
    SELECT concat_ws(' ', subject, 'log ' || txn || '/' || position) AS "where", wrong.what, wrong.expected, wrong.found
    FROM judged
    CROSS JOIN LATERAL (VALUES
        (is_untold, 'a booking that the log does not tell of', 'an entry that places it', 'none'),
        (is_lost, 'the log tells of a booking that is not there', status, 'no row'),
        (is_illegal, 'an illegal move', 'a move from ' || coalesce(before, 'nothing'), type || ' to ' || status),
        (is_out_of_turn, 'not the next revision', number::text, revision::text),
        (has_wrong_deadline, 'a deadline belongs to a hold and to nothing else', status,
         coalesce(expires_at::text, 'no deadline')),
        (is_early, 'expired before its deadline', 'from ' || deadline, time::text),
        (is_late, 'moved after its deadline', 'before ' || deadline, type || ' at ' || time),
        (changes_items, 'other items without an amendment', 'those before', 'others'),
        (is_not_kept, 'another state than the log''s', concat_ws(' ', status, 'revision', revision),
         concat_ws(' ', kept_status, 'revision', kept_revision)),
        (deadline_is_not_kept, 'another deadline than the log''s', coalesce(expires_at::text, 'none'),
         coalesce(kept_expires_at::text, 'none')),
        (items_are_not_kept, 'other items than the log''s', 'those of the last entry', 'others'),
        (items_were_not_kept, 'other items placed than the log''s', 'those of the first entry', 'others'),
        (placing_is_not_kept, 'placed otherwise than the log says', channel || ' at ' || placed_at,
         kept_channel || ' at ' || kept_placed_at)
    ) AS wrong (is_so, what, expected, found)
    -- Told first of the whole row, so that the texts are made for the few that are wrong.
    WHERE (is_untold OR is_lost OR is_illegal OR is_out_of_turn OR has_wrong_deadline OR is_early OR is_late
           OR changes_items OR is_not_kept OR deadline_is_not_kept OR items_are_not_kept OR items_were_not_kept
           OR placing_is_not_kept)
      AND wrong.is_so
)
SELECT *, count(*) OVER () AS total FROM findings ORDER BY "where", what LIMIT $1;

-- name: overdue
-- Holds still held more than five seconds after their deadline.
SELECT 'bookings/' || id AS "where", 'an overdue hold' AS what, 'ended by ' || expires_at AS expected,
       'held, ' || (now() - expires_at) || ' later' AS found, count(*) OVER () AS total
FROM booking
WHERE status = 'held' AND expires_at < now() - interval '5 seconds'
ORDER BY expires_at
LIMIT $1;

-- name: blocks
-- Each block is placed once and lifted at most once, and its row is what the log says.
WITH told AS (
    SELECT log.subject, count(*) AS entries, max(facts.revision) AS revision,
           string_agg(log.type, ', ' ORDER BY txn, position) AS types,
           count(DISTINCT facts.items) AS sets, min(facts.items) AS items
    FROM log
    CROSS JOIN LATERAL json_to_record(log.data) AS facts (revision integer, items text)
    WHERE log.type LIKE 'block.%'
    GROUP BY log.subject
), kept AS (
    SELECT 'blocks/' || id AS subject, revision, items::text AS items,
           CASE WHEN lifted_at IS NULL THEN 'block.placed' ELSE 'block.placed, block.lifted' END AS types
    FROM block
), findings AS (
    SELECT subject AS "where", wrong.what, wrong.expected, wrong.found
    FROM told
    FULL JOIN kept USING (subject)
    CROSS JOIN LATERAL (VALUES
        (told.types IS DISTINCT FROM kept.types,
         'another life than the log''s', coalesce(told.types, 'no entry'), coalesce(kept.types, 'no row')),
        (told.entries <> told.revision OR told.revision <> kept.revision,
         'another revision than the log''s', told.entries::text, kept.revision::text),
        (told.sets > 1 OR told.items <> kept.items,
         'other items than the log''s', 'those placed', 'others')
    ) AS wrong (is_so, what, expected, found)
    WHERE wrong.is_so
)
SELECT *, count(*) OVER () AS total FROM findings ORDER BY "where", what LIMIT $1;

-- name: keys
-- One idempotency key of a channel has one booking, and every booking the hash of the request that placed it.
WITH findings AS (
    SELECT format('channel %s key %s', channel, idempotency_key) AS "where", 'a key with several effects' AS what,
           '1 booking' AS expected, format('%s bookings', count(*)) AS found
    FROM booking
    GROUP BY channel, idempotency_key
    HAVING count(*) > 1
    UNION ALL
    SELECT 'bookings/' || id, 'no hash of the request', '16 bytes', octet_length(request_hash) || ' bytes'
    FROM booking
    WHERE octet_length(request_hash) <> 16
)
SELECT *, count(*) OVER () AS total FROM findings ORDER BY "where" LIMIT $1;

-- name: deliveries
-- Every endpoint has one delivery of each event that it wants, from its latest change up to where the consumer has written
-- down what is owed; and none of anything else. Excused is what may have been purged ($2 is how long deliveries are kept), what
-- is parked, and whoever's latest change has not been looked through. Of an endpoint that was changed nobody knows what it
-- wanted before, nor when the sender heard of the change: of such a one only what is missing is told. Of bookings of another
-- channel, and of blocks, an endpoint with a channel is told as availability; of what changes nothing on sale, such as another
-- channel's customers, it is told nothing.
WITH told AS NOT MATERIALIZED (
    SELECT txn, position, 'onebook.' || type || '.v1' AS type, venues, is_private, is_secret,
           CASE WHEN is_private THEN data ->> 'channel' END AS channel,
           txn < (SELECT horizon FROM consumer WHERE name = 'webhooks')
               -- A minute more: it may have been purged between now() and the snapshot.
               AND time >= now() - $2::interval + interval '1 minute'
               AND NOT EXISTS (SELECT FROM dead_letter AS letter
                               WHERE letter.consumer = 'webhooks' AND letter.position = log.position) AS is_due
    FROM log
    CROSS JOIN LATERAL (SELECT type LIKE 'checkout.%' OR type LIKE 'customer.%' AS is_secret) AS nothing_on_sale
    CROSS JOIN LATERAL (SELECT is_secret OR type LIKE 'booking.%' OR type LIKE 'block.%' AS is_private) AS secrecy
), wished AS (
    SELECT endpoint.*, wish.venue FROM webhook_endpoint AS endpoint CROSS JOIN unnest(endpoint.venues) AS wish (venue)
), placed AS (
    SELECT told.*, place.venue FROM told CROSS JOIN unnest(told.venues || '*'::text) AS place (venue)
    WHERE txn >= (SELECT min(since_txn) FROM webhook_endpoint)
), owed AS (
    -- Joined by venue, since that is a join by equality; an event of two venues comes twice.
    SELECT DISTINCT wished.id AS endpoint_id, placed.position, placed.txn, form.type,
           placed.is_due AND wished.status = 'active' AND wished.filled_revision = wished.revision AS is_due
    FROM wished
    JOIN placed USING (venue)
    CROSS JOIN LATERAL (SELECT CASE WHEN wished.channel IS NULL OR NOT is_private OR placed.channel = wished.channel
                                    THEN placed.type ELSE 'onebook.availability.changed.v1' END AS type) AS form
    WHERE placed.txn >= wished.since_txn AND wished.types && ARRAY['*', form.type]
        AND NOT (is_secret AND form.type = 'onebook.availability.changed.v1')
), findings AS (
    SELECT owed.endpoint_id, owed.txn, owed.position, 'an event that was wanted has no delivery' AS what,
           owed.type AS expected, 'none' AS found
    FROM owed
    WHERE is_due AND NOT EXISTS (SELECT FROM webhook_delivery AS delivery
                                 WHERE delivery.endpoint_id = owed.endpoint_id AND delivery.position = owed.position)
    UNION ALL
    SELECT delivery.endpoint_id, delivery.txn, delivery.position, wrong.what, wrong.expected, wrong.found
    FROM webhook_delivery AS delivery
    JOIN webhook_endpoint AS endpoint ON endpoint.id = delivery.endpoint_id
    LEFT JOIN told ON told.txn = delivery.txn AND told.position = delivery.position
    LEFT JOIN owed ON owed.endpoint_id = delivery.endpoint_id AND owed.position = delivery.position
    CROSS JOIN LATERAL (
        SELECT CASE WHEN delivery.is_test THEN 'onebook.webhook.test.v1'
                    WHEN endpoint.channel IS NULL OR NOT is_private OR told.channel = endpoint.channel THEN told.type
                    ELSE 'onebook.availability.changed.v1' END AS type
    ) AS form
    CROSS JOIN LATERAL (VALUES
        (NOT delivery.is_test AND told.txn IS NULL, 'a delivery of no event', 'an entry of the log', 'none'),
        (delivery.type <> form.type, 'told in another form than this endpoint may see', form.type, delivery.type),
        (NOT delivery.is_test AND told.txn IS NOT NULL AND owed.txn IS NULL AND endpoint.revision = 1,
         'a delivery of an event that was not wanted', 'none', delivery.type)
    ) AS wrong (is_so, what, expected, found)
    WHERE wrong.is_so
)
SELECT format('webhooks/%s log %s/%s', endpoint_id, txn, position) AS "where", what, expected, found,
       count(*) OVER () AS total
FROM findings ORDER BY 1, 2 LIMIT $1;

-- name: order
-- Of an endpoint's deliveries that touch the same resource each came to its end no later than the next one. Excused is one
-- that was queued after the next one, because it was replayed, or found in the log afterwards; and one that had come to its end
-- before and was then sent once more (at least once), as its attempts or its letter tell.
WITH sent AS (
    SELECT delivery.endpoint_id, touched.resource, delivery.txn, delivery.position, queued_at, finished_at
    FROM webhook_delivery AS delivery
    JOIN webhook_endpoint AS endpoint ON endpoint.id = delivery.endpoint_id
    JOIN log ON log.txn = delivery.txn AND log.position = delivery.position
    CROSS JOIN LATERAL json_to_recordset(log.data -> 'resources') AS touched (resource text)
), judged AS (
    SELECT sent.*, lag(position) OVER line AS position_before, lag(queued_at) OVER line AS queued_before,
           lag(coalesce(finished_at, 'infinity')) OVER line AS finished_before
    FROM sent WINDOW line AS (PARTITION BY endpoint_id, resource ORDER BY txn, position)
)
SELECT format('webhooks/%s log %s/%s %s', endpoint_id, txn, position, resource) AS "where",
       'ended before an earlier one of its resource' AS what, 'after position ' || position_before AS expected,
       format('%s, that one at %s', finished_at, finished_before) AS found, count(*) OVER () AS total
FROM judged
WHERE finished_at < finished_before AND queued_before <= queued_at
  AND NOT EXISTS (SELECT FROM webhook_attempt AS attempt
                  WHERE attempt.endpoint_id = judged.endpoint_id AND attempt.position = position_before
                    AND attempt.status_code BETWEEN 200 AND 299 AND attempt.at <= judged.finished_at)
  AND NOT EXISTS (SELECT FROM dead_letter AS letter
                  WHERE letter.consumer = 'webhook/' || judged.endpoint_id AND letter.position = position_before)
ORDER BY 1
LIMIT $1;

-- name: undelivered
-- What somebody should look at, though it may be as it should: deliveries still pending after the time ($2) for which they are
-- tried, dead ones without a letter (it was purged), letters of what is not dead (an attempt that was under way when its endpoint
-- was disabled and enabled again ended otherwise), parked events, and changes of endpoints not looked through yet.
WITH findings AS (
    SELECT format('webhooks/%s log %s/%s', endpoint_id, txn, position) AS "where", wrong.what, wrong.expected, wrong.found
    FROM webhook_delivery AS delivery
    JOIN webhook_endpoint AS endpoint ON endpoint.id = delivery.endpoint_id
    CROSS JOIN LATERAL (VALUES
        (delivery.status = 'pending' AND endpoint.status = 'active' AND queued_at < now() - $2::interval,
         'pending for longer than it is tried', 'an end by ' || queued_at + $2::interval, attempts || ' attempts'),
        (delivery.status = 'dead' AND NOT EXISTS (
             SELECT FROM dead_letter WHERE consumer = 'webhook/' || endpoint_id AND position = delivery.position),
         'dead, and its letter is gone', 'a letter', 'none')
    ) AS wrong (is_so, what, expected, found)
    WHERE delivery.status <> 'delivered' AND wrong.is_so
    UNION ALL
    SELECT format('webhooks/%s log %s/%s', endpoint_id, delivery.txn, delivery.position),
           'a letter of a delivery that is not dead', 'dead', delivery.status
    FROM dead_letter AS letter
    JOIN webhook_delivery AS delivery
      ON letter.consumer = 'webhook/' || delivery.endpoint_id AND letter.position = delivery.position
    JOIN webhook_endpoint AS endpoint ON endpoint.id = delivery.endpoint_id
    WHERE delivery.status <> 'dead'
    UNION ALL
    SELECT format('log %s/%s', txn, position), 'parked: nobody is told of it', 'deliveries', reason
    FROM dead_letter WHERE consumer = 'webhooks'
    UNION ALL
    SELECT 'webhooks/' || id, 'a change not looked through yet', 'revision ' || revision, 'revision ' || filled_revision
    FROM webhook_endpoint WHERE filled_revision < revision
)
SELECT *, count(*) OVER () AS total FROM findings ORDER BY "where", what LIMIT $1;

-- name: amended
-- The bookings whose items the replay must remember.
SELECT DISTINCT subject FROM log WHERE type = 'booking.amended';

-- name: log
-- The log from its beginning, in its order.
SELECT txn, position, type, subject, venues, data FROM log ORDER BY txn, position;

-- name: venues
-- Venues as they are stored.
SELECT code AS venue, id, name, timezone, currency, market FROM venue;

-- name: sessions
-- Sessions as they are stored.
SELECT venue.code AS venue, session.code AS session, session.id, starts_at, ends_at
FROM session JOIN venue ON venue.id = session.venue_id;

-- name: resources
-- Resources as they are stored, with the version they have come to.
SELECT resource.id, venue.code || '/' || resource.code AS resource, kind, resource.name, unit, cell_minutes, capacity,
       overbooking, buffer_before, buffer_after, min_stay, max_stay, hours, head.version
FROM resource
JOIN venue ON venue.id = resource.venue_id
LEFT JOIN head ON head.resource_id = resource.id;

-- name: stored_cells
-- Cells as they are stored.
SELECT resource_id, number, held, booked, blocked, capacity, overbooking, min_stay, max_stay, own_capacity,
       own_overbooking, closed, closed_to_arrival, closed_to_departure
FROM cell;

-- name: grids
-- Every resource with its grid, and the cells stored of it.
SELECT resource.id, venue.code || '/' || resource.code AS resource, venue.code AS venue, unit, cell_minutes,
       (SELECT min(number) FROM cell WHERE resource_id = resource.id) AS first,
       (SELECT max(number) + 1 FROM cell WHERE resource_id = resource.id) AS "end"
FROM resource JOIN venue ON venue.id = resource.venue_id
ORDER BY resource.id;

-- name: on_sale
-- Resources with their versions, and what is on sale in those of the cells that are stored: one statement, one snapshot.
SELECT resource.id, venue.code || '/' || resource.code AS resource, kind, resource.name, unit, cell_minutes, capacity,
       overbooking, buffer_before, buffer_after, min_stay, max_stay, hours, timezone, head.version, stored.numbers,
       stored.available
FROM resource
JOIN venue ON venue.id = resource.venue_id
JOIN head ON head.resource_id = resource.id
CROSS JOIN LATERAL (
    SELECT array_agg(number ORDER BY number) AS numbers,
           array_agg(CASE WHEN closed THEN 0 ELSE cell.capacity + cell.overbooking - held - booked - blocked END
                     ORDER BY number) AS available
    FROM cell WHERE resource_id = resource.id AND number = ANY ($2::integer[])
) AS stored
WHERE resource.id = ANY ($1::integer[]);
