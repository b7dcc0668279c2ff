"""The codes that stand in a request's path."""

import re
from collections.abc import Mapping

from onebook.api.wire import CODE_PATTERN
from onebook.ledger.failures import UnknownName, Unprocessable

_CODE = re.compile(CODE_PATTERN)


def new_code(path: Mapping[str, str], name: str) -> str:
    """The code that the path gives to something new. Raises Unprocessable for what cannot be one."""
    code = path[name]
    if not _CODE.fullmatch(code):
        raise Unprocessable("invalid", f"a code has the form {CODE_PATTERN}", name)
    return code


def existing_code(path: Mapping[str, str], name: str, what: str | None = None) -> str:
    """The code of something that should exist. Raises UnknownName for what cannot be a code."""
    code = path[name]
    if not _CODE.fullmatch(code):
        raise UnknownName(what or name, code)
    return code
