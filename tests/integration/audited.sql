-- A small ledger and its log, written by hand so that the auditor is not tested with what it audits.
-- Nights are numbered from 1970-01-01: 2026-12-01 is 20788. Ana's cells are quarters of an hour: 10:00 that day is 1995688.

INSERT INTO venue (code, name, timezone, currency, market) VALUES
    ('alfama', 'Casa Alfama', 'Europe/Lisbon', 'EUR', 'lisbon'),
    ('opera', 'Ópera', 'Europe/Lisbon', 'EUR', 'lisbon');

INSERT INTO session (venue_id, code, starts_at, ends_at) VALUES
    (2, 'matinee', '2026-12-24T15:00Z', '2026-12-24T18:00Z');

INSERT INTO resource (venue_id, code, kind, name, unit, cell_minutes, capacity, overbooking, buffer_before, buffer_after,
                      hours, min_stay, max_stay) VALUES
    (1, 'double', 'room', 'Double', 'night', 0, 4, 1, 0, 0, NULL, NULL, 30),
    (1, 'ana', 'staff', 'Ana', 'minute', 15, 1, 0, 0, 15,
     '{"weekly":[[[540,1080]],[[540,1080]],[[540,1080]],[[540,1080]],[[540,1080]],[],[]],"exceptions":{}}', NULL, NULL),
    (2, 'A-42', 'seat', 'A 42', 'session', 0, 1, 0, 0, 0, NULL, NULL, NULL);

INSERT INTO head (resource_id, version, revision) VALUES (1, 12, 2), (2, 6, 1), (3, 5, 1);

INSERT INTO cell (resource_id, number, held, booked, blocked, capacity, overbooking, min_stay, own_capacity, closed) VALUES
    (1, 20788, 0, 0, 0, 4, 1, NULL, false, false),
    (1, 20789, 0, 1, 0, 2, 1, NULL, true, false),
    (1, 20790, 0, 1, 0, 2, 1, 2, true, true),
    (1, 20791, 0, 1, 0, 4, 1, NULL, false, false),
    (1, 20792, 1, 0, 0, 4, 1, NULL, false, false),
    (1, 20797, 1, 0, 2, 4, 1, NULL, false, false),
    (1, 20798, 0, 0, 2, 4, 1, NULL, false, false),
    (2, 1995688, 0, 1, 0, 1, 0, NULL, false, false),
    (2, 1995689, 0, 1, 0, 1, 0, NULL, false, false),
    (2, 1995690, 0, 1, 0, 1, 0, NULL, false, false),
    (2, 1995691, 0, 1, 0, 1, 0, NULL, false, false),
    (2, 1995692, 0, 1, 0, 1, 0, NULL, false, false),
    (2, 1995696, 0, 0, 0, 1, 0, NULL, false, false),
    (2, 1995697, 0, 0, 0, 1, 0, NULL, false, false),
    (2, 1995704, 0, 0, 0, 1, 0, NULL, false, false),
    (2, 1995705, 0, 0, 0, 1, 0, NULL, false, false),
    (3, 1, 0, 0, 0, 1, 0, NULL, false, false);

