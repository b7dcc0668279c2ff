"""For the operator: the auditor, the demo, the replay, the benchmark; they meet the ledger from outside, over HTTP or SQL."""
