"""E-mail addresses in the one form by which they are compared. Pure."""

import re

MAX_LENGTH = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets

_ADDRESS = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,253}")


def normal_form(text: str) -> str | None:
    """Trimmed, in lower case, its domain as IDNA has it; None for what is no address.

    Providers that tell upper from lower case before the @ are not known; two spellings of one address are.
    """
    trimmed = text.strip().lower()
    if len(trimmed) > MAX_LENGTH or not _ADDRESS.fullmatch(trimmed):
        return None
    mailbox, _, domain = trimmed.rpartition("@")
    try:
        # IDNA 2003, as Python brings it: a few letters (ß) that newer registries keep apart are one to it.
        return f"{mailbox}@{domain.removesuffix('.').encode('idna').decode('ascii')}"
    except UnicodeError:
        return None
