"""What a benchmark set out to show, beside what it has shown: missed targets are told like those that were reached."""

from collections.abc import Sequence

import msgspec
from rich.table import Table

MISSED = "[red]missed[/]"


class Target(msgspec.Struct, frozen=True):
    """One figure, and its bound."""

    what: str
    unit: str
    value: float | None
    """None where it could not be measured, which reaches nothing."""
    at_most: float | None = None
    at_least: float | None = None
    reached: bool = False


def at_most(what: str, value: float | None, limit: float, unit: str = "") -> Target:
    """Reached when the figure does not exceed the limit."""
    return Target(what, unit, value, at_most=limit, reached=value is not None and value <= limit)


def at_least(what: str, value: float | None, limit: float, unit: str = "") -> Target:
    """Reached when the figure is not below the limit."""
    return Target(what, unit, value, at_least=limit, reached=value is not None and value >= limit)


def targets_table(targets: Sequence[Target]) -> Table:
    """All of them, for people."""
    table = Table(title="Targets", title_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("target", justify="right")
    table.add_column("")
    for target in targets:
        bound = f"≤ {target.at_most:,g}" if target.at_most is not None else f"≥ {target.at_least:,g}"
        measured = "not measured" if target.value is None else f"{target.value:,.2f} {target.unit}"
        table.add_row(target.what, measured, f"{bound} {target.unit}", "reached" if target.reached else MISSED)
    return table
