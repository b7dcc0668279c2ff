"""Alerts: what rules find, the life of an alert, and how an operator is told."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest
import stamina
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from standardwebhooks import Webhook

from onebook.config import AlertSettings, BadConfig
from onebook.ops.lag.alerts import Alerts, notice_of
from onebook.ops.lag.measures import Above, Found, Grown, History, Measure, Missing, ShareAbove, Still
from onebook.ops.lag.notices import ATTEMPTS, Notice, Notices
from onebook.ops.lag.rules import CONSUMERS, Rule, Severity, rules_of
from onebook.ops.lag.states import Alert, Standing, State, step
from onebook.readings.scrape import Scrape

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 (the example of the Standard Webhooks specification)
SETTINGS = AlertSettings(url="", secret=SECRET, lag_seconds=1.0, for_seconds=30.0)
RULE = Rule("Late", Above("lag", 1.0, "consumer"), 30.0, Severity.CRITICAL, "…")

Samples = dict[str, dict[str, float]]


def scrape(now: float, samples: Samples, label: str = "consumer") -> Scrape:
    """Metrics by name and by one label; "" is for a metric without labels."""
    return Scrape(
        taken_at=now,
        samples={
            name: {frozenset({(label, key)}) if key else frozenset(): value for key, value in values.items()}
            for name, values in samples.items()
        },
    )


def found_by(measure: Measure, *looks: tuple[float, Samples]) -> Found:
    """What a measure finds after some looks."""
    history = History(measure.metrics, length=1_000)
    for now, samples in looks:
        history.add(scrape(now, samples))
    return measure.read(history)


def test_above_names_who_is_above() -> None:
    """The limit itself is not above it, and a metric that nobody reports is above nothing."""
    above = Above("lag", 1.0, "consumer")
    assert found_by(above, (0, {"lag": {"view": 1.0, "push": 1.5}})) == {"push": 1.5}
    assert found_by(above, (0, {})) == {}


def test_missing_names_who_reports_nothing() -> None:
    """Each that is expected and not there is found, also where nobody reports the metric."""
    missing = Missing("lag", "consumer", ("relay", "view"))
    assert found_by(missing, (0, {"lag": {"view": 0.0, "other": 0.0}})) == {"relay": 1.0}
    assert found_by(missing, (0, {})) == {"relay": 1.0, "view": 1.0}
    assert found_by(Missing("lag"), (0, {})) == {"": 1.0}
    assert found_by(Missing("lag"), (0, {"lag": {"": 0.0}})) == {}


def test_still_finds_a_process_that_hangs_and_says_what_it_last_said() -> None:
    """A gauge that did not change in the window is found; one that moved or has just come is not, nor is anything too early."""
    still = Still("offset", "consumer", 30.0)
    looks: list[tuple[float, Samples]] = [
        (0, {"offset": {"view": 5, "push": 5}}),
        (15, {"offset": {"view": 5, "push": 6}}),
        (30, {"offset": {"view": 5, "push": 6, "relay": 7}}),
    ]
    assert found_by(still, *looks[:2]) == {}
    assert found_by(still, *looks) == {"view": 5}


def test_grown_sees_a_loss_also_when_the_counter_begins_again() -> None:
    """Growth counts, a fall is a restart, and what lies before the window is over."""
    grown = Grown("losses", 600.0)
    assert found_by(grown, (0, {"losses": {"": 3}}), (1, {"losses": {"": 3}})) == {}
    assert found_by(grown, (0, {"losses": {"": 3}}), (1, {"losses": {"": 4}}), (2, {"losses": {"": 0}})) == {"": 1.0}
    assert found_by(grown, (0, {"losses": {"": 3}}), (1, {"losses": {"": 4}}), (700, {"losses": {"": 4}})) == {}


@pytest.mark.parametrize(
    ("used", "left", "found"),
    [(6, 4, {"": 0.6}), (5, 5, {}), (10, 0, {"": 1.0}), (0, 0, {}), (6, -1, {})],
)
def test_a_share_is_of_what_is_used_and_what_is_left(used: float, left: float, found: Found) -> None:
    """More than half is found; nothing of nothing is not, nor anything of a slot without a limit (-1)."""
    assert found_by(ShareAbove("used", "left", 0.5), (0, {"used": {"": used}, "left": {"": left}})) == found


def test_an_alert_fires_once_after_its_time_and_is_resolved_once() -> None:
    """Pending is told to nobody, firing and resolved are told once each."""
    standing: Standing = {}
    told: list[tuple[float, State]] = []
    for now in (0.0, 29.0, 30.0, 31.0, 40.0, 41.0):
        late = [(RULE, "view", 2.0)] if now < 40.0 else []
        standing, changed = step(standing, late, now)
        told += [(now, alert.state) for alert in changed]
    assert told == [(30.0, State.FIRING), (40.0, State.RESOLVED)]


def test_a_lag_that_goes_away_in_time_was_no_alert() -> None:
    """The time begins anew whenever the condition was broken."""
    standing: Standing = {}
    for now, late in ((0.0, True), (29.0, True), (29.5, False), (30.0, True), (59.0, True)):
        standing, told = step(standing, [(RULE, "view", 2.0)] if late else [], now)
        assert told == []
    assert [alert.state for alert in standing.values()] == [State.PENDING]


@given(st.lists(st.sets(st.sampled_from(["relay", "view", "push"])), max_size=60), st.integers(0, 5))
def test_firing_and_resolved_alternate_for_each_subject(looks: list[set[str]], for_seconds: int) -> None:
    """Whatever is found when, each subject's notices alternate and agree with a plain recount of the looks."""
    rule = msgspec.structs.replace(RULE, for_seconds=float(for_seconds))
    standing: Standing = {}
    told: dict[str, list[State]] = {}
    run_length: dict[str, int] = {}
    for now, late in enumerate(looks):
        standing, changed = step(standing, [(rule, name, 2.0) for name in sorted(late)], float(now))
        for alert in changed:
            told.setdefault(alert.subject, []).append(alert.state)
        run_length = {name: run_length.get(name, 0) + 1 for name in late}
        firing = {subject for (_, subject), alert in standing.items() if alert.state is State.FIRING}
        assert firing == {name for name, length in run_length.items() if length > for_seconds}
    for states in told.values():
        assert states == [State.FIRING, State.RESOLVED] * (len(states) // 2) + [State.FIRING] * (len(states) % 2)


async def test_a_dead_consumer_and_a_late_one_are_told_while_others_are_well() -> None:
    """The loop finds both with the real rules, shows them in its gauge, and tells when they are well again."""
    lags = {"view": 3.0, "push": 0.0, "webhooks": 0.0}

    def read(now: float) -> Scrape:
        return scrape(now, {"onebook_cdc_lag_seconds": lags, "onebook_alerts_firing": {"": 0.0}})

    alerts = Alerts(msgspec.structs.replace(SETTINGS, for_seconds=0.001), read=read)
    assert await alerts.run_once() == []
    told = await _told(alerts)
    assert {(alert.rule.name, alert.subject) for alert in told} == {
        ("OnebookConsumerLags", "view"),
        ("OnebookConsumerMissing", "relay"),
    }
    assert REGISTRY.get_sample_value("onebook_alerts_firing", {"alert": "OnebookConsumerLags"}) == 1
    lags = dict.fromkeys(CONSUMERS, 0.0)
    assert {alert.state for alert in await alerts.run_once()} == {State.RESOLVED}
    assert REGISTRY.get_sample_value("onebook_alerts_firing", {"alert": "OnebookConsumerLags"}) == 0


async def test_a_look_that_fails_does_not_end_the_loop() -> None:
    """A file that another process is just making costs one look."""
    looks = 0
    seen_again = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read(now: float) -> Scrape:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise ValueError("half a file")
        loop.call_soon_threadsafe(seen_again.set)
        return scrape(now, {})

    alerts = Alerts(SETTINGS, read=read, every_seconds=0.001)
    running = asyncio.create_task(alerts.run())
    await asyncio.wait_for(seen_again.wait(), 10)
    alerts.stop()
    await asyncio.wait_for(running, 10)


class Receiver:
    """An operator's endpoint that answers with the given statuses, then 204."""

    def __init__(self, statuses: list[int]) -> None:
        self.url = ""
        self.taken: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self._statuses: Iterator[int] = iter(statuses)

    async def take(self, request: web.Request) -> web.Response:
        """Remember the request."""
        status = next(self._statuses, 204)
        self.taken.put_nowait((dict(request.headers), await request.read()))
        return web.Response(status=status, headers={"location": "/elsewhere"} if status == 302 else {})


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver(list(statuses))
    app = web.Application()
    app.router.add_post("/alerts", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}/alerts"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def posting(url: str) -> AsyncIterator[Notices]:
    """The way out, with its loop running, and without waits between attempts."""
    notices = Notices(msgspec.structs.replace(SETTINGS, url=url))
    with stamina.set_testing(True, attempts=ATTEMPTS):
        running = asyncio.create_task(notices.run())
        try:
            yield notices
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_notice_is_signed_and_repeated_until_it_is_taken() -> None:
    """An error and a redirect are tried again under the same id; the official library verifies each signature."""
    notice = notice_of(_firing("view"), datetime.now(UTC))
    async with receiving(500, 302) as receiver, posting(receiver.url) as notices:
        notices.put(notice)
        taken = [await asyncio.wait_for(receiver.taken.get(), 10) for _ in range(3)]
    for headers, body in taken:
        lower = {name.lower(): value for name, value in headers.items()}
        said = Webhook(SECRET).verify(body, lower)
        assert lower["webhook-id"] == notice.id
        assert said["type"] == "onebook.alert.firing"
        assert said["data"]["subject"] == "view"


async def test_a_notice_that_is_never_taken_does_not_hold_up_the_next() -> None:
    """Attempts are bounded, and the order is kept."""
    async with receiving(*[500] * ATTEMPTS) as receiver, posting(receiver.url) as notices:
        for name in ("first", "second"):
            notices.put(Notice(id=name, type="onebook.alert.firing", timestamp=datetime.now(UTC), data={}))
        ids = [(await asyncio.wait_for(receiver.taken.get(), 10))[0]["webhook-id"] for _ in range(ATTEMPTS + 1)]
    assert ids == ["first"] * ATTEMPTS + ["second"]


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_a"])
async def test_a_url_without_a_good_secret_is_refused(secret: str) -> None:
    """Alerts that cannot be signed are a mistake in the settings, told at the start."""
    settings = msgspec.structs.replace(SETTINGS, url="http://127.0.0.1:1/alerts", secret=secret)
    with pytest.raises(BadConfig, match=r"alerts\.secret"):
        Alerts(settings)


def test_firing_and_resolved_are_notices_of_their_own() -> None:
    """Their ids differ, and both name since when."""
    began = datetime(2026, 12, 1, 12, tzinfo=UTC)
    firing = _firing("view")
    resolved = msgspec.structs.replace(firing, state=State.RESOLVED, changed=40.0)
    first, second = notice_of(firing, began), notice_of(resolved, began)
    assert first.id != second.id
    assert (first.timestamp.second, second.timestamp.second) == (30, 40)
    assert first.data["since"] == second.data["since"] == "2026-12-01T12:00:00+00:00"


def test_the_limits_of_the_settings_are_those_of_the_rules() -> None:
    """alerts.lag_seconds and alerts.for_seconds reach the rule that they are about."""
    rule = rules_of(msgspec.structs.replace(SETTINGS, lag_seconds=2.5, for_seconds=7.0))[0]
    assert (rule.measure.promql(), rule.for_seconds) == ("onebook_cdc_lag_seconds > 2.5", 7.0)


def _firing(subject: str) -> Alert:
    return Alert(rule=RULE, subject=subject, state=State.FIRING, since=0.0, changed=30.0, value=2.0)


async def _told(alerts: Alerts) -> list[Alert]:
    """What is told next; the clock moves on by itself."""
    async with asyncio.timeout(10):
        while not (told := await alerts.run_once()):
            pass  # each look waits for its thread
    return told
