"""Faults at every step of the saga: sagas are brought to stand at a step, before or after its effect, and then something dies.

At the gateway a step is held by the gateway itself: a call that hangs has no effect yet, one that is slow has had it. In the
database it is held by a lock of the test's, before its effect, or before the write that follows; and by a commit that waits for a
standby which does not exist: the effect is durable, and nobody is told. Where each saga stood is read from what was durable when
the fault had struck.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg

from onebook.ops.http_client import Answer
from tests.acceptance.shop import PAUSE_SECONDS, Shop

VENUE = "struck"
ROOM = f"{VENUE}/double"
ROWS = "payment.checkout, payment.settlement"
TTL_SECONDS = 120
SHORT_TTL_SECONDS = 1
HELD_SECONDS = 20
LATE_MS = 1_500
PATIENCE_SECONDS = 3.0
PROMISED_SECONDS = 60.0
TROUBLES = ("timeout_before", "timeout_after", "error_before", "error_after")
ANSWERS = {"paid": {200, 201}, "failed": {402, 409}}

Effect = Literal["before", "after"]
Strike = Callable[[], AbstractAsyncContextManager[None]]
"""Kills; in its block what had become durable can be read, after it what was killed is back."""

STANDING = """
    SELECT booking.id::text AS booking, booking.status, booking.expires_at > now() + interval '300 s' AS is_extended,
           checkout.id::text AS checkout, checkout.state, settlement.state AS settling,
           EXISTS (SELECT FROM booking AS anew WHERE anew.channel = checkout.channel
                   AND anew.idempotency_key = 'checkout-' || checkout.id) AS is_taken_anew
    FROM booking
    LEFT JOIN payment.checkout ON checkout.booking = booking.id
    LEFT JOIN payment.settlement ON settlement.booking = booking.id
    WHERE booking.id = ANY ($1::uuid[])
"""
CHALLENGED = """
    SELECT challenge_url FROM payment.checkout
    WHERE state = 'challenged' AND challenge_url IS NOT NULL AND booking = ANY ($1::uuid[])
