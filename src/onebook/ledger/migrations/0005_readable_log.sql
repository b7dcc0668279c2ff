-- Everything derived has to read every entry: one that names no venue, or no moment, would stop the relay and all consumers at
-- the same place, for ever. Nothing of ours writes one. Older entries are not looked through: nobody could change them.
ALTER TABLE log ADD CONSTRAINT log_entry_says_when_and_where CHECK (
    coalesce(array_ndims(venues), 0) = 1 AND array_position(venues, NULL) IS NULL AND isfinite(time)
) NOT VALID;
