"""A message is the relay's exactly as it was sent, under any of the keys in the folder, or it is nobody's."""

import os
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebook.broker import signing
from onebook.broker.protocol import Message, MessageKind
from onebook.broker.signing import SIGNING_FILE, Flaw, StreamKeys
from onebook.key_file import KEY_BYTES

KEYS = StreamKeys(bytes(KEY_BYTES))

MESSAGES = st.builds(
    Message,
    lsn=st.integers(1, 2**63 - 1),
    previous=st.integers(0, 2**63 - 1),
    committed_at=st.floats(0, 1e10),
    kind=st.sampled_from(MessageKind),
    horizon=st.integers(0, 2**63 - 1),
    body=st.binary(max_size=50),
)


@given(MESSAGES)
def test_what_is_signed_is_genuine(message: Message) -> None:
    """Every message verifies as it was signed."""
    assert KEYS.flaw_of(KEYS.signed(message)) is None
    assert KEYS.flaw_of(message) is Flaw.UNSIGNED


@given(MESSAGES, MESSAGES)
def test_no_signature_fits_another_message(message: Message, other: Message) -> None:
    """Whichever fields are changed, the signature is wrong."""
    forged = msgspec.structs.replace(other, signature=KEYS.signed(message).signature)
    assert KEYS.flaw_of(forged) == (None if other == message else Flaw.WRONG_SIGNATURE)


@given(st.text(max_size=80))
def test_any_text_is_a_bad_signature(text: str) -> None:
    """Whatever stands where the signature should, it is refused and breaks nothing."""
    for signature in (text, f"v1,{text}", KEYS.signed(Message(1, 0, 1.0)).signature[:20] + text):
        assert KEYS.flaw_of(Message(1, 0, 1.0, signature=signature)) is not None


def test_another_key_signs_for_nobody(tmp_path: Path) -> None:
    """A message signed by a key that is not in the folder is refused."""
    stranger = StreamKeys(os.urandom(KEY_BYTES))
    assert StreamKeys.open(tmp_path).flaw_of(stranger.signed(Message(1, 0, 1.0))) is Flaw.UNKNOWN_KEY


def test_the_key_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    """Who opens the folder later has the same key, in a file that nobody else reads."""
    message = StreamKeys.open(tmp_path / "keys").signed(Message(1, 0, 1.0))
    assert StreamKeys.open(tmp_path / "keys").flaw_of(message) is None
    assert stat.S_IMODE((tmp_path / "keys" / SIGNING_FILE).stat().st_mode) == 0o600


def test_keys_are_rotated_while_consumers_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was renamed still verifies, and consumers that were there before take what the new one signs."""
    monkeypatch.setattr(signing, "LOOK_AGAIN_SECONDS", 0.0)
    consumer, before = StreamKeys.open(tmp_path), StreamKeys.open(tmp_path).signed(Message(1, 0, 1.0))
    (tmp_path / SIGNING_FILE).rename(tmp_path / "stream-2026.key")
    relay = StreamKeys.open(tmp_path)
    after = relay.signed(Message(2, 1, 2.0))
    assert after.signature.split(",")[1] != before.signature.split(",")[1]
    for verifier in (consumer, relay, StreamKeys.open(tmp_path)):
        assert verifier.flaw_of(before) is None and verifier.flaw_of(after) is None
