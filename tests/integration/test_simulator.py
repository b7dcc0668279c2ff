"""The simulated gateway by itself: its process, journal, faults, challenges and notifications."""

import asyncio
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from onebook.config import load
from onebook.job import READY
from onebook.simulator import rules
from onebook.simulator.documents import NewPayment, NewRefund, Payment, Record, Refused, State
from onebook.simulator.faults import Call, Chance, Fate, Faults, Trouble
from onebook.simulator.job import SimulatorJob, notification_secret
from onebook.simulator.journal import NAME, Journal, JournalTaken
from onebook.simulator.ledger import BrokenInvariant
from onebook.simulator.server import open_simulator

SECRET = "sesame"  # noqa: S105 (of a simulator that lives for one test)
DEADLINE_SECONDS = 10
CARD = "4242 4242 4242 4242"  # the test number that everybody knows

Ask = Callable[..., Awaitable[tuple[int, Any]]]
"""Method, path, document → status, document."""


def job(folder: Path, *, port: int = 0, notify_url: str | None = None, notify_all: bool = True) -> SimulatorJob:
    """Of a simulator on loopback."""
    return SimulatorJob("127.0.0.1", port, str(folder), SECRET, notify_url, load(environment={}).log, notify_all)


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Ask]:
    """Calls of the API, as another program makes them."""
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {SECRET}"}) as session:

        async def ask(method: str, path: str, document: object = None) -> tuple[int, Any]:
            body = None if document is None else msgspec.json.encode(document)
            async with session.request(method, url + path, data=body) as reply:
                return reply.status, await reply.json(content_type=None)

        yield ask


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[Ask]:
    """A simulator that lives for one test."""
    async with open_simulator(job(tmp_path)) as url, asking(url) as calls:
        yield calls


def order(key: str, token: str = "tok_ok", **changes: object) -> dict[str, object]:
    """An order of 100.00 EUR."""
    asked = {"key": key, "amount_minor": 10_000, "currency": "EUR", "token": token, "booking": "b1"}
    return {**asked, **changes}


async def state_of(ask: Ask, key: str) -> str:
    """What has become of a payment."""
    return str((await ask("GET", f"/payments/{key}"))[1]["state"])


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():  # noqa: ASYNC110 - what comes late is told to nobody here
            await asyncio.sleep(0.01)


async def started(folder: Path, port: int) -> asyncio.subprocess.Process:
    """The process, as the supervisor starts it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "onebook.simulator"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(job(folder, port=port)) + b"\n")
    assert (await process.stdout.readline()).decode().strip() == READY
    return process


async def test_what_was_told_survives_kill_9(tmp_path: Path) -> None:
    """Every payment that was answered is there again after the process was killed, a pending challenge and a late capture too."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await started(tmp_path, port)
    async with asking(f"http://127.0.0.1:{port}") as ask:
        await ask("PUT", "/faults", {"late_ms": 1_000})
        for number in range(50):
            await ask("POST", "/payments", order(f"k{number}"))
        await ask("POST", "/payments/k1/capture", {"amount_minor": 10_000})
        await ask("POST", "/payments/k1/refunds", {"key": "r1", "amount_minor": 1})
        await ask("POST", "/payments", order("late", "tok_late_capture"))
        await ask("POST", "/payments/late/capture", {"amount_minor": 10_000})
        challenged = (await ask("POST", "/payments", order("asked", "tok_challenge")))[1]
        before = (await ask("GET", "/payments?limit=50"))[1]
        process.send_signal(signal.SIGKILL)
        await process.wait()
        process = await started(tmp_path, port)
        assert (await ask("GET", "/payments?limit=50"))[1] == before
        async with aiohttp.ClientSession() as payer, payer.post(challenged["challenge_url"], data={"outcome": "pass"}):
            assert await state_of(ask, "asked") == "authorized"

        async def is_captured() -> bool:
            return await state_of(ask, "late") == "captured"

        await until(is_captured)
    assert process.stdin is not None
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), DEADLINE_SECONDS) == 0


