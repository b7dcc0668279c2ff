"""What the embedded NATS is told: where it listens, what it keeps, and who may do what."""

import os
import secrets
from pathlib import Path

import msgspec

HOST = "127.0.0.1"
STREAM = "ONEBOOK"
SUBJECT = "onebook.events"
MAX_PAYLOAD = "64MB"  # the most that NATS takes; JetStream stores no message over 32 MiB
MAX_PENDING = "128MB"  # to a client that does not read; at least one message of the largest size must fit
OVERHEAD = 2  # the stream is bounded by itself; what is written anew while old blocks still lie there needs room too


class Passwords(msgspec.Struct, frozen=True):
    """Of the two users; made once, so that clients that outlive a restart are let in again."""

    relay: str
    consumer: str


class Credentials(msgspec.Struct, frozen=True):
    """Where NATS answers: one URL for who publishes, one for who only reads."""

    relay_url: str
    consumer_url: str


def passwords_in(file: Path) -> Passwords:
    """Those of the file, which is made when it is missing or unreadable: nothing but our own clients knows them."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Passwords)
    except (FileNotFoundError, msgspec.DecodeError):
        made = Passwords(relay=secrets.token_urlsafe(32), consumer=secrets.token_urlsafe(32))
        write_private(file, msgspec.json.encode(made))
        return made


def credentials(port: int, passwords: Passwords) -> Credentials:
    """The URLs of both users."""
    return Credentials(
        relay_url=f"nats://relay:{passwords.relay}@{HOST}:{port}",
        consumer_url=f"nats://consumer:{passwords.consumer}@{HOST}:{port}",
    )


def server_settings(store: Path, port: int, passwords: Passwords, max_store_mib: int) -> str:
    """The configuration file. JSON is valid in it, and is how texts get quoted.

    The consumer is given no way to make a JetStream consumer: that would let it name any subject for JetStream to publish to.
    It hears what the stream repeats once it has stored it, and reads back by DIRECT.GET, which changes nothing. What it could do
    on purpose is name the stream's subject for the answer to a question: the stream then has a message without the relay's
    signature, and everybody refuses it (see broker/gate.py). Even who publishes can only write what is refused without the key.
    """
    quoted = msgspec.json.encode(str(store)).decode()
    return f"""# Written anew at every start.
server_name: onebook
listen: "{HOST}:{port}"
ports_file_dir: {quoted}
max_payload: {MAX_PAYLOAD}
max_pending: {MAX_PENDING}
jetstream {{
  store_dir: {quoted}
  max_memory_store: 1MB
  max_file_store: {max_store_mib * OVERHEAD}MB
}}
accounts {{
  ONEBOOK {{
    jetstream: enabled
    users: [
      {{
        user: relay, password: "{passwords.relay}"
        permissions {{
          publish {{ allow: [
            "{SUBJECT}", "$JS.API.STREAM.*.{STREAM}", "$JS.API.STREAM.MSG.GET.{STREAM}", "$JS.API.DIRECT.GET.{STREAM}"
          ] }}
          subscribe {{ allow: ["_INBOX.relay.>", "{SUBJECT}.stored"] }}
        }}
      }}
      {{
        user: consumer, password: "{passwords.consumer}"
        permissions {{
          publish {{ allow: ["$JS.API.STREAM.INFO.{STREAM}", "$JS.API.DIRECT.GET.{STREAM}"] }}
          subscribe {{ allow: ["_INBOX.consumer.>", "{SUBJECT}.stored"] }}
        }}
      }}
    ]
  }}
}}
"""


def write_private(file: Path, content: bytes) -> None:
    """Writes a file that only we may read, whole or not at all."""
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
    draft.replace(file)
