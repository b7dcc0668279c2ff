"""Request headers that mean something to us, and what they may look like."""

import re

from onebook.api.problems import Problem

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_VERSION = re.compile(r'(?:W/)?("?)([0-9]{1,18})\1')

DESCRIPTIONS = {
    "Idempotency-Key": "1 to 255 visible ASCII characters; the same key has one effect and one answer.",
    "If-Match": "The resource's version to change, as an ETag; another one by now is answered 412.",
    "If-None-Match": "ETags that are known already; unchanged is answered 304.",
    "traceparent": "W3C Trace Context; passed on with the event. One that is malformed is ignored.",
}


def idempotency_key(value: str | None) -> str:
    """The key. Raises Problem 400 where it is missing or not visible ASCII."""
    if value is None:
        raise Problem(400, "idempotency-key-missing", "The Idempotency-Key header is missing")
    if not _KEY.fullmatch(value):
        raise Problem(400, "idempotency-key-invalid", "The Idempotency-Key must have 1 to 255 visible ASCII characters")
    return value


def expected_version(value: str | None) -> int | None:
    """The version that If-Match names; None for any. Raises Problem 400."""
    if value is None or value.strip() == "*":
        return None
    found = _VERSION.fullmatch(value.strip())
    if found is None:
        raise Problem(400, "if-match-invalid", 'If-Match must name one version, for example "7"')
    return int(found[2])


def traceparent_of(value: str | None) -> str | None:
    """The trace's place, if it is well-formed: a broken trace must not break a request (W3C Trace Context)."""
    return value if value is not None and _TRACEPARENT.fullmatch(value) else None


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether a client knows this state already (weak comparison, RFC 9110, section 13.1.2)."""
    if if_none_match is None:
        return False
    known = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return "*" in known or etag.removeprefix("W/") in known
