"""Identifiers that sort by time: UUID version 7 (RFC 9562, section 5.7), so that new rows lie together in the index."""

import os
import time
from itertools import count
from random import Random

# 12 bits count within a millisecond, from a random start, so that ids of one process never repeat.
_counter = count(int.from_bytes(os.urandom(2)))
# Distinct, not secret: nobody gets at a booking by knowing its id. A system call for each would cost more than the rest.
_random = Random(os.urandom(32))  # noqa: S311
_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)


def new_id() -> str:
    """A new UUIDv7 in its text form: 48 bits of milliseconds, 12 bits of counter, 62 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    sequence = next(_counter) & 0xFFF
    digits = f"{(milliseconds << 80) | (sequence << 64) | _random.getrandbits(62) | _VERSION_AND_VARIANT:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
