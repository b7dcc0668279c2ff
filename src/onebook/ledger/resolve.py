"""From what a client asks for to lines that can be decided: the resource is found and the period becomes cells."""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from onebook.ledger.catalog import Catalog
from onebook.ledger.failures import UnknownName, Unprocessable
from onebook.model.commands import (
    MAX_CELLS_PER_BASKET,
    MAX_CELLS_PER_CHANGE,
    MAX_CELLS_PER_ITEM,
    InventoryChange,
    Line,
    Wanted,
)
from onebook.model.periods import BadTime, midnight_number, minute_label, minute_number, night_number
from onebook.model.resource import Resource, Unit


async def resolve(wanted: Sequence[Wanted], catalog: Catalog) -> tuple[Line, ...]:
    """The lines of a basket. Raises UnknownName (404) and Unprocessable (422) with the field's JSON pointer.

    Asks the database only for names that this process has not seen.
    """
    await catalog.read_resources(item.resource for item in wanted)
    await catalog.read_sessions(_sessions(wanted))
    return _lines(wanted, catalog)


def resolve_known(wanted: Sequence[Wanted], catalog: Catalog) -> tuple[Line, ...] | None:
    """The same from what this process has seen, without waiting; None if there is a name that it has not."""
    if catalog.missing_resources(item.resource for item in wanted) or catalog.missing_sessions(_sessions(wanted)):
        return None
    return _lines(wanted, catalog)


def _sessions(wanted: Sequence[Wanted]) -> list[tuple[str, str]]:
    return [(item.resource.partition("/")[0], item.session) for item in wanted if item.session is not None]


def _lines(wanted: Sequence[Wanted], catalog: Catalog) -> tuple[Line, ...]:
    lines = tuple([_line(item, index, catalog) for index, item in enumerate(wanted)])
    if len(lines) > 1:
        _refuse_excess(lines)
    return lines


async def resolve_again(lines: Iterable[Line], catalog: Catalog) -> tuple[Line, ...]:
    """The same lines from the definitions as they are now."""
    return await resolve([line.wanted for line in lines], catalog)


def without_turnaround(lines: Iterable[Line]) -> tuple[Line, ...]:
    """The same lines, taking exactly the cells they name: a block needs no cleaning."""
    return tuple(replace(line, resource=replace(line.resource, buffer_before=0, buffer_after=0)) for line in lines)


class Cells(msgspec.Struct, frozen=True):
    """Cells to change, by `from` and `to` or by session, and their new values as in InventoryChange."""

    starts: str | None
    ends: str | None
    session: str | None
    values: dict[str, int | bool | None]


async def resolve_changes(
    changes: Sequence[Cells], resource: Resource, catalog: Catalog
) -> tuple[InventoryChange, ...]:
    """Changes by cell number. On a minute grid a date stands for the venue's midnight."""
    found: list[InventoryChange] = []
    for index, change in enumerate(changes):
        first, end = await _range(change, index, resource, catalog)
        found.append(InventoryChange(first=first, end=end, **change.values))  # type: ignore[arg-type]
    cells = sum(change.end - change.first for change in found)
    if cells > MAX_CELLS_PER_CHANGE:
        raise Unprocessable(
            "change-too-large",
            f"one request changes at most {MAX_CELLS_PER_CHANGE} cells; this one changes {cells}",
            "",
        )
    return tuple(found)


async def _range(change: Cells, index: int, resource: Resource, catalog: Catalog) -> tuple[int, int]:
    if resource.unit is Unit.SESSION:
        if change.session is None or change.starts is not None or change.ends is not None:
            raise Unprocessable("by-session", "this resource is sold by session: give session", f"/{index}")
        session = await catalog.find_session(resource.venue.code, change.session, f"/{index}/session")
        return session.id, session.id + 1
    if change.session is not None:
        raise Unprocessable("not-by-session", "this resource is sold by period: give from and to", f"/{index}/session")
    first = _boundary(change.starts, resource, f"/{index}/from")
    end = _boundary(change.ends, resource, f"/{index}/to")
    if end <= first:
        raise Unprocessable("reversed-period", "`to` must come after `from`", f"/{index}/to")
    return first, end


def _boundary(text: str | None, resource: Resource, pointer: str) -> int:
    if text is not None and resource.unit is Unit.MINUTE and len(text) == len("2026-12-01"):
        try:
            return midnight_number(text, resource.cell_minutes, resource.venue.zone)
        except BadTime as error:
            raise Unprocessable("bad-time", str(error), pointer) from error
    return cell_number(text, resource, pointer)


def _line(wanted: Wanted, index: int, catalog: Catalog) -> Line:
    try:
        resource = catalog.resource(wanted.resource)
    except KeyError:
        raise UnknownName("resource", wanted.resource, f"/items/{index}/resource") from None
    if resource.unit is Unit.SESSION:
        return _session_line(wanted, index, resource, catalog)
    if wanted.session is not None:
        raise Unprocessable(
            "not-by-session", "this resource is sold by period: give from and to", f"/items/{index}/session"
        )
    return _period_line(wanted, index, resource)


def _session_line(wanted: Wanted, index: int, resource: Resource, catalog: Catalog) -> Line:
    if wanted.session is None or wanted.starts is not None or wanted.ends is not None:
        raise Unprocessable(
            "by-session", "this resource is sold by session: give session, not from and to", f"/items/{index}"
        )
    try:
        session = catalog.session(resource.venue.code, wanted.session)
    except KeyError:
        raise UnknownName("session", wanted.session, f"/items/{index}/session") from None
    return Line(
        resource=resource,
        first=session.id,
        end=session.id + 1,
        quantity=wanted.quantity,
        starts=session.starts,
        ends=session.ends,
        session=session.code,
        wanted=wanted,
    )


def _period_line(wanted: Wanted, index: int, resource: Resource) -> Line:
    first, end = (
        cell_number(wanted.starts, resource, f"/items/{index}/from"),
        cell_number(wanted.ends, resource, f"/items/{index}/to"),
    )
    starts, ends = wanted.starts or "", wanted.ends or ""
    if end <= first:
        raise Unprocessable("reversed-period", "`to` must come after `from`", f"/items/{index}/to")
    if end - first > MAX_CELLS_PER_ITEM:
        raise Unprocessable(
            "period-too-long",
            f"an item spans at most {MAX_CELLS_PER_ITEM} cells of the grid; this one spans {end - first}",
            f"/items/{index}/to",
        )
    if resource.unit is Unit.MINUTE:
        zone = resource.venue.zone
        starts = minute_label(first, resource.cell_minutes, zone)
        ends = minute_label(end, resource.cell_minutes, zone)
    return Line(
        resource=resource,
        first=first,
        end=end,
        quantity=wanted.quantity,
        starts=starts,
        ends=ends,
        session=None,
        wanted=wanted,
    )


def cell_number(text: str | None, resource: Resource, pointer: str) -> int:
    """The cell of a night or minute resource that begins at a time. Raises Unprocessable."""
    if text is None:
        raise Unprocessable("period-missing", "this resource is sold by period: give from and to", pointer)
    try:
        if resource.unit is Unit.NIGHT:
            return night_number(text)
        return minute_number(text, resource.cell_minutes)
    except BadTime as error:
        raise Unprocessable("bad-time", str(error), pointer) from error


def _refuse_excess(lines: Sequence[Line]) -> None:
    cells = sum(line.end - line.first for line in lines)
    if cells > MAX_CELLS_PER_BASKET:
        raise Unprocessable(
            "basket-too-large",
            f"a basket spans at most {MAX_CELLS_PER_BASKET} cells over all items; this one spans {cells}",
            "/items",
        )
