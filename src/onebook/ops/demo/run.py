"""The live market of `onebook demo`: opens it, lets the crowd in, shows it, and reports what the crowd saw.

Called by the command line against a server that runs already. It owns its connections and nothing on the server's
side. `seconds` bounds the selling; after it the last short holds run out and some bookings are read back.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import date
from time import perf_counter
from uuid import uuid4

from rich.console import Console

from onebook.ops.demo.channel import Channel
from onebook.ops.demo.crowd import work
from onebook.ops.demo.intents import CHANNELS, intents
from onebook.ops.demo.market import RUSH_UNITS, Market, lisboa, open_market
from onebook.ops.demo.report import DemoReport, report_of
from onebook.ops.demo.screen import show
from onebook.ops.demo.tally import Board, Rush, Tally
from onebook.ops.demo.verdict import next_booking_curl, render_verdict
from onebook.ops.demo.witness import Witness
from onebook.ops.http_client import Client

__all__ = ["CHANNELS", "DemoReport", "next_booking_curl", "render_verdict", "run_demo"]

RUSH_ATTEMPTS = 360
RUSH_AT = 2 / 3
WORKERS = {"website": 6, "app": 6, "desk": 2, "partner-atlas": 4, "partner-harbor": 4, "partner-meridian": 2}
"""The attempts that each channel makes at a time: some sell more than others."""


async def run_demo(
    base_url: str,
    tokens: Mapping[str, str],
    admin_token: str,
    *,
    opening: date,
    seconds: float = 20,
    seed: int = 1,
    screen: Console | None = None,
) -> DemoReport:
    """Open the market from `opening` on and let every channel compete for it for `seconds`.

    `tokens` has one for each of CHANNELS. `screen` is where people watch; None for nowhere. Raises
    MarketNotOpened, and ConnectionFailed while it is being opened.
    """
    market = lisboa(opening)
    async with AsyncExitStack() as clients:

        async def client(size: int) -> Client:
            return await clients.enter_async_context(Client(base_url, connections=size))

        await open_market(market, await client(8), admin_token)
        board = _board(market, seed, seconds)
        run = uuid4().hex[:8]
        # Twice the workers, because a duplicate is two requests at once: nobody waits for a connection.
        channels = [Channel(name, tokens[name], await client(2 * WORKERS[name]), board, run) for name in CHANNELS]
        await _let_in(channels, market, screen)
        return report_of(board, opening)


def _board(market: Market, seed: int, seconds: float) -> Board:
    started = perf_counter()
    rush_line = market.rush_line()
    night = f"{market.rush_night.day} {market.rush_night:%b}"
    return Board(
        market=market.name,
        seed=seed,
        seconds=seconds,
        started=started,
        resources=len(market.capacities()),
        tallies={name: Tally() for name in CHANNELS},
        rush=Rush(
            what=f"{RUSH_UNITS} rooms on {night}",
            units=RUSH_UNITS,
            starts_at=started + seconds * RUSH_AT,
            attempts_left=RUSH_ATTEMPTS,
        ),
        witness=Witness(market.capacities(), {rush_line.cells[0]: RUSH_UNITS}),
    )


async def _let_in(channels: list[Channel], market: Market, screen: Console | None) -> None:
    """Run the crowd to its end, with the screen beside it, and read back what it bought."""
    board = channels[0].board
    over = asyncio.Event()
    ends_at = board.started + board.seconds
    rush_line = market.rush_line()
    async with asyncio.TaskGroup() as beside:
        beside.create_task(show(board, screen, over))
        async with asyncio.TaskGroup() as crowd:
            for channel in channels:
                wishes = intents(board.seed, channel.name, market)
                for _ in range(WORKERS[channel.name]):
                    crowd.create_task(work(channel, wishes, rush_line, ends_at))
        await asyncio.gather(*(channel.read_back() for channel in channels))
        board.closed = True
        over.set()
