"""From a hold to a paid booking: quotes, the saga with the gateway, and the ledger of money."""
