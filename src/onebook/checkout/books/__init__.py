"""The ledger of money: double entry, folios, reports, reconciliation."""
