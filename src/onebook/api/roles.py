"""Who may do what: the scopes of the public surface, and the roles that `onebook token` gives them by."""

from enum import StrEnum


class Scope(StrEnum):
    """One permission, as it stands in a token's `scope` claim."""

    INVENTORY_READ = "inventory:read"
    INVENTORY_WRITE = "inventory:write"
    BOOKINGS_READ = "bookings:read"
    BOOKINGS_WRITE = "bookings:write"
    PAYMENTS_READ = "payments:read"
    PAYMENTS_WRITE = "payments:write"
    CUSTOMERS_READ = "customers:read"
    CUSTOMERS_WRITE = "customers:write"
    CHANNELS_WRITE = "channels:write"
    OPS_READ = "ops:read"
    OPS_ADMIN = "ops:admin"


class Role(StrEnum):
    """A usual set of permissions."""

    ADMIN = "admin"
    OPERATOR = "operator"
    CHANNEL = "channel"
    READER = "reader"
    PAYMENTS = "payments"
    STOREFRONT = "storefront"


# Who sells may have it paid for as well, each its own bookings only.
_SELLING = frozenset({Scope.INVENTORY_READ, Scope.BOOKINGS_READ, Scope.BOOKINGS_WRITE, Scope.PAYMENTS_WRITE})

SCOPES_OF_ROLE: dict[Role, frozenset[Scope]] = {
    Role.ADMIN: frozenset(Scope),
    Role.OPERATOR: _SELLING
    | {
        Scope.INVENTORY_WRITE,
        Scope.PAYMENTS_READ,
        Scope.CUSTOMERS_READ,
        Scope.CUSTOMERS_WRITE,
        Scope.CHANNELS_WRITE,
        Scope.OPS_READ,
    },
    Role.CHANNEL: _SELLING,
    Role.READER: frozenset({Scope.INVENTORY_READ, Scope.BOOKINGS_READ, Scope.OPS_READ}),
    Role.PAYMENTS: frozenset({Scope.BOOKINGS_READ, Scope.PAYMENTS_READ, Scope.PAYMENTS_WRITE}),
    Role.STOREFRONT: _SELLING | {Scope.CUSTOMERS_WRITE},
}

CHANNEL_OF_ROLE = {
    Role.ADMIN: "desk",
    Role.OPERATOR: "desk",
    Role.READER: "desk",
    Role.PAYMENTS: "desk",
    Role.STOREFRONT: "website",
}
"""Who sells under a token that names no channel; a token for the role `channel` must name one."""

SEES_ALL_CHANNELS = frozenset({Role.ADMIN, Role.OPERATOR, Role.READER, Role.PAYMENTS})
"""The roles that find any channel's bookings. A token with none of them finds only its own channel's."""
