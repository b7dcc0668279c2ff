"""What goes wrong in the demo: the relay is killed, the payment gateway fails, a partner's endpoint dies and comes back.

Called by `run_demo` beside the crowd, which cancels what has not ended when the proof has been made.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter

from onebook.ops.demo.board import Board
from onebook.ops.demo.follower import until
from onebook.ops.demo.gateway import GatewayPages
from onebook.ops.demo.partner import Partner

RELAY_DIES_AT = 0.3
GATEWAY_FAILS_AT = 0.42
GATEWAY_FAILS_FOR = 0.1
ENDPOINT_DIES_AT = 0.6
ENDPOINT_BACK_AT = 0.75
"""As shares of the time in which the crowd buys. The rush falls into the time when the endpoint is dead."""
GATEWAY_FAILS_SECONDS = 2.0
"""At the most."""
UNTOLD_SECONDS = 0.25


async def kill_relay(board: Board, kill: Callable[[], None]) -> None:
    """Kill it at its time, and measure until every mirror has what was sold just after."""
    await _until(board, RELAY_DIES_AT)
    followers = board.followers
    for follower in followers:
        follower.disturbances += 1
    board.relay.at = perf_counter()
    kill()
    await asyncio.sleep(UNTOLD_SECONDS)
    sold = dict(board.front.versions)
    # One whose own endpoint is dead as well is not waited for.
    await until(lambda: all(one.disturbances > 1 or one.mirror.has_reached(sold) for one in followers))
    board.relay.recovered_seconds = perf_counter() - board.relay.at
    await until(lambda: all(one.disturbances > 1 or one.is_in_step(perf_counter()) for one in followers))
    for follower in followers:
        follower.disturbances -= 1


async def fail_gateway(board: Board, gateway: GatewayPages) -> None:
    """Have every call to the gateway fail, half of them after their effect; measure until what was begun by then has ended."""
    await _until(board, GATEWAY_FAILS_AT)
    outage = board.till.outage
    outage.at = perf_counter()
    await gateway.fail()
    try:
        await asyncio.sleep(min(GATEWAY_FAILS_SECONDS, board.seconds * GATEWAY_FAILS_FOR))
    finally:
        await gateway.heal()
    healed, healed_at = perf_counter(), datetime.now(UTC)
    outage.seconds = healed - outage.at
    await until(lambda: board.till.books.has_ended_since(healed_at))
    outage.ended_seconds = perf_counter() - healed


async def unplug(board: Board, partner: Partner) -> None:
    """Take a partner's endpoint away, and bring it back."""
    await _until(board, ENDPOINT_DIES_AT)
    async with asyncio.TaskGroup() as beside:
        watching = beside.create_task(partner.watch())
        await partner.leave()
        await _until(board, ENDPOINT_BACK_AT)
        await partner.come_back()
        watching.cancel()


async def _until(board: Board, share: float) -> None:
    await asyncio.sleep(max(0.0, board.started + board.seconds * share - perf_counter()))
