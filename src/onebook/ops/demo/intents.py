"""What each channel of the demo's crowd sets out to do. Pure: one seed and one channel give one sequence.

Only the sequence of intents repeats exactly. How the requests of six channels interleave is up to schedulers
and a network, so who gets the last room, and how far the crowd gets, differ from run to run.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from enum import StrEnum

import msgspec

from onebook.ops.demo.market import (
    HORIZON_DAYS,
    SEAT_ROWS,
    SEATS_PER_ROW,
    ZONE,
    Line,
    Market,
    minutes,
    nights,
    session,
)

PARTNER = "partner-"
"""Who collects the money itself, and confirms without a checkout."""
CHANNELS = ("website", "app", "desk", "partner-atlas", "partner-harbor", "partner-meridian")


class Plot(StrEnum):
    """How an attempt goes on, if it is not refused."""

    BOOK = "book at once"
    HOLD_CONFIRM = "hold, confirm"
    BASKET = "basket across venues: hold, confirm"
    HOLD_RELEASE = "hold, release"
    HOLD_EXPIRE = "hold, come back too late"
    CANCEL = "book, cancel"
    AMEND = "book, amend"
    EXTEND = "hold, extend, confirm"
    DUPLICATE = "book, sent twice at once"
    LOST_ANSWER = "book, answer lost, sent again"
    WRONG_PAYLOAD = "book, key used for something else"


_PLOT_WEIGHTS = {
    Plot.BOOK: 27,
    Plot.HOLD_CONFIRM: 26,
    Plot.BASKET: 8,
    Plot.HOLD_RELEASE: 8,
    Plot.HOLD_EXPIRE: 6,
    Plot.CANCEL: 6,
    Plot.AMEND: 5,
    Plot.EXTEND: 4,
    Plot.DUPLICATE: 5,
    Plot.LOST_ANSWER: 3,
    Plot.WRONG_PAYLOAD: 2,
}
_TOKEN_WEIGHTS = {
    "tok_ok": 80,
    "tok_declined": 5,
    "tok_insufficient_funds": 4,
    "tok_challenge": 7,
    "tok_late_capture": 4,
}
_PASSES = 0.75
_WANTS_COUPON = 0.8
_KIND_WEIGHTS = {"room": 34, "table": 20, "seat": 20, "activity": 10, "staff": 8, "vehicle": 8}


class Means(msgspec.Struct, frozen=True):
    """What a buyer pays with, as the simulated gateway knows it, and whether a challenge would be passed."""

    token: str = "tok_ok"  # noqa: S105 (the name of a simulated card)
    passes: bool = True

    @property
    def pays(self) -> bool:
        """Whether it comes to a payment, unless something else goes wrong."""
        return self.token in {"tok_ok", "tok_late_capture"}

    @property
    def is_prompt(self) -> bool:
        """Whether the gateway answers at once, without anybody else."""
        return self.token not in {"tok_challenge", "tok_late_capture"}


class Intent(msgspec.Struct, frozen=True):
    """One attempt of a channel: what is wanted, what an amendment would change it to, and how it is paid for."""

    number: str
    plot: Plot
    lines: tuple[Line, ...]
    instead: tuple[Line, ...]
    means: Means = Means()
    wants_coupon: bool = False


def intents(seed: int, channel: str, market: Market) -> Iterator[Intent]:
    """The endless sequence of a channel's attempts; everything random in them is drawn here."""
    draw = random.Random(f"{seed}/{channel}")  # noqa: S311 (a crowd has to be repeatable, not unguessable)
    plots, plot_weights = list(_PLOT_WEIGHTS), list(_PLOT_WEIGHTS.values())
    kinds, kind_weights = list(_KIND_WEIGHTS), list(_KIND_WEIGHTS.values())
    tokens, token_weights = list(_TOKEN_WEIGHTS), list(_TOKEN_WEIGHTS.values())
    for number in itertools.count():
        plot = draw.choices(plots, plot_weights)[0]
        wish = _WISHES[draw.choices(kinds, kind_weights)[0]]
        want = _evening_out if plot is Plot.BASKET else wish
        lines = want(draw, market, _day(draw))
        instead = wish(draw, market, _day(draw)) if plot is Plot.AMEND else ()
        means = Means(draw.choices(tokens, token_weights)[0], draw.random() < _PASSES)
        yield Intent(str(number), plot, lines, instead, means, draw.random() < _WANTS_COUPON)


def _day(draw: random.Random) -> int:
    """Days from the opening: most want the near ones, which sell out while later ones are free."""
    return int(HORIZON_DAYS * draw.random() ** 2)


def _room(draw: random.Random, market: Market, day: int) -> tuple[Line, ...]:
    double, suite = market.of_kind("room")
    offer = draw.choices((double, suite), (4, 1))[0]
    quantity = 2 if draw.random() < 0.1 else 1
    return (nights(offer, _date(market, day), draw.randint(1, 4), quantity),)


def _table(draw: random.Random, market: Market, day: int) -> tuple[Line, ...]:
    offer = draw.choice(market.of_kind("table"))
    starts = _at(market, day, draw.randint(12, 21), 30 * draw.randint(0, 1))
    return (minutes(offer, starts, draw.choice((60, 90))),)


def _vehicle(draw: random.Random, market: Market, day: int) -> tuple[Line, ...]:
    car, scooter = market.of_kind("vehicle")
    if draw.random() < 0.4:
        return (nights(car, _date(market, day), draw.randint(1, 3)),)
    starts = _at(market, day, draw.randint(8, 19))
    return (minutes(scooter, starts, 60 * draw.randint(1, 4)),)


def _staff(draw: random.Random, market: Market, day: int) -> tuple[Line, ...]:
    starts = _at(market, day, draw.randint(9, 17), 15 * draw.randint(0, 3))
    return (minutes(draw.choice(market.of_kind("staff")), starts, draw.choice((30, 45, 60))),)


def _activity(draw: random.Random, market: Market, day: int) -> tuple[Line, ...]:
    (sail,) = market.of_kind("activity")
    return (session(sail, _nearest(market.sailings, day), draw.randint(1, 4)),)


def _seats(draw: random.Random, market: Market, day: int) -> tuple[Line, ...]:
    """One to four seats side by side."""
    count = draw.randint(1, 4)
    first = draw.randrange(len(SEAT_ROWS)) * SEATS_PER_ROW + draw.randint(0, SEATS_PER_ROW - count)
    evening = _nearest(market.performances, day)
    return tuple(session(seat, evening) for seat in market.seats[first : first + count])


def _evening_out(draw: random.Random, market: Market, day: int) -> tuple[Line, ...]:
    """A room, a table and the opera, in three venues, all or nothing."""
    return (*_room(draw, market, day), *_table(draw, market, day), *_seats(draw, market, day))


_WISHES: dict[str, Callable[[random.Random, Market, int], tuple[Line, ...]]] = {
    "room": _room,
    "table": _table,
    "seat": _seats,
    "activity": _activity,
    "staff": _staff,
    "vehicle": _vehicle,
}


def _date(market: Market, day: int) -> date:
    return market.opening + timedelta(days=day)


def _at(market: Market, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime.combine(_date(market, day), time(hour, minute), ZONE)


def _nearest(sessions: tuple[str, ...], day: int) -> str:
    return sessions[day * len(sessions) // HORIZON_DAYS]