async def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    """A line that was not written to its end was told to nobody: it goes, and what comes next is whole."""
    for key in ("a", "b"):
        async with open_simulator(job(tmp_path)) as url, asking(url) as ask:
            await ask("POST", "/payments", order(key))
        with (tmp_path / NAME).open("ab") as journal:
            journal.write(b'{"payment":{"key":"torn"')
    async with open_simulator(job(tmp_path)) as url, asking(url) as ask:
        listed = (await ask("GET", "/payments"))[1]["payments"]
        assert [payment["key"] for payment in listed] == ["a", "b"]


async def test_a_journal_of_impossible_payments_is_not_believed(tmp_path: Path) -> None:
    """More captured than authorized, or more given back than captured: the simulator does not start on that."""
    for damage in ({"captured_minor": 2}, {"refunded_minor": 1}):
        payment = Payment("k", "pay_1", State.AUTHORIZED, 1, "EUR", 0.0)
        line = msgspec.json.encode(Record(msgspec.structs.replace(payment, **damage)))
        (tmp_path / NAME).write_bytes(line + b"\n")
        with pytest.raises(BrokenInvariant):
            async with open_simulator(job(tmp_path)):
                pass


@given(st.lists(st.tuples(st.sampled_from(list(Call)), st.integers(1, 12), st.booleans()), max_size=12))
def test_whatever_is_asked_amounts_stay_in_order(asked: list[tuple[Call, int, bool]]) -> None:
    """Any sequence of calls leaves 0 ≤ given back ≤ captured ≤ authorized, and what has ended does not begin again."""
    record = rules.opened(NewPayment("k", 10, "EUR", "tok_ok", "b"), Fate.GOOD, "pay_1", 0.0, 0.0)
    for number, (call, amount_minor, odd) in enumerate(asked):
        ended = record.payment.state in (State.VOIDED, State.DECLINED)
        before = record
        with suppress(Refused):
            match call:
                case Call.CAPTURE:
                    record = rules.captured(record, amount_minor, 1.0 if odd else None)
                case Call.VOID:
                    record = rules.voided(record)
                case Call.REFUND:
                    wanted = NewRefund(f"r{number // 2}", amount_minor)
                    record, _ = rules.refunded(record, wanted, odd, "re_1", 0.0)
                case Call.FIND:
                    record = rules.settled(record)
        payment = record.payment
        assert 0 <= payment.refunded_minor <= payment.captured_minor <= payment.amount_minor
        assert not ended or record is before
        assert payment.captured_minor >= before.payment.captured_minor


def test_two_simulators_do_not_share_a_journal(tmp_path: Path) -> None:
    """The second one does not start."""
    journal = Journal(tmp_path)
    with pytest.raises(JournalTaken):
        Journal(tmp_path)
    journal.close()


async def test_a_card_number_is_refused_and_written_nowhere(ask: Ask, tmp_path: Path) -> None:
    """Wherever it stands, in whatever grouping; ids that are full of digits are no card numbers."""
    bare = CARD.replace(" ", "")
    for wrong in (
        {"token": bare},
        {"token": f"tok_{bare}"},
        {"description": f"paid with {CARD}"},
        {"booking": CARD.replace(" ", "-")},
        {"key": bare},
    ):
        status, problem = await ask("POST", "/payments", order("k") | wrong)
        assert (status, problem["code"] in {"card_number", "invalid"}) == (422, True)
        assert bare not in str(problem)
    assert (await ask("POST", f"/payments/{bare}/void", {}))[0] == 422
    assert "4242" not in (tmp_path / NAME).read_text()
    ids = "tok_4242424242424242abcdef0123456789"
    assert (await ask("POST", "/payments", order("41111111-1111-7111-8111-111111111111", ids)))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "document", "status"),
    [
        ("POST", "/payments", order("k", amount_minor=0), 422),
        ("POST", "/payments", order("k", currency="euro"), 422),
        ("POST", "/payments", order("k", token="4"), 422),
        ("POST", "/payments", order(""), 422),
        ("POST", "/payments", order("k", more=1), 422),
        ("POST", "/payments", msgspec.Raw(b"{"), 400),
        ("POST", "/payments", msgspec.Raw(b'{"key":"\xff"}'), 400),
        ("GET", "/payments/%ff", None, 400),
        ("GET", "/payments?limit=0", None, 422),
        ("GET", "/payments?since=nan", None, 422),
        ("GET", "/payments/unheard", None, 404),
        ("POST", "/payments/unheard/capture", {"amount_minor": 1}, 404),
        ("DELETE", "/payments/unheard", None, 404),
        ("GET", "/challenges/unheard", None, 404),
        ("POST", "/challenges/unheard", None, 422),
        ("PUT", "/faults", {"decline": 1.1}, 422),
        ("PUT", "/faults", {"typo": 1}, 422),
    ],
)
async def test_what_is_wrong_is_refused(ask: Ask, method: str, path: str, document: object, status: int) -> None:
    """Bad input is the caller's mistake and says so."""
    answered, problem = await ask(method, path, document)
    assert answered == status
    assert problem["code"]