INSERT INTO booking (id, placed_at, expires_at, venue_id, first_day, last_day, ttl_seconds, revision, status, channel,
                     idempotency_key, request_hash, other_venues, items, amended) VALUES
    ('00000000-0000-7000-8000-000000000001', '2026-11-01T10:00:06Z', NULL, 1, '2026-12-02', '2026-12-05', 600, 3,
     'confirmed', 'web', 'k1', '\x00000000000000000000000000000001', NULL,
     '[{"resource":"alfama/double","from":"2026-12-01","to":"2026-12-04","quantity":1,"version":2,"cells":[20788,20791]}]',
     '[{"resource":"alfama/double","from":"2026-12-02","to":"2026-12-05","quantity":1,"version":6,"cells":[20789,20792]}]'),
    ('00000000-0000-7000-8000-000000000002', '2026-11-01T10:00:08Z', NULL, 1, '2026-12-02', '2026-12-24', 600, 2,
     'released', 'app', 'k1', '\x00000000000000000000000000000002', '{2}',
     '[{"resource":"alfama/double","from":"2026-12-02","to":"2026-12-03","quantity":2,"version":4,"cells":[20789,20790]},{"resource":"opera/A-42","from":"2026-12-24T15:00:00+00:00","to":"2026-12-24T18:00:00+00:00","quantity":1,"version":2,"cells":[1,2],"session":"matinee"}]',
     NULL),
    ('00000000-0000-7000-8000-000000000003', '2026-11-01T10:00:10Z', NULL, 1, '2026-12-01', '2026-12-01', NULL, 1,
     'confirmed', 'web', 'k3', '\x00000000000000000000000000000003', NULL,
     '[{"resource":"alfama/ana","from":"2026-12-01T10:00:00+00:00","to":"2026-12-01T11:00:00+00:00","quantity":1,"version":2,"cells":[1995688,1995693]}]',
     NULL),
    ('00000000-0000-7000-8000-000000000004', '2026-11-01T10:00:16Z', '2100-01-02T00:00:00Z', 1, '2026-12-05', '2026-12-06',
     600, 2, 'held', 'web', 'k4', '\x00000000000000000000000000000004', NULL,
     '[{"resource":"alfama/double","from":"2026-12-05","to":"2026-12-06","quantity":1,"version":9,"cells":[20792,20793]}]',
     NULL),
    ('00000000-0000-7000-8000-000000000005', '2026-11-01T10:00:18Z', NULL, 1, '2026-12-01', '2026-12-01', 60, 2,
     'expired', 'web', 'k5', '\x00000000000000000000000000000005', NULL,
     '[{"resource":"alfama/ana","from":"2026-12-01T14:00:00+00:00","to":"2026-12-01T14:15:00+00:00","quantity":1,"version":5,"cells":[1995704,1995706]}]',
     NULL),
    ('00000000-0000-7000-8000-000000000006', '2026-11-01T10:02:00Z', NULL, 2, '2026-12-24', '2026-12-24', NULL, 2,
     'cancelled', 'web', 'k6', '\x00000000000000000000000000000006', NULL,
     '[{"resource":"opera/A-42","from":"2026-12-24T15:00:00+00:00","to":"2026-12-24T18:00:00+00:00","quantity":1,"version":4,"cells":[1,2],"session":"matinee"}]',
     NULL),
    ('00000000-0000-7000-8000-000000000007', '2026-11-01T10:04:00Z', '2100-01-01T00:00:00Z', 1, '2026-12-10', '2026-12-11',
     600, 1, 'held', 'app', 'k7', '\x00000000000000000000000000000007', NULL,
     '[{"resource":"alfama/double","from":"2026-12-10","to":"2026-12-11","quantity":1,"version":12,"cells":[20797,20798]}]',
     NULL);

INSERT INTO block (id, venue_id, reason, placed_at, lifted_at, revision, items) VALUES
    ('00000000-0000-7000-8000-00000000000a', 1, 'painting', '2026-11-01T10:00:13Z', NULL, 1,
     '[{"resource":"alfama/double","from":"2026-12-10","to":"2026-12-12","quantity":2,"version":8,"cells":[20797,20799]}]'),
    ('00000000-0000-7000-8000-00000000000b', 1, NULL, '2026-11-01T10:00:14Z', '2026-11-01T10:00:15Z', 2,
     '[{"resource":"alfama/ana","from":"2026-12-01T12:00:00+00:00","to":"2026-12-01T12:30:00+00:00","quantity":1,"version":3,"cells":[1995696,1995698]}]');

