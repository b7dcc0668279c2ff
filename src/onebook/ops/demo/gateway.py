"""The simulated gateway as the demo reaches it: its faults, the page where payers are asked, and its own list of payments."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from onebook.checkout.gateways.protocol import Payment
from onebook.checkout.gateways.simulator import SimulatorGateway

TIMEOUT_SECONDS = 10.0
FAILING: Mapping[str, Any] = {
    "calls": ["authorize", "find", "capture", "void", "refund"],
    "timeout_before": 0.5,
    "timeout_after": 0.5,
    "timeout_seconds": 0.1,
}
"""No call is answered, and half of them have their effect all the same."""


class GatewayPages:
    """What is asked of the simulator beside the server's own calls."""

    def __init__(self, session: aiohttp.ClientSession, url: str, secret: str) -> None:
        self._session = session
        self._url = url
        self._secret = secret

    async def fail(self) -> None:
        """From now on no call is answered."""
        await self._put_faults(FAILING)

    async def heal(self) -> None:
        """Nothing is wrong any more."""
        await self._put_faults({})

    async def answer(self, challenge_url: str, *, passes: bool) -> None:
        """What a payer does who was sent there. Raises aiohttp.ClientError."""
        outcome = {"outcome": "pass" if passes else "fail"}
        async with self._session.post(challenge_url, data=outcome) as response:
            response.raise_for_status()

    async def payments(self) -> Sequence[Payment]:
        """The gateway's own list, from its first payment on."""
        listed = SimulatorGateway(self._url, self._secret, timeout_seconds=TIMEOUT_SECONDS, connections=1)
        try:
            return [payment async for payment in listed.payments(0)]
        finally:
            await listed.close()

    async def _put_faults(self, faults: Mapping[str, Any]) -> None:
        headers = {"authorization": f"Bearer {self._secret}"}
        async with self._session.put(f"{self._url}/faults", json=faults, headers=headers) as response:
            response.raise_for_status()


@asynccontextmanager
async def open_pages(url: str, secret: str) -> AsyncIterator[GatewayPages]:
    """For as long as the block runs. `url` and `secret` are the simulator's."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield GatewayPages(session, url, secret)