"""
WAITING_FOR_LOCK = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'"
WAITING_FOR_STANDBY = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event = 'SyncRep'"


@dataclass(eq=False)
class Saga:
    """A booking that is paid, or cancelled after it was. `ends` is how, for one that nobody disturbs."""

    booking: str
    token: str
    ends: Literal["paid", "failed", "cancelled"] = "paid"
    asking: "asyncio.Task[Answer] | None" = None


class Campaign:
    """Scene after scene in one shop; `size` sagas come to stand at each step of a scene."""

    def __init__(self, shop: Shop, size: int) -> None:
        self._shop = shop
        self._size = size
        self._sagas: list[Saga] = []
        self.sold: list[str] = []
        self.struck: Counter[tuple[str, str, str]] = Counter()
        """By the fault, the step, and before or after its effect."""
        self.longest_seconds = 0.0

    async def furnish(self) -> None:
        """A room with a price."""
        place = {"name": "Struck", "timezone": "Europe/Lisbon", "currency": "EUR", "market": "lisboa"}
        room = {"kind": "room", "name": "Double", "capacity": 1_000_000, "grid": {"unit": "night"}}
        rate = {"name": "Flexible", "currency": "EUR", "price_minor": 10_000}
        for path, body in (("", place), ("/resources/double", room), ("/rates/flex", rate)):
            answer = await self._shop.answered("PUT", f"/v1/venues/{VENUE}{path}", body)
            assert answer.status in {200, 201}, answer

    async def at_the_gateway(self, name: str, strike: Strike) -> None:
        """Every call to the gateway is held, before its effect or after it, when the fault strikes."""
        prepared = [(await self._paid(), await self._holds("tok_challenge")) for _ in range(2)]
        await self._told([saga for _, looking in prepared for saga in looking], 202)
        before, after = prepared
        await self._stand_at_the_gateway("before", *before, hang_seconds=HELD_SECONDS)
        await self._stand_at_the_gateway("after", *after, slow_ms=HELD_SECONDS * 1000)
        await self._struck_by(f"{name}, gateway", strike)

    async def _stand_at_the_gateway(
        self, effect: Effect, refunding: Sequence[Saga], looking: Sequence[Saga], **held: int
    ) -> None:
        capturing, voiding = await self._holds("tok_ok"), await self._holds("tok_wrong_amount", "failed")
        authorizing = await self._holds("tok_ok")
        calls = ["capture", "void", "refund"]
        await self._shop.faults(calls=calls, **held)
        self._begin([*capturing, *voiding, *refunding])
        await self._until_they_stand({"capture": capturing, "void": voiding, "refund": refunding}, effect)
        await self._shop.faults(calls=[*calls, "authorize", "find"], **held)
        self._begin(authorizing)
        await self._answer_challenges(looking)
        await self._until_they_stand({"authorize": authorizing}, effect)

    async def in_the_ledger(self, name: str, strike: Strike, effect: Effect | Literal["untold"]) -> None:
        """Every command that a saga gives to the ledger: not done, or done and its row not written, or done and not even told."""
        cancelling, extending = await self._paid(), await self._holds("tok_challenge")
        confirming, releasing = await self._holds("tok_ok"), await self._holds("tok_declined", "failed")
        revoking = await self._holds("tok_capture_refused", "failed")
        reacquiring = await self._holds("tok_ok", ttl_seconds=SHORT_TTL_SECONDS)
        await self._shop.faults(calls=["authorize"], slow_ms=LATE_MS)
        self._begin(reacquiring)
        await self._until_they_stand({"authorize": reacquiring}, "after")
        await self._shop.faults(calls=["capture"], hang_seconds=LATE_MS / 1000)
        self._begin(revoking)
        await self._until_they_stand({"capture": revoking}, "before")
        async with self._locked("booking") as ledger, self._locked() as rows:
            await self._shop.faults()
            await self._until_they_stand({"reacquire": reacquiring, "revoke": revoking}, "before")
            await self._shop.faults(calls=["capture"], hang_seconds=HELD_SECONDS)
            self._begin([*confirming, *releasing, *extending, *cancelling])
            undone = {"release": releasing, "extend": extending, "cancel": cancelling}
            await self._until_they_stand({"confirm": confirming, **undone}, "before")
            if effect == "after":
                await rows.execute(f"LOCK TABLE {ROWS} IN SHARE MODE")
                await ledger.execute("ROLLBACK")
                await self._until_they_stand({"reacquire": reacquiring, "revoke": revoking, **undone}, "after")
            if effect == "untold":
                await self._commit_untold(ledger, "onebook-ledger")
            await self._struck_by(f"{name}, ledger", strike, ledger, rows)

    async def in_the_rows(self, name: str, strike: Strike, effect: Literal["before", "untold"]) -> None:
        """Every write of the sagas' own rows waits, or is done and not even told, when the fault strikes."""
        beginning, cancelling, refunding = await self._holds("tok_ok"), await self._paid(), await self._paid()
        capturing, voiding = await self._holds("tok_ok"), await self._holds("tok_wrong_amount", "failed")
        authorizing = await self._holds("tok_ok")
        calls = ["capture", "void", "refund"]
        await self._shop.faults(calls=calls, slow_ms=LATE_MS)
        self._begin([*capturing, *voiding, *refunding])
        await self._until_they_stand({"capture": capturing, "void": voiding, "refund": refunding}, "after")
        await self._shop.faults(calls=["authorize"], slow_ms=LATE_MS)
        self._begin(authorizing)
        await self._until_they_stand({"authorize": authorizing}, "after")
        async with self._locked(ROWS) as rows:
            self._begin([*beginning, *cancelling])
            await self._until_told(rows, WAITING_FOR_LOCK, "onebook-saga")
            if effect == "untold":
                await self._commit_untold(rows, "onebook-saga")
            await self._struck_by(f"{name}, rows", strike, rows)

    async def by_the_answer(self) -> None:
        """Each call of a payment loses its answer once, or is answered with an error once, before or after its effect."""
        refunding = {trouble: await self._paid(f"tok_{trouble}_refund") for trouble in TROUBLES}
        for trouble in TROUBLES:
            authorizing, capturing = await self._holds(f"tok_{trouble}"), await self._holds(f"tok_{trouble}_capture")
            self._begin([*authorizing, *capturing, *refunding[trouble]])
            for step in ("authorize", "capture", "refund"):
                self.struck[trouble, step, trouble.rpartition("_")[2]] += self._size
        await self._ended()
        await self._shop.faults(capture_refused=1)
        for trouble in TROUBLES:
            self._begin(await self._holds(f"tok_{trouble}_void", "failed"))
            self.struck[trouble, "void", trouble.rpartition("_")[2]] += self._size
        await asyncio.gather(*(saga.asking for saga in self._sagas if saga.asking is not None))
        await self._shop.faults()
        await self._ended()

    async def hold(self) -> str:
        """A hold that nobody pays for."""
        [saga, *_] = await self._holds("")
        self._sagas.clear()
        return saga.booking

    async def _holds(
        self, token: str, ends: Literal["paid", "failed"] = "paid", *, ttl_seconds: int = TTL_SECONDS
    ) -> list[Saga]:
        """New sagas, held and not begun."""
        stay = {"resource": ROOM, "from": "2030-03-01", "to": "2030-03-02"}

        async def held(number: int) -> Saga:
            body = {"items": [stay], "ttl_seconds": ttl_seconds}
            answer = await self._shop.answered("POST", "/v1/bookings", body, f"struck-{number}")
            assert answer.status == 201, answer
            return Saga(answer.json()["id"], token, ends)

        first = len(self.sold)
        sagas = await asyncio.gather(*(held(first + number) for number in range(self._size)))
        self.sold += [saga.booking for saga in sagas]
        self._sagas += sagas
        return sagas

    async def _paid(self, token: str = "tok_ok") -> list[Saga]:
        """Sagas that were paid, to be cancelled."""
        sagas = await self._holds(token)
        await self._told(sagas, 201)
        for saga in sagas:
            saga.ends = "cancelled"
        return sagas

    async def _told(self, sagas: Sequence[Saga], status: int) -> None:
        answers = await asyncio.gather(*(self._ask(saga) for saga in sagas))
        assert {answer.status for answer in answers} == {status}, answers

    def _begin(self, sagas: Sequence[Saga]) -> None:
        """Begin them, as clients do that repeat what was not answered."""
        for saga in sagas:
            saga.asking = asyncio.create_task(self._ask(saga))

    async def _ask(self, saga: Saga) -> Answer:
        if saga.ends == "cancelled":
            return await self._shop.answered("POST", f"/v1/bookings/{saga.booking}/cancel", {})
        body = {"payment": {"token": saga.token}}
        return await self._shop.answered("POST", f"/v1/bookings/{saga.booking}/checkout", body, "pay")

    async def _until_they_stand(self, wanted: Mapping[str, Sequence[Saga]], effect: Effect) -> None:
        """Wait until all stand where they shall; not for ever, since what counts is where they are when it strikes."""
        steps = {saga.booking: step for step, sagas in wanted.items() for saga in sagas}
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS), self._shop.database() as database:
                standing = Counter({(step, effect): self._size for step in wanted})
                while await self._standing(database, steps) != standing:  # noqa: ASYNC110 - rows, nobody tells us
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _standing(
        self, database: asyncpg.Connection, bookings: Mapping[str, object]
    ) -> Counter[tuple[str, Effect]]:
        """How many stand where, of those that have not ended."""
        rows = await database.fetch(STANDING, list(bookings))
        theirs = self._shop.theirs()
        return Counter(filter(None, (_where(row, theirs.get(row["checkout"])) for row in rows)))

    async def _answer_challenges(self, sagas: Sequence[Saga]) -> None:
        """Their payers pass."""
        async with self._shop.database() as database:
            rows = await database.fetch(CHALLENGED, [saga.booking for saga in sagas])
        urls = [row["challenge_url"] for row in rows]
        await asyncio.gather(*(self._shop.decide(url, "pass") for url in urls))

    @asynccontextmanager
    async def _locked(self, tables: str | None = None) -> AsyncIterator[asyncpg.Connection]:
        """Nobody writes to the tables until the transaction ends, with the block or with the database."""
        connection = await asyncpg.connect(self._shop.server.database_url)
        try:
            await connection.execute("BEGIN")
            if tables is not None:
                await connection.execute(f"LOCK TABLE {tables} IN SHARE MODE")
            yield connection
        finally:
            connection.terminate()

    async def _commit_untold(self, lock: asyncpg.Connection, waiting: str) -> None:
        """What waits for the lock is done; its commit is durable, and waits for a standby that there is not."""
        async with self._shop.database() as database:
            await _set_standby(database, "nobody")
            await lock.execute("ROLLBACK")
            await self._until_told(database, WAITING_FOR_STANDBY, waiting)

    async def _until_told(self, database: asyncpg.Connection, query: str, waiting: str) -> None:
        """Wait until each worker's connection of that name waits; not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                workers = len(self._shop.server.status["workers"])
                while await database.fetchval(query, waiting) < workers:  # noqa: ASYNC110 - nobody tells us
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _struck_by(self, name: str, strike: Strike, *locks: asyncpg.Connection) -> None:
        """The fault, its end, and the end of all sagas."""
        async with strike():
            async with self._shop.database() as database:
                living = {saga.booking: saga for saga in self._sagas}
                for (step, effect), count in (await self._standing(database, living)).items():
                    self.struck[name, step, effect] += count
                await _set_standby(database, "")
            for lock in locks:
                lock.terminate()
        await self._shop.faults()
        await self._ended()

    async def _ended(self) -> None:
        """All of them end as they shall, and whoever asks again is told so."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(PROMISED_SECONDS):
            while not await self._shop.has_ended() or any(
                saga.asking and not saga.asking.done() for saga in self._sagas
            ):
                await self._answer_challenges(self._sagas)
                await asyncio.sleep(PAUSE_SECONDS)
        self.longest_seconds = max(self.longest_seconds, loop.time() - began)
        for saga in self._sagas:
            answer = await self._ask(saga)
            assert answer.status in ANSWERS.get(saga.ends, {200}), (saga, answer)
        self._sagas.clear()


