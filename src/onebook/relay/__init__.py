"""WAL → broker: every committed entry of the log, in commit order."""
