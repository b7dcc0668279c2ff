"""What the auditor found: a check per promise, each with a bounded list of findings, for JSON or as a table."""

from datetime import datetime

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

FINDINGS_PER_CHECK = 20
VALUE_CHARACTERS = 200


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong: where, what, and the two values that do not agree."""

    where: str
    what: str
    expected: str
    found: str


class Check(msgspec.Struct, frozen=True):
    """One promise, examined. `findings` are the first few of `total`.

    `invariants` are numbered as in ARCHITECTURE.md. An advisory check notes what may be harmless, and is `ok`. One that was
    not `checked` is `ok` as well: nothing is wrong that anybody knows of, and `remark` says why nobody looked.
    """

    name: str
    invariants: tuple[int, ...]
    promise: str
    ok: bool
    advisory: bool
    examined: int
    total: int
    findings: tuple[Finding, ...]
    checked: bool = True
    remark: str = ""


class Report(msgspec.Struct, frozen=True):
    """The verdict on one consistent snapshot, taken `at` by the database's clock."""

    ok: bool
    at: datetime
    seconds: float
    checks: tuple[Check, ...]


class Tally:
    """The findings of one check while it runs: every one is counted, the first few are kept."""

    def __init__(self, name: str, invariants: tuple[int, ...], promise: str, advisory: bool = False) -> None:
        self.name = name
        self._invariants = invariants
        self._promise = promise
        self._advisory = advisory
        self._total = 0
        self._findings: list[Finding] = []
        self._checked = True
        self.examined = 0
        self.remark = ""

    def leave_out(self, reason: str) -> None:
        """It could not be checked."""
        self._checked, self.remark = False, reason

    def add(self, where: str, what: str, expected: object, found: object) -> None:
        """Note one finding."""
        self._total += 1
        if len(self._findings) < FINDINGS_PER_CHECK:
            self._findings.append(Finding(where, what, _short(expected), _short(found)))

    def add_counted(self, findings: list[Finding], total: int) -> None:
        """Note findings that were counted elsewhere, of which only some were brought."""
        self._total += total
        self._findings += findings[: FINDINGS_PER_CHECK - len(self._findings)]

    def check(self) -> Check:
        """The check as it stands now."""
        return Check(
            name=self.name,
            invariants=self._invariants,
            promise=self._promise,
            ok=self._advisory or self._total == 0,
            advisory=self._advisory,
            examined=self.examined,
            total=self._total,
            findings=tuple(self._findings),
            checked=self._checked,
            remark=self.remark,
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 2] + " …"


def render(report: Report, console: Console) -> None:
    """The report for people: a table of the checks, a table of what is wrong where, and the verdict."""
    console.print(_table_of_checks(report))
    if any(check.findings for check in report.checks):
        console.print(_table_of_findings(report))
    console.print(
        _conclusion(report),
        f"in the snapshot of {report.at.isoformat(timespec='seconds')}, audited in {report.seconds:.1f} s",
    )


def _conclusion(report: Report) -> Text:
    if not report.ok:
        return Text(f"{sum(check.total for check in report.checks if not check.ok):,} wrong", "bold red")
    left_out = ", ".join(check.name for check in report.checks if not check.checked)
    if left_out:
        return Text(f"every invariant that was checked holds; not checked: {left_out};", "bold green")
    return Text("every invariant holds", "bold green")


def _table_of_checks(report: Report) -> Table:
    table = Table("check", "invariant", "promise", title="onebook verify", title_justify="left")
    table.add_column("examined", justify="right")
    table.add_column("verdict")
    for check in report.checks:
        numbers = ", ".join(str(number) for number in check.invariants)
        table.add_row(check.name, numbers, check.promise, f"{check.examined:,}", _verdict(check))
    return table


def _verdict(check: Check) -> Text:
    remark = Text(f" ({check.remark})" if check.remark else "", "dim")
    if not check.checked:
        return Text("not checked", "yellow") + remark
    if check.total == 0:
        return Text("ok", "green") + remark
    if check.ok:
        return Text(f"{check.total:,} noted", "yellow") + remark
    return Text(f"{check.total:,} wrong", "bold red") + remark


def _table_of_findings(report: Report) -> Table:
    table = Table("check", "where", "what", "expected", "found", title="findings", title_justify="left")
    for check in report.checks:
        for finding in check.findings:
            # Text, not str: a value from the database must not be read as markup.
            cells = (finding.where, finding.what, finding.expected, finding.found)
            table.add_row(check.name, *(Text(cell) for cell in cells))
        if (more := check.total - len(check.findings)) > 0:
            table.add_row(check.name, Text(f"… and {more:,} more", "dim"))
    return table
