-- Every statement of the watch, by name.

-- name: letters_waiting
-- Dead letters by consumer, those of all endpoints (webhook/ID) as one; $1 at the most are counted, so that a heap of them does
-- not cost more and more.
SELECT split_part(consumer, '/', 1) AS reader, count(*) AS waiting
FROM (SELECT consumer FROM dead_letter LIMIT $1) AS letter
GROUP BY reader;