INSERT INTO log (txn, time, type, subject, venues, data) VALUES
    (101, '2026-11-01T10:00:01Z', 'venue.defined', 'venues/alfama', '{alfama}',
     '{"id":1,"venue":"alfama","name":"Casa Alfama","timezone":"Europe/Lisbon","currency":"EUR","market":"lisbon"}'),
    (102, '2026-11-01T10:00:02Z', 'venue.defined', 'venues/opera', '{opera}',
     '{"id":2,"venue":"opera","name":"Ópera","timezone":"Europe/Lisbon","currency":"EUR","market":"lisbon"}'),
    (103, '2026-11-01T10:00:03Z', 'session.defined', 'sessions/opera/matinee', '{opera}',
     '{"id":1,"session":"matinee","venue":"opera","from":"2026-12-24T15:00:00Z","to":"2026-12-24T18:00:00Z"}'),
    (104, '2026-11-01T10:00:04Z', 'resource.defined', 'resources/alfama/double', '{alfama}',
     '{"definitions":[{"id":1,"resource":"alfama/double","kind":"room","name":"Double","unit":"night","cell_minutes":0,"capacity":3,"overbooking":0,"buffer_before":0,"buffer_after":0,"hours":null,"min_stay":null,"max_stay":30},{"id":2,"resource":"alfama/ana","kind":"staff","name":"Ana","unit":"minute","cell_minutes":15,"capacity":1,"overbooking":0,"buffer_before":0,"buffer_after":15,"hours":{"weekly":[[[540,1080]],[[540,1080]],[[540,1080]],[[540,1080]],[[540,1080]],[],[]],"exceptions":{}},"min_stay":null,"max_stay":null}],"resources":[{"resource":"alfama/double","version":1,"cells":[],"available":[]},{"resource":"alfama/ana","version":1,"cells":[],"available":[]}]}'),
    (105, '2026-11-01T10:00:05Z', 'resource.defined', 'resources/opera/A-42', '{opera}',
     '{"definitions":[{"id":3,"resource":"opera/A-42","kind":"seat","name":"A 42","unit":"session","cell_minutes":0,"capacity":1,"overbooking":0,"buffer_before":0,"buffer_after":0,"hours":null,"min_stay":null,"max_stay":null}],"resources":[{"resource":"opera/A-42","version":1,"cells":[],"available":[]}]}'),
    (106, '2026-11-01T10:00:06Z', 'booking.held', 'bookings/00000000-0000-7000-8000-000000000001', '{alfama}',
     '{"booking":"00000000-0000-7000-8000-000000000001","status":"held","channel":"web","revision":1,"placed_at":"2026-11-01T10:00:06Z","items":[{"resource":"alfama/double","from":"2026-12-01","to":"2026-12-04","quantity":1,"version":2,"cells":[20788,20791]}],"resources":[{"resource":"alfama/double","version":2,"cells":["2026-12-01","2026-12-02","2026-12-03"],"available":[2,2,2]}],"expires_at":"2026-11-01T10:10:06Z"}'),
    (107, '2026-11-01T10:00:07Z', 'booking.confirmed', 'bookings/00000000-0000-7000-8000-000000000001', '{alfama}',
     '{"booking":"00000000-0000-7000-8000-000000000001","status":"confirmed","channel":"web","revision":2,"placed_at":"2026-11-01T10:00:06Z","items":[{"resource":"alfama/double","from":"2026-12-01","to":"2026-12-04","quantity":1,"version":2,"cells":[20788,20791]}],"resources":[{"resource":"alfama/double","version":3,"cells":["2026-12-01","2026-12-02","2026-12-03"],"available":[2,2,2]}]}'),
    (108, '2026-11-01T10:00:08Z', 'booking.held', 'bookings/00000000-0000-7000-8000-000000000002', '{alfama,opera}',
     '{"booking":"00000000-0000-7000-8000-000000000002","status":"held","channel":"app","revision":1,"placed_at":"2026-11-01T10:00:08Z","items":[{"resource":"alfama/double","from":"2026-12-02","to":"2026-12-03","quantity":2,"version":4,"cells":[20789,20790]},{"resource":"opera/A-42","from":"2026-12-24T15:00:00+00:00","to":"2026-12-24T18:00:00+00:00","quantity":1,"version":2,"cells":[1,2],"session":"matinee"}],"resources":[{"resource":"alfama/double","version":4,"cells":["2026-12-02"],"available":[0]},{"resource":"opera/A-42","version":2,"cells":["matinee"],"available":[0]}],"expires_at":"2026-11-01T10:10:08Z"}'),
    (109, '2026-11-01T10:00:09Z', 'booking.released', 'bookings/00000000-0000-7000-8000-000000000002', '{alfama,opera}',
     '{"booking":"00000000-0000-7000-8000-000000000002","status":"released","channel":"app","revision":2,"placed_at":"2026-11-01T10:00:08Z","items":[{"resource":"alfama/double","from":"2026-12-02","to":"2026-12-03","quantity":2,"version":4,"cells":[20789,20790]},{"resource":"opera/A-42","from":"2026-12-24T15:00:00+00:00","to":"2026-12-24T18:00:00+00:00","quantity":1,"version":2,"cells":[1,2],"session":"matinee"}],"resources":[{"resource":"alfama/double","version":5,"cells":["2026-12-02"],"available":[2]},{"resource":"opera/A-42","version":3,"cells":["matinee"],"available":[1]}]}'),
    (110, '2026-11-01T10:00:10Z', 'booking.confirmed', 'bookings/00000000-0000-7000-8000-000000000003', '{alfama}',
     '{"booking":"00000000-0000-7000-8000-000000000003","status":"confirmed","channel":"web","revision":1,"placed_at":"2026-11-01T10:00:10Z","items":[{"resource":"alfama/ana","from":"2026-12-01T10:00:00+00:00","to":"2026-12-01T11:00:00+00:00","quantity":1,"version":2,"cells":[1995688,1995693]}],"resources":[{"resource":"alfama/ana","version":2,"cells":["2026-12-01T10:00:00+00:00","2026-12-01T10:15:00+00:00","2026-12-01T10:30:00+00:00","2026-12-01T10:45:00+00:00","2026-12-01T11:00:00+00:00"],"available":[0,0,0,0,0]}]}'),
    (111, '2026-11-01T10:00:11Z', 'booking.amended', 'bookings/00000000-0000-7000-8000-000000000001', '{alfama}',
     '{"booking":"00000000-0000-7000-8000-000000000001","status":"confirmed","channel":"web","revision":3,"placed_at":"2026-11-01T10:00:06Z","items":[{"resource":"alfama/double","from":"2026-12-02","to":"2026-12-05","quantity":1,"version":6,"cells":[20789,20792]}],"resources":[{"resource":"alfama/double","version":6,"cells":["2026-12-01","2026-12-02","2026-12-03","2026-12-04"],"available":[3,2,2,2]}]}'),
    (112, '2026-11-01T10:00:12Z', 'inventory.changed', 'resources/alfama/double', '{alfama}',
     '{"resource":"alfama/double","changes":[{"first":20789,"end":20791,"capacity":2},{"first":20790,"end":20791,"closed":true,"min_stay":2}],"resources":[{"resource":"alfama/double","version":7,"cells":["2026-12-02","2026-12-03"],"available":[1,0]}]}'),
    (113, '2026-11-01T10:00:13Z', 'block.placed', 'blocks/00000000-0000-7000-8000-00000000000a', '{alfama}',
     '{"block":"00000000-0000-7000-8000-00000000000a","revision":1,"items":[{"resource":"alfama/double","from":"2026-12-10","to":"2026-12-12","quantity":2,"version":8,"cells":[20797,20799]}],"resources":[{"resource":"alfama/double","version":8,"cells":["2026-12-10","2026-12-11"],"available":[1,1]}],"reason":"painting"}'),
    (114, '2026-11-01T10:00:14Z', 'block.placed', 'blocks/00000000-0000-7000-8000-00000000000b', '{alfama}',
     '{"block":"00000000-0000-7000-8000-00000000000b","revision":1,"items":[{"resource":"alfama/ana","from":"2026-12-01T12:00:00+00:00","to":"2026-12-01T12:30:00+00:00","quantity":1,"version":3,"cells":[1995696,1995698]}],"resources":[{"resource":"alfama/ana","version":3,"cells":["2026-12-01T12:00:00+00:00","2026-12-01T12:15:00+00:00"],"available":[0,0]}]}'),
    (115, '2026-11-01T10:00:15Z', 'block.lifted', 'blocks/00000000-0000-7000-8000-00000000000b', '{alfama}',
     '{"block":"00000000-0000-7000-8000-00000000000b","revision":2,"items":[{"resource":"alfama/ana","from":"2026-12-01T12:00:00+00:00","to":"2026-12-01T12:30:00+00:00","quantity":1,"version":3,"cells":[1995696,1995698]}],"resources":[{"resource":"alfama/ana","version":4,"cells":["2026-12-01T12:00:00+00:00","2026-12-01T12:15:00+00:00"],"available":[1,1]}]}'),
    (116, '2026-11-01T10:00:16Z', 'booking.held', 'bookings/00000000-0000-7000-8000-000000000004', '{alfama}',
     '{"booking":"00000000-0000-7000-8000-000000000004","status":"held","channel":"web","revision":1,"placed_at":"2026-11-01T10:00:16Z","items":[{"resource":"alfama/double","from":"2026-12-05","to":"2026-12-06","quantity":1,"version":9,"cells":[20792,20793]}],"resources":[{"resource":"alfama/double","version":9,"cells":["2026-12-05"],"available":[2]}],"expires_at":"2026-11-01T10:10:16Z"}'),
    (117, '2026-11-01T10:00:17Z', 'booking.extended', 'bookings/00000000-0000-7000-8000-000000000004', '{alfama}',
     '{"booking":"00000000-0000-7000-8000-000000000004","status":"held","channel":"web","revision":2,"placed_at":"2026-11-01T10:00:16Z","items":[{"resource":"alfama/double","from":"2026-12-05","to":"2026-12-06","quantity":1,"version":9,"cells":[20792,20793]}],"resources":[{"resource":"alfama/double","version":10,"cells":[],"available":[]}],"expires_at":"2100-01-02T00:00:00Z"}'),
    (118, '2026-11-01T10:00:18Z', 'booking.held', 'bookings/00000000-0000-7000-8000-000000000005', '{alfama}',
     '{"booking":"00000000-0000-7000-8000-000000000005","status":"held","channel":"web","revision":1,"placed_at":"2026-11-01T10:00:18Z","items":[{"resource":"alfama/ana","from":"2026-12-01T14:00:00+00:00","to":"2026-12-01T14:15:00+00:00","quantity":1,"version":5,"cells":[1995704,1995706]}],"resources":[{"resource":"alfama/ana","version":5,"cells":["2026-12-01T14:00:00+00:00","2026-12-01T14:15:00+00:00"],"available":[0,0]}],"expires_at":"2026-11-01T10:01:18Z"}'),
    (119, '2026-11-01T10:01:19Z', 'booking.expired', 'bookings/00000000-0000-7000-8000-000000000005', '{alfama}',
     '{"booking":"00000000-0000-7000-8000-000000000005","status":"expired","channel":"web","revision":2,"placed_at":"2026-11-01T10:00:18Z","items":[{"resource":"alfama/ana","from":"2026-12-01T14:00:00+00:00","to":"2026-12-01T14:15:00+00:00","quantity":1,"version":5,"cells":[1995704,1995706]}],"resources":[{"resource":"alfama/ana","version":6,"cells":["2026-12-01T14:00:00+00:00","2026-12-01T14:15:00+00:00"],"available":[1,1]}]}'),
    (120, '2026-11-01T10:02:00Z', 'booking.confirmed', 'bookings/00000000-0000-7000-8000-000000000006', '{opera}',
     '{"booking":"00000000-0000-7000-8000-000000000006","status":"confirmed","channel":"web","revision":1,"placed_at":"2026-11-01T10:02:00Z","items":[{"resource":"opera/A-42","from":"2026-12-24T15:00:00+00:00","to":"2026-12-24T18:00:00+00:00","quantity":1,"version":4,"cells":[1,2],"session":"matinee"}],"resources":[{"resource":"opera/A-42","version":4,"cells":["matinee"],"available":[0]}]}'),
    (121, '2026-11-01T10:02:01Z', 'booking.cancelled', 'bookings/00000000-0000-7000-8000-000000000006', '{opera}',
     '{"booking":"00000000-0000-7000-8000-000000000006","status":"cancelled","channel":"web","revision":2,"placed_at":"2026-11-01T10:02:00Z","items":[{"resource":"opera/A-42","from":"2026-12-24T15:00:00+00:00","to":"2026-12-24T18:00:00+00:00","quantity":1,"version":4,"cells":[1,2],"session":"matinee"}],"resources":[{"resource":"opera/A-42","version":5,"cells":["matinee"],"available":[1]}],"reason":"ill"}'),
    (122, '2026-11-01T10:03:00Z', 'resource.defined', 'resources/alfama/double', '{alfama}',
     '{"definitions":[{"id":1,"resource":"alfama/double","kind":"room","name":"Double","unit":"night","cell_minutes":0,"capacity":4,"overbooking":1,"buffer_before":0,"buffer_after":0,"hours":null,"min_stay":null,"max_stay":30}],"resources":[{"resource":"alfama/double","version":11,"cells":[],"available":[]}]}'),
    (123, '2026-11-01T10:04:00Z', 'booking.held', 'bookings/00000000-0000-7000-8000-000000000007', '{alfama}',
     '{"booking":"00000000-0000-7000-8000-000000000007","status":"held","channel":"app","revision":1,"placed_at":"2026-11-01T10:04:00Z","items":[{"resource":"alfama/double","from":"2026-12-10","to":"2026-12-11","quantity":1,"version":12,"cells":[20797,20798]}],"resources":[{"resource":"alfama/double","version":12,"cells":["2026-12-10"],"available":[2]}],"expires_at":"2100-01-01T00:00:00Z"}');

