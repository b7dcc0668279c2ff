"""How the demo ends for people: the verdict, how to see it again, and a booking of one's own."""

import shlex

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from onebook.ops.demo.market import lisboa, nights
from onebook.ops.demo.money_text import amounts
from onebook.ops.demo.report import DemoReport, MirrorReport, MoneyReport

_AT_ONCE = "  payers and the outage left out"


def render_verdict(report: DemoReport, console: Console) -> None:
    """Print the verdict: what happened, what it cost, and whether anything was sold twice."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    for label, fact in _facts(report):
        facts.add_row(label, fact)
    console.print(Padding(Panel(facts, title="verdict", title_align="left", border_style="dim", expand=False), (1, 0)))
    for example in (*report.double_booked, *report.money.differences, *report.examples):
        console.print(Text(f"  {example}", "red"), soft_wrap=True)


def next_booking_curl(base_url: str, token: str, report: DemoReport) -> str:
    """A command that books a room that is surely free: on a night that nobody in the crowd asks for."""
    market = lisboa(report.opening)
    line = nights(market.offers[0], market.free_night, 2)
    body = msgspec.json.encode({"items": [line.item], "confirm": True}).decode()
    # The key is the shell's clock, so that each time the line is pasted is one booking more.
    return (
        f"curl -s {shlex.quote(f'{base_url}/v1/bookings')} -H 'Authorization: Bearer {token}' "
        f"""-H 'Content-Type: application/json' -H "Idempotency-Key: curl-$(date +%s)" -d {shlex.quote(body)}"""
    )


def _facts(report: DemoReport) -> list[tuple[str, Text]]:
    latency, rush = report.latency, report.rush
    return [
        ("double bookings", _good_if(report.double_bookings == 0, f"{report.double_bookings:,}")),
        ("auditor", _auditor(report)),
        ("books", _books(report.money)),
        ("attempts", Text(f"{report.attempts:,}")),
        ("of these", Text(_outcomes(report))),
        ("afterwards", Text(f"{report.cancelled:,} cancelled, {report.amended:,} amended")),
        (
            "rush",
            Text(f"{rush.attempts:,} wanted {rush.what}: ")
            + _good_if(rush.sold <= rush.units, f"{rush.sold} sold")
            + Text(f", {rush.refused:,} refused in {rush.seconds:.2f} s"),
        ),
        ("repeats", _repeats(report)),
        ("lost", Text(f"{report.lost_answers:,} answers lost on the way and asked for again")),
        ("busy", _busy(report)),
        ("read back", _read_back(report)),
        ("latency", Text(f"p50 {latency.p50_ms:.1f} ms, p95 {latency.p95_ms:.1f} ms, p99 {latency.p99_ms:.1f} ms")),
        ("pace", _pace(report)),
        *_checkouts(report.money),
        ("mirrors", _mirrors(report)),
        *((f"  {mirror.channel}", _mirror(mirror)) for mirror in report.mirrors),
        ("  the server", _told_difference(report.proof.server_difference)),
        ("relay", _relay(report)),
        ("webhooks", _webhooks(report)),
        ("again", Text(report.command, "bold cyan")),
    ]


def _outcomes(report: DemoReport) -> str:
    outcomes = {
        "sold": report.sold,
        "refused": report.refused,
        "declined": report.declined,
        "released": report.released,
        "expired": report.expired,
        "failed": report.failed,
    }
    return ", ".join(f"{count:,} {name}" for name, count in outcomes.items() if count)


def _auditor(report: DemoReport) -> Text:
    if report.verification is None:
        return Text("has not looked", "yellow")
    checks = report.verification.checks
    examined = f" ({len(checks)} checks, {sum(check.examined for check in checks):,} facts examined)"
    if report.verification.ok:
        return Text.assemble(("every invariant holds", "bold green"), (examined, "dim"))
    wrong = ", ".join(check.name for check in checks if not check.ok)
    return Text.assemble((f"violated: {wrong}", "bold red"), (examined, "dim"))


def _repeats(report: DemoReport) -> Text:
    differ = _good_if(report.duplicates_wrong == 0, f"{report.duplicates_wrong:,} differently")
    return Text(f"{report.duplicates:,} keys answered twice, ") + differ


def _busy(report: DemoReport) -> Text:
    told = f"{report.retries:,} requests sent again after 429, 503 or a broken connection"
    return Text(told, "yellow" if report.retries else "")


def _read_back(report: DemoReport) -> Text:
    if report.read_back == 0:
        return Text("no booking could be read", "yellow")
    return Text(f"{report.read_back:,} bookings compared with the ledger: ") + _good_if(
        report.read_back_wrong == 0, f"{report.read_back_wrong:,} differ"
    )


def _pace(report: DemoReport) -> Text:
    rates = f"{report.bookings_per_second:,.0f} bookings/s, {report.requests_per_second:,.0f} requests/s"
    return Text(rates).append(", all on this machine", "dim")


def _mirrors(report: DemoReport) -> Text:
    proof = report.proof
    equal = _good_if(proof.equal == proof.mirrors, f"{proof.equal} of {proof.mirrors}")
    return Text("equal to the ledger: ").append_text(equal).append(f" ({proof.cells:,} cells each)", "dim")


def _mirror(mirror: MirrorReport) -> Text:
    text = _told_difference(mirror.difference)
    text.append(f", {mirror.events:,} events, lag p50 {mirror.lag_p50_ms:.1f} ms, p99 {mirror.lag_p99_ms:.1f} ms")
    if mirror.away is not None:
        text.append(f"\naway for {mirror.away.seconds:.1f} s, ")
        restored = mirror.away.restored_ms
        text.append("not right again" if restored is None else f"right {restored:,.0f} ms after its return")
        text.append(f"; {mirror.older:,} late webhooks were no news")
    return text


def _told_difference(difference: str | None) -> Text:
    return _good_if(difference is None, "equal" if difference is None else f"differs: {difference}")


def _checkouts(money: MoneyReport) -> list[tuple[str, Text]]:
    latency, coupon = money.latency, money.coupon
    counts = f"{money.paid:,} paid, {money.declined:,} declined, {money.refunded:,} refunded, {money.challenged:,} challenged"
    used = _good_if(coupon.used <= coupon.limit, f"{coupon.used:,} of {coupon.limit:,} uses")
    return [
        ("checkouts", Text(counts)),
        ("  latency", Text(f"p50 {latency.p50_ms:.1f} ms, p99 {latency.p99_ms:.1f} ms").append(_AT_ONCE, "dim")),
        ("  money", Text(f"{amounts(money.taken_minor)} taken, {amounts(money.given_back_minor)} given back")),
        ("  cancelled", Text(f"{amounts(money.kept_minor)} kept by policy")),
        ("  coupon", Text(f"{coupon.code}: ").append_text(used).append(f", {coupon.late:,} came too late")),
        ("  gateway", _outage(money)),
        ("  receipts", _receipts(money)),
    ]


def _outage(money: MoneyReport) -> Text:
    outage = money.outage
    if outage.seconds is None:
        return Text("answered all the time")
    text = Text(f"failed for {outage.seconds:.1f} s, {outage.put_off:,} requests told to come back, ")
    if outage.ended_seconds is None or money.unfinished:
        return text.append(f"{money.unfinished:,} checkouts have not ended", "bold red")
    return text.append(f"all had ended {outage.ended_seconds:.1f} s later")


def _books(money: MoneyReport) -> Text:
    counts = {
        "orphan charges": money.orphan_charges,
        "confirmed and unpaid": money.confirmed_unpaid,
        "double charges": money.double_charges,
        "other differences": money.other,
    }
    text = Text(f"{money.payments:,} payments in the gateway's list: ")
    for label, count in counts.items():
        if count or label != "other differences":
            text.append_text(_good_if(count == 0, f"{count:,} {label}")).append(", ")
    off = ", ".join(f"{currency} {amount:,}" for currency, amount in money.imbalances.items())
    return text.append_text(_good_if(not off, f"off balance by {off}" if off else "books balance"))


def _receipts(money: MoneyReport) -> Text:
    differ = _good_if(money.receipts_wrong == 0, f"{money.receipts_wrong:,} differ")
    return Text(f"{money.receipts:,} answers to buyers held against that list: ").append_text(differ)


def _relay(report: DemoReport) -> Text:
    proof = report.proof
    if not proof.relay_killed:
        return Text("left alone")
    if proof.relay_recovered_seconds is None:
        return Text("killed with -9, and the mirrors did not recover", "bold red")
    return Text(f"killed with -9; every mirror had what was missing {proof.relay_recovered_seconds:.1f} s later")


def _webhooks(report: DemoReport) -> Text:
    sent = report.proof.webhooks
    lost = sent.dead + sent.pending
    text = Text(f"{sent.delivered:,} delivered, {sent.retried:,} of them retried, ")
    text.append_text(_good_if(lost == 0, f"{sent.dead:,} dead, {sent.pending:,} waiting"))
    return text.append_text(_good_if(not report.proof.forged, f", {report.proof.forged:,} with a wrong signature"))


def _good_if(good: bool, text: str) -> Text:
    return Text(text, "bold green" if good else "bold red")
