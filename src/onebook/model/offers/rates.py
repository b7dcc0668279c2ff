"""From an item and its rate plan to lines: prices cell by cell, supplements for guests, the discount for length."""

from bisect import bisect_left
from collections.abc import Mapping
from datetime import date, datetime

from onebook.model.commands import Line
from onebook.model.hours import WEEKDAYS
from onebook.model.money import share
from onebook.model.offers.plan import RatePlan
from onebook.model.offers.priced import Asked, CannotBePriced, NoRate
from onebook.model.offers.quote import LineKind
from onebook.model.offers.sheet import Sheet
from onebook.model.offers.tariff import Tariff
from onebook.model.periods import night_date
from onebook.model.resource import Unit, time_label

_NOTHING = Tariff(plans={}, taxes={}, policies={})


def rated(index: int, asked: Asked, tariffs: Mapping[str, Tariff]) -> Sheet:
    """The sheet of an item with all that its rate plan says. Raises CannotBePriced."""
    line = asked.line
    venue, _, resource = line.resource.key.partition("/")
    tariff = tariffs.get(venue, _NOTHING)
    code = tariff.plan_of(resource, asked.rate_plan)
    if code is None:
        raise CannotBePriced(_no_rate(index, line, 0))
    plan = tariff.plans[code]
    adults, children = _guests(asked, plan)
    sheet = Sheet(index, asked, venue, tariff, code, plan, _dates(line), adults, children)
    _add_prices(sheet)
    _add_supplements(sheet)
    sheet.gross_minor = sheet.total_minor
    _take_length_discount(sheet)
    sheet.net_minor = sheet.total_minor
    return sheet


def _dates(line: Line) -> list[date]:
    resource = line.resource
    zone = resource.venue.zone
    if resource.unit is Unit.NIGHT:
        return [night_date(number) for number in range(line.first, line.end)]
    if resource.unit is Unit.SESSION:
        return [datetime.fromisoformat(line.starts).astimezone(zone).date()]
    step_seconds = resource.cell_minutes * 60
    return [datetime.fromtimestamp(number * step_seconds, zone).date() for number in range(line.first, line.end)]


def _guests(asked: Asked, plan: RatePlan) -> tuple[int, int]:
    if asked.guests is not None:
        return asked.guests.adults, asked.guests.children
    return (1 if plan.occupancy is None else plan.occupancy.included), 0


def _add_prices(sheet: Sheet) -> None:
    # Cells of one price become one line, wherever they lie: a month with its weekends has two.
    cells: dict[int, int] = {}
    quantity = sheet.asked.line.quantity
    for position, price_minor in enumerate(cell_prices(sheet.plan, sheet.dates)):
        if price_minor is None:
            raise CannotBePriced(_no_rate(sheet.index, sheet.asked.line, position))
        if position == 0:
            sheet.first_cell_minor = price_minor * quantity
        cells[price_minor] = cells.get(price_minor, 0) + 1
    for price_minor, count in cells.items():
        sheet.add_units(LineKind.PRICE, sheet.plan_code, sheet.plan.name, count * quantity, price_minor)


def cell_prices(plan: RatePlan, dates: list[date]) -> list[int | None]:
    """What a unit costs in each cell, by the dates on which they begin, ascending; None where the plan does not sell."""
    overrides = [each for each in plan.overrides if each.starts <= dates[-1] and dates[0] < each.ends]
    if not overrides and plan.weekdays is None:
        return [plan.price_minor] * len(dates)
    days = list(dict.fromkeys(dates))
    weekdays = [WEEKDAYS[day.weekday()] for day in days]
    prices = [_weekday_price(plan, weekday) for weekday in weekdays]
    # Painted one over the other, so that the last one wins; the plan's bound on overrides bounds the work.
    for override in overrides:
        first, end = bisect_left(days, override.starts), bisect_left(days, override.ends)
        for position in range(first, end):
            if not override.weekdays or weekdays[position] in override.weekdays:
                prices[position] = override.price_minor
    by_date = dict(zip(days, prices, strict=True))
    return [by_date[day] for day in dates]


def _weekday_price(plan: RatePlan, weekday: str) -> int | None:
    price_minor: int | None = None if plan.weekdays is None else getattr(plan.weekdays, weekday)
    return plan.price_minor if price_minor is None else price_minor


def _add_supplements(sheet: Sheet) -> None:
    occupancy = sheet.plan.occupancy
    if occupancy is None:
        return
    adults = max(0, sheet.adults - occupancy.included)
    children = max(0, sheet.children - max(0, occupancy.included - sheet.adults))
    quantity = sheet.asked.line.quantity
    for label, extra, unit_minor in (
        ("Extra adult", adults, occupancy.adult_minor),
        ("Extra child", children, occupancy.child_minor),
    ):
        if extra and unit_minor:
            sheet.first_cell_minor += extra * quantity * unit_minor
            times = extra * quantity * len(sheet.dates)
            sheet.add_units(LineKind.SUPPLEMENT, sheet.plan_code, label, times, unit_minor)


def _take_length_discount(sheet: Sheet) -> None:
    reached = [each for each in sheet.plan.length_discounts if each.min_cells <= len(sheet.dates)]
    if not reached:
        return
    best = max(reached, key=lambda each: (each.min_cells, each.basis_points))
    sheet.add(LineKind.DISCOUNT, sheet.plan_code, "Length of stay", -share(sheet.gross_minor, best.basis_points))


def _no_rate(index: int, line: Line, position: int) -> NoRate:
    resource = line.resource
    cell = line.session or time_label(resource.unit, line.first + position, resource.cell_minutes, resource.venue.zone)
    return NoRate(item=index, resource=resource.key, cell=cell)
