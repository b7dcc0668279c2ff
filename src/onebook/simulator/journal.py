"""The journal: what became of every payment, line by line. The last line of a payment is what it is.

A line is in the kernel's hands before the call that made it is answered, so kill -9 of the process loses nothing that was told;
it is not forced to the disk, since no money moves here, so a power cut may.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from onebook.simulator.documents import Record

NAME = "payments.jsonl"


class JournalTaken(Exception):
    """Another simulator writes here."""


class Journal:
    """The file, open; no other process may write to it meanwhile."""

    def __init__(self, folder: Path) -> None:
        """Raises JournalTaken."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise JournalTaken(f"another simulator writes to {self._path}") from None
        self._length = os.fstat(self._file).st_size
        self._encoder = msgspec.json.Encoder()

    def replay(self) -> Iterator[Record]:
        """Every line, from the first; the rest of a line that was not written to its end is cut off."""
        decoder = msgspec.json.Decoder(Record)
        whole = 0
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                yield decoder.decode(line)
        self._cut(whole)

    def append(self, record: Record) -> None:
        """Raises OSError, and then the journal is as it was."""
        line = self._encoder.encode(record) + b"\n"
        written = os.write(self._file, line)
        if written != len(line):
            self._cut(self._length)
            raise OSError("the journal takes no more: is the disk full?")
        self._length += written

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _cut(self, length: int) -> None:
        os.ftruncate(self._file, length)
        self._length = length
