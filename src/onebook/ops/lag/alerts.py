"""The loop that watches: looks at the metrics of the machine each second, and tells who is behind.

Who calls me: the wiring, in the sender's process. What I own: the alerts' states and the way to the operator's URL. What survives
a crash: nothing, and nothing has to: whatever is still wrong is found again. What bounds me: one look at a time, a history of
some hundred looks at the few metrics that rules name, and see notices.py.
"""

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client import Gauge

from onebook.config import AlertSettings
from onebook.ops.lag.letters import LetterCount
from onebook.ops.lag.measures import History
from onebook.ops.lag.notices import Notice, Notices
from onebook.ops.lag.rules import FIRING, rules_of
from onebook.ops.lag.states import Alert, Standing, State, look, step
from onebook.readings.scrape import Scrape, scrape_levels

EVERY_SECONDS = 1.0

ReadMachine = Callable[[float], Scrape]
"""Metrics of the machine at a time of the loop's clock; called in a thread."""

ALERTS_FIRING = Gauge(FIRING, "Alerts that fire, by rule.", ["alert"], multiprocess_mode="livemax")

log = structlog.get_logger()


class Alerts:
    """Looks, and tells. With no `alerts.url` only the log is told. Raises BadConfig where the secret cannot sign."""

    def __init__(
        self,
        settings: AlertSettings,
        letters: LetterCount | None = None,
        *,
        read: ReadMachine = scrape_levels,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self._letters = letters
        self._rules = rules_of(settings)
        self._read = read
        self._every_seconds = every_seconds
        self._notices = Notices(settings) if settings.url else None
        windows = [rule.measure.window_seconds for rule in self._rules]
        metrics = frozenset[str]().union(*(rule.measure.metrics for rule in self._rules))
        self._history = History(metrics, length=int(max(windows) / every_seconds) + 2)
        self._standing: Standing = {}
        self._stopping = asyncio.Event()
        self.turned_at = asyncio.get_running_loop().time()
        self._clock_began = datetime.now(UTC) - timedelta(seconds=self.turned_at)
        for rule in self._rules:
            ALERTS_FIRING.labels(rule.name).set(0)

    async def run_once(self) -> list[Alert]:
        """One look; returns what was told."""
        now = asyncio.get_running_loop().time()
        # In a thread: it reads the files of all processes, and deliveries go on meanwhile.
        self._history.add(await asyncio.to_thread(self._read, now))
        self._standing, told = step(self._standing, look(self._rules, self._history), now)
        for rule in self._rules:
            firing = [a for a in self._standing.values() if a.rule is rule and a.state is State.FIRING]
            ALERTS_FIRING.labels(rule.name).set(len(firing))
        for alert in told:
            self._tell(alert)
        return told

    async def run(self) -> None:
        """Look until `stop`."""
        async with asyncio.TaskGroup() as beside:
            others = [beside.create_task(part.run()) for part in (self._notices, self._letters) if part is not None]
            await self._look_on()
            for other in others:
                other.cancel()

    def stop(self) -> None:
        """End after the present look."""
        self._stopping.set()

    async def _look_on(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.run_once()
            except (OSError, ValueError, struct.error) as error:
                # A process that starts is just making its file: the next look finds it whole.
                log.warning("metrics_not_read", reason=repr(error))
            else:
                self.turned_at = asyncio.get_running_loop().time()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._every_seconds)

    def _tell(self, alert: Alert) -> None:
        notice = notice_of(alert, self._clock_began)
        tell = log.error if alert.state is State.FIRING else log.warning
        tell(f"alert_{alert.state}", **notice.data)
        if self._notices is not None:
            self._notices.put(notice)


def notice_of(alert: Alert, clock_began: datetime) -> Notice:
    """What is said of an alert that has just changed, given when the scrapes' clock was 0."""
    since = clock_began + timedelta(seconds=alert.since)
    return Notice(
        id=f"alert_{alert.rule.name}_{alert.subject or 'all'}_{since:%Y%m%dT%H%M%S}_{alert.state}",
        type=f"onebook.alert.{alert.state}",
        timestamp=clock_began + timedelta(seconds=alert.changed),
        data={
            "alert": alert.rule.name,
            "subject": alert.subject,
            "severity": alert.rule.severity,
            "summary": alert.rule.summary,
            "value": alert.value,
            "since": since.isoformat(),
        },
    )
