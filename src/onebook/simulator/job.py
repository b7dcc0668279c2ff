"""What the simulator is told when it is started, and what follows from its password."""

import base64
import hmac

import msgspec

from onebook.config import Logging


class SimulatorJob(msgspec.Struct, frozen=True):
    """A line of JSON on standard input (see onebook.job)."""

    host: str
    port: int
    """0: any free one, for tests that ask the server for its URL."""
    folder: str
    """Where the journal lies; made if it does not exist."""
    secret: str
    """The password of the API."""
    notify_url: str | None
    """Where changes of a payment are posted to; None: nowhere."""
    log: Logging
    notify_all: bool = True
    """False: only of changes that no call has made, such as a payer's; what a call has made its answer tells."""


def notification_secret(secret: str) -> str:
    """The secret that signs notifications, derived from the password so that there is only one to hand around."""
    return "whsec_" + base64.b64encode(hmac.digest(secret.encode(), b"notifications", "sha256")).decode()
