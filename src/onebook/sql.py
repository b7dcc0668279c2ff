"""Named statements in .sql files: one file per room, each statement under `-- name:` with a line that says its purpose."""

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def statements(package: str, file: str = "queries.sql") -> dict[str, str]:
    """The statements of a package's file, by name. Raises ValueError for a name given twice."""
    parts = _NAME.split((files(package) / file).read_text("utf-8"))
    names, bodies = parts[1::2], parts[2::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{package}/{file} names a statement twice")
    return {name: body.strip().rstrip(";") for name, body in zip(names, bodies, strict=True)}