-- Three partners. The first wants everything, the second what its channel may see of alfama, the third was changed: it wanted
-- alfama before, and opera since 120. The sender has written down what is owed up to 123.
INSERT INTO consumer (name, horizon) VALUES ('webhooks', 123);

INSERT INTO webhook_endpoint (id, url, venues, types, channel, secret, revision, filled_revision, since_txn, first_txn) VALUES
    ('00000000-0000-7000-8000-0000000000e1', 'https://one.example/', '{*}', '{*}', NULL, 'whsec_AAAA', 1, 1, 106, 106),
    ('00000000-0000-7000-8000-0000000000e2', 'https://two.example/', '{alfama}',
     '{onebook.availability.changed.v1,onebook.booking.held.v1}', 'web', 'whsec_AAAA', 1, 1, 110, 110),
    ('00000000-0000-7000-8000-0000000000e3', 'https://three.example/', '{opera}', '{*}', NULL, 'whsec_AAAA', 2, 2, 120, 110);

INSERT INTO webhook_delivery (endpoint_id, position, txn, type, status, attempts, created_at, queued_at, finished_at)
SELECT '00000000-0000-7000-8000-0000000000e1', position, txn, 'onebook.' || type || '.v1', 'delivered', 1, time, time,
       time + interval '1 second'
