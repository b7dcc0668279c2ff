"""Secret keys in files: made once, by one process even if several try, and read by its owner alone."""

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

KEY_BYTES = 32


def secret_key(path: Path) -> bytes:
    """The key of a file; where there is none, random bytes become one. Raises ValueError for a file that holds no key."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_once(path, os.urandom(KEY_BYTES))
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} holds {len(key)} bytes; a key has {KEY_BYTES}")
    return key


def write_once(path: Path, content: bytes) -> None:
    """Put a complete file in place that only its owner reads; whoever comes second leaves the first's alone."""
    draft = path.with_name(f".{uuid4()}.draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