async def test_a_key_belongs_to_one_order(ask: Ask) -> None:
    """Another amount under the same key is refused, for payments as for refunds."""
    await ask("POST", "/payments", order("k"))
    assert (await ask("POST", "/payments", order("k", amount_minor=1)))[1]["code"] == "key_reused"
    await ask("POST", "/payments/k/capture", {"amount_minor": 10_000})
    assert (await ask("POST", "/payments/k/capture", {"amount_minor": 1}))[1]["code"] == "already_captured"
    await ask("POST", "/payments/k/refunds", {"key": "r", "amount_minor": 1})
    assert (await ask("POST", "/payments/k/refunds", {"key": "r", "amount_minor": 2}))[1]["code"] == "key_reused"


async def test_late_things_come_late_unless_they_are_voided(ask: Ask) -> None:
    """A late authorization and a late capture arrive by themselves; a void ends the one and finishes the other."""
    await ask("PUT", "/faults", {"late_ms": 100})
    late = (await ask("POST", "/payments", order("in time", "tok_late_authorization")))[1]
    assert late["state"] == "processing"

    async def is_authorized() -> bool:
        return await state_of(ask, "in%20time") == "authorized"

    await until(is_authorized)
    await ask("PUT", "/faults", {"late_ms": 60_000})
    await ask("POST", "/payments", order("voided", "tok_late_authorization"))
    assert (await ask("POST", "/payments/voided/void", {}))[1]["state"] == "voided"
    await ask("POST", "/payments", order("taken", "tok_late_capture"))
    capture = (await ask("POST", "/payments/taken/capture", {"amount_minor": 9_000}))[1]
    assert (capture["state"], capture["captured_minor"]) == ("processing", 0)
    ended = (await ask("POST", "/payments/taken/void", {}))[1]
    assert (ended["state"], ended["captured_minor"]) == ("captured", 9_000)


async def test_fates_follow_their_shares(ask: Ask) -> None:
    """Certain faults strike always, the others about as often as they were set; all of them can be read back."""
    asked = {"seed": 7, "decline": 0.25, "challenge": 0.25, "wrong_amount": 0.5}
    assert (await ask("PUT", "/faults", asked))[1] == (await ask("GET", "/faults"))[1]
    made = [(await ask("POST", "/payments", order(f"k{number}")))[1] for number in range(200)]
    states = Counter(payment["state"] for payment in made)
    assert 25 <= states["declined"] <= 75
    assert 25 <= states["challenged"] <= 75
    assert {payment["amount_minor"] for payment in made if payment["state"] == "authorized"} == {10_100}


def test_the_same_seed_brings_the_same_troubles() -> None:
    """A campaign can be repeated, and only the chosen calls are struck."""

    def troubles(seed: int) -> list[Trouble]:
        chance = Chance()
        chance.set(Faults(seed=seed, calls=(Call.CAPTURE,), timeout_before=0.3, error_after=0.3))
        assert chance.trouble(Call.AUTHORIZE, "k", "tok_ok") is Trouble.NONE
        return [chance.trouble(Call.CAPTURE, "k", "tok_ok") for _ in range(100)]

    assert troubles(1) == troubles(1) != troubles(2)
    assert set(troubles(1)) == {Trouble.NONE, Trouble.TIMEOUT_BEFORE, Trouble.ERROR_AFTER}