FROM log WHERE txn BETWEEN 106 AND 121;

INSERT INTO webhook_delivery (endpoint_id, position, txn, type, status, attempts, created_at, queued_at, finished_at) VALUES
    ('00000000-0000-7000-8000-0000000000e2', 13, 113, 'onebook.availability.changed.v1', 'delivered', 1,
     '2026-11-01T10:00:13Z', '2026-11-01T10:00:13Z', '2026-11-01T10:00:13.5Z'),
    ('00000000-0000-7000-8000-0000000000e2', 14, 114, 'onebook.availability.changed.v1', 'delivered', 1,
     '2026-11-01T10:00:14Z', '2026-11-01T10:00:14Z', '2026-11-01T10:00:14.5Z'),
    ('00000000-0000-7000-8000-0000000000e2', 15, 115, 'onebook.availability.changed.v1', 'delivered', 1,
     '2026-11-01T10:00:15Z', '2026-11-01T10:00:15Z', '2026-11-01T10:00:15.5Z'),
    ('00000000-0000-7000-8000-0000000000e2', 16, 116, 'onebook.booking.held.v1', 'delivered', 3,
     '2026-11-01T10:00:16Z', '2026-11-01T10:00:16Z', '2026-11-01T10:00:40Z'),
    ('00000000-0000-7000-8000-0000000000e2', 18, 118, 'onebook.booking.held.v1', 'delivered', 1,
     '2026-11-01T10:00:18Z', '2026-11-01T10:00:18Z', '2026-11-01T10:00:18.5Z'),
    ('00000000-0000-7000-8000-0000000000e3', 12, 112, 'onebook.inventory.changed.v1', 'delivered', 1,
     '2026-11-01T10:00:12Z', '2026-11-01T10:00:12Z', '2026-11-01T10:00:12.5Z'),
    ('00000000-0000-7000-8000-0000000000e3', 20, 120, 'onebook.booking.confirmed.v1', 'delivered', 1,
     '2026-11-01T10:02:00Z', '2026-11-01T10:02:00Z', '2026-11-01T10:02:01Z'),
    ('00000000-0000-7000-8000-0000000000e3', 21, 121, 'onebook.booking.cancelled.v1', 'delivered', 1,
     '2026-11-01T10:02:01Z', '2026-11-01T10:02:01Z', '2026-11-01T10:02:02Z');

