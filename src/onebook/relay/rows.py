"""A row of the log as it comes through the WAL, every value a text, made into its event."""

import re
from datetime import datetime
from typing import Any

from onebook.log.read import CloudEvent, event_of
from onebook.relay.pgoutput import ProtocolError

COLUMNS = frozenset({"txn", "position", "time", "type", "subject", "venues", "traceparent", "data"})

_PLAIN = re.compile(r"[a-z0-9_-]+")  # one venue, as nearly always; a null is printed as NULL
_ELEMENT = re.compile(r'(?:"((?:[^"\\]|\\.)*)"|([^",{}\\\s]+))(?:,(?!$)|$)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def event_of_texts(columns: tuple[str, ...], texts: list[str | None]) -> CloudEvent:
    """The event of a row of the log. Raises ProtocolError where it cannot be one."""
    try:
        row: dict[str, Any] = dict(zip(columns, texts, strict=True))
        row["txn"] = int(row["txn"])
        row["position"] = int(row["position"])
        row["time"] = datetime.fromisoformat(row["time"])
        row["venues"] = text_array(row["venues"])
        return event_of(row)
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise ProtocolError(f"a row of the log cannot be read: {error!r}") from error


def text_array(text: str) -> list[str]:
    """The elements of a one-dimensional text[] without nulls, as PostgreSQL prints it. Raises ValueError."""
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError(f"{text!r} is not an array")
    inner = text[1:-1]
    if _PLAIN.fullmatch(inner):
        return [inner]
    elements: list[str] = []
    at = 0
    while at < len(inner):
        found = _ELEMENT.match(inner, at)
        if found is None or found[2] == "NULL":
            raise ValueError(f"{text!r} is not an array of texts")
        elements.append(_ESCAPED.sub(r"\1", found[1]) if found[2] is None else found[2])
        at = found.end()
    return elements