class Listener:
    """Who is notified: verifies, notes, and fails as often as a test says."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.failures = 0

    async def hear(self, request: web.Request) -> web.Response:
        """One notification."""
        body = await request.read()
        Webhook(notification_secret(SECRET)).verify(body, dict(request.headers))
        if self.failures:
            self.failures -= 1
            return web.Response(status=500)
        self.heard.append(msgspec.json.decode(body))
        assert self.heard[-1]["id"] == request.headers["webhook-id"]
        return web.Response(status=204)

    async def until_heard(self, count: int) -> None:
        """Wait for so many in all."""

        async def enough() -> bool:
            return len(self.heard) >= count

        await until(enough)


@asynccontextmanager
async def notifying(folder: Path, *, notify_all: bool = True) -> AsyncIterator[tuple[Ask, Listener]]:
    """A simulator and who hears of it."""
    listener = Listener()
    application = web.Application()
    application.router.add_post("/heard", listener.hear)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    to_serve = job(folder, notify_url=f"http://{host}:{port}/heard", notify_all=notify_all)
    async with open_simulator(to_serve) as url, asking(url) as calls:
        yield calls, listener
    await runner.cleanup()


@pytest.fixture
async def notified(tmp_path: Path) -> AsyncIterator[tuple[Ask, Listener]]:
    """A simulator and who hears of all that it does."""
    async with notifying(tmp_path) as both:
        yield both


async def test_what_a_call_has_made_need_not_be_notified(tmp_path: Path) -> None:
    """Who wants to hear only what no answer has told hears of what is late, and of nothing that came before."""
    async with notifying(tmp_path, notify_all=False) as (ask, listener):
        await ask("PUT", "/faults", {"late_ms": 1})
        await ask("POST", "/payments", order("at once"))
        await ask("POST", "/payments", order("late", token="tok_late_authorization"))
        await listener.until_heard(1)
    assert [(notification["type"], notification["key"]) for notification in listener.heard] == [
        ("payment.authorized", "late")
    ]


async def test_every_change_is_notified_once_it_can_be(notified: tuple[Ask, Listener]) -> None:
    """Signed, with what happened to which key, again until it is taken; a repeated call changes nothing and tells nothing."""
    ask, listener = notified
    listener.failures = 2
    for _ in range(2):
        await ask("POST", "/payments", order("k"))
    await listener.until_heard(1)
    await ask("POST", "/payments/k/capture", {"amount_minor": 10_000})
    await listener.until_heard(2)
    await ask("POST", "/payments/k/refunds", {"key": "r", "amount_minor": 1})
    await listener.until_heard(3)
    kinds = [(notification["type"], notification["key"]) for notification in listener.heard]
    assert kinds == [("payment.authorized", "k"), ("payment.captured", "k"), ("payment.refunded", "k")]


async def test_notifications_are_doubled_overtaken_and_lost(notified: tuple[Ask, Listener]) -> None:
    """Each fault does what it is named after, and a doubled one keeps its id."""
    ask, listener = notified
    await ask("PUT", "/faults", {"duplicate_notifications": 1})
    await ask("POST", "/payments", order("twice"))
    await listener.until_heard(2)
    assert len({notification["id"] for notification in listener.heard}) == 1
    await ask("PUT", "/faults", {"reordered_notifications": 1})
    await ask("POST", "/payments", order("first"))
    await ask("PUT", "/faults", {})
    await ask("POST", "/payments", order("second"))
    await listener.until_heard(4)
    assert [notification["key"] for notification in listener.heard[2:]] == ["second", "first"]
    await ask("PUT", "/faults", {"lost_notifications": 1})
    await ask("POST", "/payments", order("lost"))
    await ask("PUT", "/faults", {})
    await ask("POST", "/payments", order("last"))
    await listener.until_heard(5)
    assert listener.heard[-1]["key"] == "last"


async def test_a_request_without_end_is_cut_short(tmp_path: Path) -> None:
    """Who sends more than a request may have is sent away."""
    async with open_simulator(job(tmp_path)) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /payments HTTP/1.1\r\nx: " + b"x" * 40_000)
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), DEADLINE_SECONDS) == b""
        writer.close()
