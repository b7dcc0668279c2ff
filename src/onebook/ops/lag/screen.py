"""A reading for people: a table for a terminal, a line for a pipe."""

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onebook.readings.pipeline import Consumer, Pipeline

MIB = 1024 * 1024
LATE_SECONDS = 1.0
NOT_KNOWN = "–"


def screen_of(pipeline: Pipeline) -> RenderableType:
    """Everything: what flows, every consumer, what stands in the way."""
    return Group(_flow(pipeline), _table(pipeline), *_obstacles(pipeline))


def line_of(pipeline: Pipeline) -> str:
    """The same in a line: rates, and each consumer's lag and 99th percentile."""
    consumers = "  ".join(
        f"{each.name} lag {_number(_milliseconds(each.lag_seconds))} ms p99 {_number(each.end_to_end_p99_ms)} ms"
        for each in pipeline.consumers
    )
    return f"holds/s {_number(pipeline.holds_per_second)}  {consumers or 'no consumer reports'}"


def _flow(pipeline: Pipeline) -> Text:
    return Text(
        f"holds/s {_number(pipeline.holds_per_second)}   commands/s {_number(pipeline.commands_per_second)}   "
        f"stream clients {_number(pipeline.clients)}",
        "bold",
    )


def _table(pipeline: Pipeline) -> RenderableType:
    if not pipeline.consumers:
        return Text("no consumer reports: the ledger runs without a pipeline", "dim")
    table = Table("consumer", box=SIMPLE, padding=0)
    for heading in ("events/s", "lag ms", "p50 ms", "p99 ms", "behind KiB", "repeats", "refills", "parked"):
        table.add_column(heading, justify="right", no_wrap=True)
    for consumer in pipeline.consumers:
        table.add_row(Text(consumer.name), *_cells(consumer))
    return table


def _cells(consumer: Consumer) -> list[Text]:
    late = consumer.lag_seconds is not None and consumer.lag_seconds > LATE_SECONDS
    behind = None if consumer.backlog_bytes is None else consumer.backlog_bytes / 1024
    return [
        Text(_number(consumer.events_per_second)),
        Text(_number(_milliseconds(consumer.lag_seconds)), "bold red" if late else ""),
        Text(_number(consumer.end_to_end_p50_ms)),
        Text(_number(consumer.end_to_end_p99_ms)),
        Text(_number(behind)),
        Text(_number(consumer.duplicates)),
        Text(_number(consumer.refills)),
        Text(_number(consumer.parked), "yellow" if consumer.parked else ""),
    ]


def _obstacles(pipeline: Pipeline) -> list[Text]:
    slot, webhooks = pipeline.slot, pipeline.webhooks
    lines = []
    if slot.retained_bytes is not None:
        left = f", {slot.safe_bytes / MIB:,.0f} MiB left" if slot.safe_bytes is not None else ""
        lost = f", lost {slot.times_lost} times" if slot.times_lost else ""
        lines.append(Text(f"slot holds back {slot.retained_bytes / MIB:,.1f} MiB{left}{lost}", "red" if lost else ""))
    lines.append(
        Text(
            f"webhooks not finished {_number(webhooks.backlog)}, breakers open {webhooks.breakers_open}, "
            f"dead letters {_number(pipeline.dead_letters)}",
            "yellow" if webhooks.breakers_open or pipeline.dead_letters else "",
        )
    )
    money = pipeline.money
    if money.under_way is not None:
        gateway = "answers" if money.gateway_is_open else "DOES NOT ANSWER"
        lines.append(
            Text(
                f"checkouts paid/s {_number(money.paid_per_second)}, under way {_number(money.under_way)}, oldest "
                f"{_number(money.oldest_seconds)} s, gateway {gateway}, refunds failed {_number(money.refunds_failed)}",
                "" if money.gateway_is_open and not money.refunds_failed else "red",
            )
        )
    if pipeline.forged_messages:
        lines.append(Text(f"messages refused as forged {_number(pipeline.forged_messages)}", "red"))
    return lines


def _number(value: float | None) -> str:
    """Three figures or so; a dash for what nobody reports."""
    if value is None:
        return NOT_KNOWN
    return f"{value:,.1f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
