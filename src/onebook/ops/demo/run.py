"""The live market of `onebook demo`: opens it, gives each channel a mirror, lets the crowd in, breaks things, and proves.

Called by the command line against a server that runs already. It owns its connections and the partners' endpoints on this
machine, and nothing on the server's side. `seconds` bounds the selling; after it the last short holds run out, some bookings
are read back, the last events arrive, and every mirror is compared with the ledger.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import date
from time import perf_counter
from uuid import uuid4

from rich.console import Console

from onebook.ops.demo.board import Board, Phase
from onebook.ops.demo.books import MoneyProof, checkouts_ended, prove_money, watch_books
from onebook.ops.demo.buying import Buyers
from onebook.ops.demo.channel import Channel
from onebook.ops.demo.crowd import Seller
from onebook.ops.demo.follower import Follower
from onebook.ops.demo.gateway import GatewayPages
from onebook.ops.demo.intents import CHANNELS, PARTNER, intents
from onebook.ops.demo.listener import Listener
from onebook.ops.demo.market import RUSH_UNITS, Market, MarketNotOpened, lisboa, open_market
from onebook.ops.demo.mirror import Front
from onebook.ops.demo.mishaps import fail_gateway, kill_relay, unplug
from onebook.ops.demo.partner import Partner
from onebook.ops.demo.prices import COUPON, coupon_uses
from onebook.ops.demo.proof import Proof, prove
from onebook.ops.demo.report import DemoReport, report_of
from onebook.ops.demo.screen import show
from onebook.ops.demo.source import Source
from onebook.ops.demo.tally import Rush, Tally
from onebook.ops.demo.till import Till
from onebook.ops.demo.verdict import next_booking_curl, render_verdict
from onebook.ops.demo.witness import Witness
from onebook.ops.http_client import Client

__all__ = ["CHANNELS", "DemoReport", "next_booking_curl", "render_verdict", "run_demo"]

RUSH_ATTEMPTS = 360
RUSH_AT = 2 / 3
WORKERS = {"website": 12, "app": 10, "desk": 4, "partner-atlas": 4, "partner-harbor": 4, "partner-meridian": 2}
"""The attempts that each channel makes at a time: some sell more than others, and who charges waits for payers."""
UNPLUGGED = "partner-harbor"
"""The partner whose endpoint dies and comes back."""
OPENING_SECONDS = 60.0
"""For all mirrors to have read the market."""


async def run_demo(
    base_url: str,
    database_url: str,
    tokens: Mapping[str, str],
    admin_token: str,
    gateway: GatewayPages,
    *,
    opening: date,
    seconds: float = 20,
    seed: int = 1,
    screen: Console | None = None,
    kill: Callable[[], None] | None = None,
    step: Callable[[str, float], None] = lambda _name, _seconds: None,
) -> DemoReport:
    """Open the market from `opening` on and let every channel compete for it for `seconds`.

    `tokens` has one for each of CHANNELS. `gateway` is the simulated one, through which the server charges. `screen` is where
    people watch; None for nowhere. `kill` ends the relay's process; None to leave it alone. `step` is told what was done before
    the show, and how many seconds it took. The server must allow webhooks to this machine. Raises MarketNotOpened, and
    ConnectionFailed before the show.
    """
    market = lisboa(opening)
    async with AsyncExitStack() as stack:

        async def client(size: int) -> Client:
            return await stack.enter_async_context(Client(base_url, connections=size))

        operator = await client(8)
        began = perf_counter()
        await open_market(market, operator, admin_token, coupon_uses(seconds))
        step("market", perf_counter() - began)
        began = perf_counter()
        front = Front()
        followers: list[Follower] = []
        for name in CHANNELS:
            source = Source(await client(1), tokens[name], market)
            if name.startswith(PARTNER):
                followers.append(Partner(name, source, front, operator, admin_token))
            else:
                followers.append(Listener(name, source, front, base_url, tokens[name]))
            await stack.enter_async_context(followers[-1].following())
        await _opened(followers)
        step("mirrors", perf_counter() - began)
        board = _board(market, seed, seconds, front, followers)
        run = uuid4().hex[:8]
        # Twice the workers, because a duplicate is two requests at once: nobody waits for a connection.
        channels = [Channel(name, tokens[name], await client(2 * WORKERS[name]), board, run) for name in CHANNELS]
        sellers = [
            Seller(channel, None if channel.name.startswith(PARTNER) else Buyers(channel, gateway))
            for channel in channels
        ]
        proof, money = await _let_in(sellers, market, screen, database_url, gateway, kill)
        return report_of(board, opening, proof, money)


async def _opened(followers: list[Follower]) -> None:
    """Returns when every mirror has read the market. They have all subscribed before: what is sold from here on is heard."""
    try:
        async with asyncio.timeout(OPENING_SECONDS):
            await asyncio.gather(*(follower.is_whole.wait() for follower in followers))
    except TimeoutError:
        raise MarketNotOpened(f"the mirrors could not be read within {OPENING_SECONDS:.0f} s") from None


def _board(market: Market, seed: int, seconds: float, front: Front, followers: list[Follower]) -> Board:
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
        front=front,
        till=Till(COUPON, coupon_uses(seconds)),
        followers=followers,
    )


async def _let_in(
    sellers: list[Seller],
    market: Market,
    screen: Console | None,
    database_url: str,
    gateway: GatewayPages,
    kill: Callable[[], None] | None,
) -> tuple[Proof, MoneyProof]:
    """Run the crowd to its end, with the screen and the mishaps beside it, read back what it bought, and prove."""
    channels = [seller.channel for seller in sellers]
    board = channels[0].board
    over = asyncio.Event()
    async with asyncio.TaskGroup() as beside:
        beside.create_task(show(board, screen, over))
        passing = [
            beside.create_task(watch_books(board, database_url)),
            beside.create_task(fail_gateway(board, gateway)),
            *(
                beside.create_task(unplug(board, follower))
                for follower in board.followers
                if isinstance(follower, Partner) and follower.name == UNPLUGGED
            ),
        ]
        if kill is not None:
            passing.append(beside.create_task(kill_relay(board, kill)))
        await _sell(sellers, market)
        board.phase = Phase.CHARGING
        await checkouts_ended(board)
        await asyncio.gather(*(channel.read_back() for channel in channels))
        board.phase = Phase.DRAINING
        source = board.followers[0].source
        proof = await prove(database_url, board.followers, source.first, source.end)
        charging = [channel.name for channel in channels if not channel.name.startswith(PARTNER)]
        money = await prove_money(database_url, gateway, board.till, charging)
        for task in passing:
            task.cancel()
        board.till.books = money.books
        board.phase = Phase.CLOSED
        over.set()
    return proof, money


async def _sell(sellers: list[Seller], market: Market) -> None:
    """The crowd, from the first attempt to the last hold that runs out."""
    board = sellers[0].channel.board
    ends_at = board.started + board.seconds
    rush_line = market.rush_line()
    async with asyncio.TaskGroup() as crowd:
        for seller in sellers:
            wishes = intents(board.seed, seller.channel.name, market)
            for _ in range(WORKERS[seller.channel.name]):
                crowd.create_task(seller.work(wishes, rush_line, ends_at))