def _where(row: Any, payment: dict[str, Any] | None) -> tuple[str, Effect] | None:
    """The step at which a saga stands, by what is durable; None where it has ended."""
    state = "" if payment is None else payment["state"]
    if row["state"] == "completed":
        return _where_settling(row, payment)
    match row["state"]:
        case None:
            return "begin", "before"
        case "authorizing" if state == "challenged":
            return "extend", "after" if row["is_extended"] else "before"
        case "authorizing":
            return "authorize", "after" if state else "before"
        case "challenged":
            return "look", "before"  # it has no effect
        case "committing" if row["status"] != "confirmed":
            return "confirm", "before"
        case "committing" | "capturing":
            return "capture", "before" if state == "authorized" else "after"
        case "reacquiring":
            return "reacquire", "after" if row["is_taken_anew"] else "before"
        case "releasing":
            return "release", "after" if row["status"] == "released" else "before"
        case "revoking":
            return "revoke", "after" if row["status"] == "cancelled" else "before"
        case "voiding":
            return "void", "after" if state == "voided" else "before"
    return None


def _where_settling(row: Any, payment: dict[str, Any] | None) -> tuple[str, Effect] | None:
    match row["settling"]:
        case "moving":
            return "cancel", "after" if row["status"] == "cancelled" else "before"
        case "refunding" if payment is not None:
            return "refund", "after" if payment["refunded_minor"] else "before"
    return None


async def _set_standby(database: asyncpg.Connection, name: str) -> None:
    """Whom commits wait for; with no name for nobody."""
    await database.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    await database.execute("SELECT pg_reload_conf()")