-- The first has not got its latest yet, was sent a test, had 106 replayed later, and 117 given up.
INSERT INTO webhook_delivery (endpoint_id, position, txn, type, is_test) VALUES
    ('00000000-0000-7000-8000-0000000000e1', 22, 122, 'onebook.resource.defined.v1', false),
    ('00000000-0000-7000-8000-0000000000e1', 900, 123, 'onebook.webhook.test.v1', true);

UPDATE webhook_delivery SET queued_at = '2026-11-01T11:00:00Z', finished_at = '2026-11-01T11:00:01Z'
WHERE endpoint_id = '00000000-0000-7000-8000-0000000000e1' AND txn = 106;

UPDATE webhook_delivery SET status = 'dead'
WHERE endpoint_id = '00000000-0000-7000-8000-0000000000e1' AND txn = 117;

INSERT INTO dead_letter (consumer, txn, position, type, subject, reason) VALUES
    ('webhook/00000000-0000-7000-8000-0000000000e1', 117, 17, 'onebook.booking.extended.v1',
     'bookings/00000000-0000-7000-8000-000000000004', 'answered 500');

-- Money: the first booking was paid with a coupon, the sixth paid, cancelled and given back but for a fee, the second not paid.
INSERT INTO payment.checkout (id, revision, booking, purpose, confirms, channel, venues, idempotency_key, request_hash, state,
                              attempts, gateway, token, amount_minor, currency, code, on_decline, quote, confirmed_booking,
                              begun_at, finished_at) VALUES
    ('00000000-0000-7000-8000-0000000000c1', 4, '00000000-0000-7000-8000-000000000001', 'booking', true, 'web', '{alfama}', 'p1',
     'h', 'completed', 0, 'simulator', 'tok_ok', 26500, 'EUR', NULL, 'release', '{"total_minor":26500}',
     '00000000-0000-7000-8000-000000000001', '2026-11-01T10:00:06.5Z', '2026-11-01T10:00:07.5Z'),
    ('00000000-0000-7000-8000-0000000000c2', 4, '00000000-0000-7000-8000-000000000006', 'booking', true, 'web', '{opera}', 'p2',
     'h', 'completed', 0, 'simulator', 'tok_ok', 5000, 'EUR', NULL, 'release', '{"total_minor":5000}',
     '00000000-0000-7000-8000-000000000006', '2026-11-01T10:02:00Z', '2026-11-01T10:02:00.5Z'),
    ('00000000-0000-7000-8000-0000000000c3', 4, '00000000-0000-7000-8000-000000000002', 'booking', true, 'app', '{alfama,opera}',
     'p3', 'h', 'failed', 0, 'simulator', 'tok_declined', 1000, 'EUR', 'card_declined', 'release', '{"total_minor":1000}', NULL,
     '2026-11-01T10:00:08.5Z', '2026-11-01T10:00:09.5Z');

