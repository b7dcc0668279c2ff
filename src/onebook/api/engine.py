"""What the HTTP room works with; built by the wiring inside the running loop of a worker."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from onebook.api.ready import ReadyAnswers
from onebook.api.tokens import Keys
from onebook.broker.dead_letters import DeadLetters
from onebook.channels.delta import Deltas
from onebook.channels.subscriptions import Subscriptions
from onebook.checkout.books.money import MoneyBook
from onebook.checkout.checkouts import Checkouts
from onebook.checkout.prices.offers import Offers
from onebook.checkout.prices.quotes import Quotes
from onebook.checkout.settling.settlements import Settlements
from onebook.customers.customers import Customers
from onebook.ledger.definitions import Definitions
from onebook.ledger.ledger import Ledger
from onebook.push.hub import Hub
from onebook.views.reads import Reads

HealthCheck = Callable[[], Awaitable[str | None]]
"""Answers None while all is well with a part, else what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The parts of a worker that requests are answered from."""

    ledger: Ledger
    definitions: Definitions
    reads: Reads
    keys: Keys
    dead_letters: DeadLetters
    webhooks: Subscriptions
    deltas: Deltas
    offers: Offers
    quotes: Quotes
    checkouts: Checkouts
    settlements: Settlements
    money: MoneyBook
    customers: Customers
    health: Mapping[str, HealthCheck] = field(default_factory=dict)
    answer_seconds: float = 4.5
    """After which an answer is given up: a database that is away must be told within 5 s."""
    hub: Hub | None = None
    """Where streams begin; None in a process that has none."""
    ready: ReadyAnswers | None = None
    """Availability answers, kept; None where the ordinary route makes all of them."""
