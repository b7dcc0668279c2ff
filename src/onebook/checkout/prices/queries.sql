-- Every statement about what things cost, by name.

-- name: lock_offers
-- One change of offers at a time, so that their versions ascend in the order of the commits. Readers are not held up.
LOCK TABLE offer_version IN SHARE ROW EXCLUSIVE MODE;

-- name: put_rate
-- A rate plan, whole. No row when it is stored like that already.
INSERT INTO rate_plan (venue_id, code, document) VALUES ($1, $2, $3::text::json)
ON CONFLICT (venue_id, code) DO UPDATE SET document = EXCLUDED.document
WHERE rate_plan.document::text <> EXCLUDED.document::text
RETURNING xmax = 0 AS created;

-- name: put_tax
-- A tax, whole. No row when it is stored like that already.
INSERT INTO tax (venue_id, code, document) VALUES ($1, $2, $3::text::json)
ON CONFLICT (venue_id, code) DO UPDATE SET document = EXCLUDED.document
WHERE tax.document::text <> EXCLUDED.document::text
RETURNING xmax = 0 AS created;

-- name: put_policy
-- A policy, whole. No row when it is stored like that already.
INSERT INTO policy (venue_id, code, document) VALUES ($1, $2, $3::text::json)
ON CONFLICT (venue_id, code) DO UPDATE SET document = EXCLUDED.document
WHERE policy.document::text <> EXCLUDED.document::text
RETURNING xmax = 0 AS created;

-- name: delete_rate
-- A rate plan is not offered any more. No row when it was not.
DELETE FROM rate_plan WHERE venue_id = $1 AND code = $2 RETURNING code;

-- name: delete_tax
-- A tax is not raised any more. No row when it was not.
DELETE FROM tax WHERE venue_id = $1 AND code = $2 RETURNING code;

-- name: delete_policy
-- A policy is forgotten. No row when it was not known.
DELETE FROM policy WHERE venue_id = $1 AND code = $2 RETURNING code;

-- name: raise_version
-- The venue's offers are the latest changed.
INSERT INTO offer_version (venue_id, version) SELECT $1, coalesce(max(version), 0) + 1 FROM offer_version
ON CONFLICT (venue_id) DO UPDATE SET version = EXCLUDED.version;

-- name: changed_since
-- Venues whose offers have changed after a version.
SELECT venue.code AS venue, version FROM offer_version JOIN venue ON venue.id = venue_id WHERE version > $1;

-- name: offers
-- Offers of venues; of one kind and one code, where these are given.
SELECT venue.code AS venue, kind, offer.code, document
FROM offer JOIN venue ON venue.id = venue_id
WHERE venue.code = ANY ($1::text[]) AND kind = coalesce($2, kind) AND offer.code = coalesce($3, offer.code)
ORDER BY venue.code, kind, offer.code;

-- name: number_of_offers
-- How many of a kind a venue has.
SELECT count(*) FROM offer WHERE venue_id = $1 AND kind = $2;

-- name: plan_with_policy
-- A rate plan that names a policy.
SELECT code FROM rate_plan WHERE venue_id = $1 AND document ->> 'policy' = $2 ORDER BY code LIMIT 1;

-- name: put_coupon
-- A coupon, whole; how often it was used stays. No row when that is more often than it may be from now on.
INSERT INTO payment.coupon (venue, code, terms, max_uses) VALUES ($1, $2, $3::text::json, $4)
ON CONFLICT (venue, code) DO UPDATE SET terms = EXCLUDED.terms, max_uses = EXCLUDED.max_uses
WHERE EXCLUDED.max_uses IS NULL OR coupon.used <= EXCLUDED.max_uses
RETURNING xmax = 0 AS created, used;

-- name: delete_coupon
-- A coupon that nobody has ever taken; the foreign key of payment.coupon_use keeps the others.
DELETE FROM payment.coupon WHERE venue = $1 AND code = $2 RETURNING code;

-- name: coupons
-- Coupons of a venue after a code, page by page.
SELECT venue, code, terms, max_uses, used FROM payment.coupon
WHERE venue = $1 AND code > $2 ORDER BY code LIMIT $3;

-- name: find_coupons
-- Coupons by venue and code.
SELECT venue, code, terms, max_uses, used
FROM payment.coupon JOIN unnest($1::text[], $2::text[]) AS asked (venue, code) USING (venue, code);