INSERT INTO payment.coupon (venue, code, terms, max_uses, used) VALUES ('alfama', 'SUMMER', '{}', 1, 1);

INSERT INTO payment.coupon_use (checkout, venue, code, given_back_at) VALUES
    ('00000000-0000-7000-8000-0000000000c1', 'alfama', 'SUMMER', NULL),
    ('00000000-0000-7000-8000-0000000000c3', 'alfama', 'SUMMER', '2026-11-01T10:00:09.5Z');

INSERT INTO payment.settlement (id, revision, checkout, booking, kind, state, channel, fee_minor, refund_minor, currency,
                                finished_at) VALUES
    ('00000000-0000-7000-8000-0000000000d1', 3, '00000000-0000-7000-8000-0000000000c2', '00000000-0000-7000-8000-000000000006',
     'cancellation', 'settled', 'web', 1000, 4000, 'EUR', '2026-11-01T10:02:02Z');

INSERT INTO payment.refund (id, settlement, checkout, amount_minor, state) VALUES
    ('00000000-0000-7000-8000-0000000000f1', '00000000-0000-7000-8000-0000000000d1', '00000000-0000-7000-8000-0000000000c2', 4000,
     'succeeded');

INSERT INTO payment.journal (effect, kind, booking, channel, currency, accounts, venues, amounts_minor) VALUES
    ('charge:00000000-0000-7000-8000-0000000000c1', 'charge', '00000000-0000-7000-8000-000000000001', 'web', 'EUR',
     '{receivable,coupon,revenue,tax}', '{alfama,alfama,alfama,alfama}', '{26500,5000,-30000,-1500}'),
    ('capture:00000000-0000-7000-8000-0000000000c1', 'capture', '00000000-0000-7000-8000-000000000001', 'web', 'EUR',
     '{gateway-clearing,receivable}', '{alfama,alfama}', '{26500,-26500}'),
    ('charge:00000000-0000-7000-8000-0000000000c2', 'charge', '00000000-0000-7000-8000-000000000006', 'web', 'EUR',
     '{receivable,revenue}', '{opera,opera}', '{5000,-5000}'),
    ('capture:00000000-0000-7000-8000-0000000000c2', 'capture', '00000000-0000-7000-8000-000000000006', 'web', 'EUR',
     '{gateway-clearing,receivable}', '{opera,opera}', '{5000,-5000}'),
    ('settle:00000000-0000-7000-8000-0000000000d1', 'cancellation', '00000000-0000-7000-8000-000000000006', 'web', 'EUR',
     '{revenue,refund}', '{opera,opera}', '{4000,-4000}'),
    ('refund:00000000-0000-7000-8000-0000000000f1', 'refund', '00000000-0000-7000-8000-000000000006', 'web', 'EUR',
     '{refund,gateway-clearing}', '{opera,opera}', '{4000,-4000}');

