"""The simulated gateway of a server under test, as a benchmark sees it: its faults, and its own list of payments."""

from collections.abc import Mapping

import msgspec

from onebook.embedded.folder import DataFolder
from onebook.key_file import secret_key
from onebook.ops.bench.servers import BenchUnavailable
from onebook.ops.http_client import Answer, Client, ConnectionFailed

KEY_FILE = "simulator.key"
PAGE = 500
MAX_PAGES = 2_000  # as many payments as a simulator keeps


class _Status(msgspec.Struct, frozen=True):
    """Of what a server says of itself."""

    gateway: str


class Payment(msgspec.Struct, frozen=True):
    """Of what the simulator tells of one."""

    key: str
    captured_minor: int
    refunded_minor: int


class _Page(msgspec.Struct, frozen=True):
    payments: list[Payment]
    next: int | None


class Gateway:
    """Asked through its own API, with the password that the server has made for it."""

    def __init__(self, folder: DataFolder) -> None:
        self._url = msgspec.json.decode(folder.status_file.read_bytes(), type=_Status).gateway
        self._secret = secret_key(folder.keys / KEY_FILE).hex()

    async def put_faults(self, faults: Mapping[str, float]) -> None:
        """What goes wrong from now on; of {} nothing does."""
        await self._asked("PUT", "/faults", faults)

    async def captured_minor(self) -> dict[str, int]:
        """What was taken and not given back, by the checkout that it was taken for."""
        captured: dict[str, int] = {}
        after: int | None = 0
        for _ in range(MAX_PAGES):
            answer = await self._asked("GET", f"/payments?after={after}&limit={PAGE}")
            page = msgspec.json.decode(answer.body, type=_Page)
            for payment in page.payments:
                if payment.captured_minor > payment.refunded_minor:
                    captured[payment.key] = payment.captured_minor - payment.refunded_minor
            after = page.next
            if after is None:
                return captured
        raise BenchUnavailable(f"The simulated gateway lists more than {MAX_PAGES * PAGE:,} payments.")

    async def _asked(self, method: str, path: str, body: object = None) -> Answer:
        try:
            async with Client(self._url) as client:
                answer = await client.request(method, path, json=body, token=self._secret)
        except ConnectionFailed as error:
            raise BenchUnavailable(f"The simulated gateway does not answer: {error}") from error
        if answer.status != 200:
            raise BenchUnavailable(f"{method} {path} was answered {answer.status} by the simulated gateway.")
        return answer