-- Beyond what the sender has written down: nobody is owed any of it yet.
INSERT INTO log (txn, position, time, type, subject, venues, data) OVERRIDING SYSTEM VALUE VALUES
    (124, 1001, '2026-11-01T10:05:00Z', 'offer.changed', 'offers/alfama/rate_plan/flex', '{alfama}',
     '{"venue":"alfama","offers":[{"kind":"rate_plan","code":"flex"}],"resources":[]}'),
    (125, 1002, '2026-11-01T10:05:01Z', 'checkout.completed', 'checkouts/00000000-0000-7000-8000-0000000000c1', '{alfama}',
     '{"checkout":"00000000-0000-7000-8000-0000000000c1","booking":"00000000-0000-7000-8000-000000000001","channel":"web","state":"completed","amount_minor":26500,"currency":"EUR","venues":["alfama"],"resources":[],"confirmed_booking":"00000000-0000-7000-8000-000000000001"}'),
    (126, 1003, '2026-11-01T10:05:02Z', 'checkout.completed', 'checkouts/00000000-0000-7000-8000-0000000000c2', '{opera}',
     '{"checkout":"00000000-0000-7000-8000-0000000000c2","booking":"00000000-0000-7000-8000-000000000006","channel":"web","state":"completed","amount_minor":5000,"currency":"EUR","venues":["opera"],"resources":[],"confirmed_booking":"00000000-0000-7000-8000-000000000006"}'),
    (127, 1004, '2026-11-01T10:05:03Z', 'checkout.failed', 'checkouts/00000000-0000-7000-8000-0000000000c3', '{alfama,opera}',
     '{"checkout":"00000000-0000-7000-8000-0000000000c3","booking":"00000000-0000-7000-8000-000000000002","channel":"app","state":"failed","amount_minor":1000,"currency":"EUR","venues":["alfama","opera"],"resources":[],"code":"card_declined"}'),
    (128, 1005, '2026-11-01T10:05:04Z', 'checkout.settled', 'checkouts/00000000-0000-7000-8000-0000000000c2', '{opera}',
     '{"checkout":"00000000-0000-7000-8000-0000000000c2","booking":"00000000-0000-7000-8000-000000000006","channel":"web","state":"settled","amount_minor":4000,"currency":"EUR","venues":["opera"],"resources":[],"settlement":"00000000-0000-7000-8000-0000000000d1","kind":"cancellation","fee_minor":1000}');
