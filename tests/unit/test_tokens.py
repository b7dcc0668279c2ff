"""Bearer tokens: what is minted verifies, and nothing else does."""

import base64
import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from onebook.api import tokens
from onebook.api.roles import Role, Scope
from onebook.api.tokens import SIGNING_FILE, BadToken, Keys

pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where keys live."""
    return tmp_path / "keys"


@pytest.fixture
def keys(folder: Path) -> Keys:
    """Keys of a fresh folder."""
    return Keys.open(folder)


def bearer(token: str) -> bytes:
    """The header of a token."""
    return b"Bearer " + token.encode()


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims, changed."""
    now = int(time.time())
    good = {
        "iss": "onebook",
        "aud": "onebook",
        "sub": "desk",
        "client_id": "desk",
        "iat": now,
        "exp": now + 60,
        "jti": "1",
        "scope": "bookings:read",
        "roles": ["admin"],
        "channel": "desk",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed(folder: Path, header: dict[str, Any], payload: dict[str, Any]) -> str:
    """A token signed with the folder's own key."""
    key = OKPKey.import_key((folder / SIGNING_FILE).read_bytes())
    full = {"alg": "EdDSA", "typ": "at+jwt", "kid": key.thumbprint()} | header
    return jwt.encode(full, payload, key, algorithms=["EdDSA"])


def part(value: dict[str, Any]) -> str:
    """One part of a compact token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_minted_token_says_who_asks(keys: Keys) -> None:
    """A minted token verifies and carries its role's scopes and its channel."""
    principal = keys.principal(bearer(keys.mint(Role.CHANNEL, channel="atlas", ttl_seconds=60)))
    assert principal.channel == "atlas"
    assert principal.only_channel == "atlas"
    assert principal.scopes == {"inventory:read", "bookings:read", "bookings:write", "payments:write"}


@pytest.mark.parametrize(
    ("role", "channel", "only"),
    [
        (Role.ADMIN, "desk", None),
        (Role.OPERATOR, "desk", None),
        (Role.READER, "desk", None),
        (Role.PAYMENTS, "desk", None),
        (Role.STOREFRONT, "website", "website"),
    ],
)
def test_each_role_has_its_channel(keys: Keys, role: Role, channel: str, only: str | None) -> None:
    """A role without a named channel sells as its own, and only sellers are kept to it."""
    principal = keys.principal(bearer(keys.mint(role, ttl_seconds=60)))
    assert (principal.channel, principal.only_channel) == (channel, only)


def test_admin_may_everything(keys: Keys) -> None:
    """The role admin has every scope there is."""
    assert keys.principal(bearer(keys.mint(Role.ADMIN, ttl_seconds=60))).scopes == set(Scope)


def test_a_channel_must_be_named(keys: Keys) -> None:
    """A token for the role channel needs the channel's name, and one that can be a name."""
    with pytest.raises(ValueError, match="must name its channel"):
        keys.mint(Role.CHANNEL, ttl_seconds=60)
    with pytest.raises(ValueError, match="name has"):
        keys.mint(Role.CHANNEL, channel="a b", ttl_seconds=60)


def test_the_signing_key_is_private_and_kept(folder: Path, keys: Keys) -> None:
    """The key's file is its owner's alone, and a later start verifies earlier tokens."""
    assert stat.S_IMODE((folder / SIGNING_FILE).stat().st_mode) == 0o600
    assert [file.name for file in folder.iterdir()] == [SIGNING_FILE]
    token = keys.mint(Role.READER, ttl_seconds=60)
    assert Keys.open(folder).principal(bearer(token)).channel == "desk"


def test_a_retired_key_still_verifies(folder: Path, keys: Keys) -> None:
    """After rotation new tokens have the new key, and tokens of the retired one are good until it is removed."""
    old = keys.mint(Role.READER, ttl_seconds=60)
    (folder / SIGNING_FILE).rename(folder / "retired.pem")
    rotated = Keys.open(folder)
    new = rotated.mint(Role.READER, ttl_seconds=60)
    assert rotated.principal(bearer(old)) and rotated.principal(bearer(new))
    with pytest.raises(BadToken):
        keys.principal(bearer(new))
    (folder / "retired.pem").unlink()
    with pytest.raises(BadToken):
        Keys.open(folder).principal(bearer(old))


def test_a_remembered_token_expires(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that has been verified before is refused all the same when its time has passed."""
    header = bearer(keys.mint(Role.READER, ttl_seconds=60))
    keys.principal(header)
    monkeypatch.setattr(time, "time", lambda: 10**10)
    with pytest.raises(BadToken, match="expired"):
        keys.principal(header)


def test_what_is_remembered_is_bounded(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens remembered are bounded, and a forgotten one is simply verified again."""
    monkeypatch.setattr(tokens, "MAX_REMEMBERED", 2)
    headers = [bearer(keys.mint(Role.READER, ttl_seconds=60)) for _ in range(4)]
    for header in [*headers, headers[0]]:
        keys.principal(header)
    assert len(keys._remembered) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"iss": "elsewhere"},
        {"aud": "elsewhere"},
        {"aud": ["elsewhere"]},
        {"nbf": 10**11},
        {"scope": None},
        {"channel": None},
        {"sub": 7},
    ],
)
def test_claims_must_be_ours(folder: Path, keys: Keys, changes: dict[str, Any]) -> None:
    """A good signature does not help claims that are expired, incomplete, or meant for somebody else."""
    with pytest.raises(BadToken):
        keys.principal(bearer(signed(folder, {}, claims(**changes))))


def test_an_audience_may_be_a_list(folder: Path, keys: Keys) -> None:
    """A token for several audiences is good when we are one of them (RFC 7519, section 4.1.3)."""
    assert keys.principal(bearer(signed(folder, {}, claims(aud=["other", "onebook"]))))


def test_an_unknown_role_sees_its_own_channel(folder: Path, keys: Keys) -> None:
    """A role that we do not know is kept to its channel."""
    assert keys.principal(bearer(signed(folder, {}, claims(roles=["new"])))).only_channel == "desk"


def test_another_kind_of_token_is_refused(folder: Path, keys: Keys) -> None:
    """An ID token, signed by the same key, is no access token (RFC 9068, section 4)."""
    with pytest.raises(BadToken):
        keys.principal(bearer(signed(folder, {"typ": "JWT"}, claims())))


def test_forged_tokens_are_refused(folder: Path, keys: Keys) -> None:
    """Neither another key, nor no algorithm, nor an HMAC with our public key, nor a changed payload passes."""
    key = OKPKey.import_key((folder / SIGNING_FILE).read_bytes())
    header = {"alg": "EdDSA", "typ": "at+jwt", "kid": key.thumbprint()}
    stranger = OKPKey.generate_key("Ed25519")
    public = OctKey.import_key(base64.b64encode(key.as_pem(private=False)))
    good = signed(folder, {}, claims())
    head, payload, signature = good.split(".")
    forged = [
        jwt.encode(header, claims(), stranger, algorithms=["EdDSA"]),
        jwt.encode(header | {"kid": stranger.thumbprint()}, claims(), stranger, algorithms=["EdDSA"]),
        jwt.encode(header | {"alg": "HS256"}, claims(), public, algorithms=["HS256"]),
        f"{part(header | {'alg': 'none'})}.{part(claims())}.",
        f"{head}.{part(claims(scope='ops:admin'))}.{signature}",
        f"{head}.{payload}.{signature[:-4]}AAAA",
        f"{part({'alg': 'EdDSA', 'typ': 'at+jwt'})}.{payload}.{signature}",
        f"{head}.{payload}",
    ]
    for token in forged:
        with pytest.raises(BadToken):
            keys.principal(bearer(token))


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic YTpi",
        b"Bearer a.b.c",
        b"Bearer \xff\xfe.x.y",
        b"Bearer " + b"a" * 5000,
    ],
)
def test_what_is_no_token_is_refused(keys: Keys, header: bytes | None) -> None:
    """Anything that is not a bearer token is refused like a bad one, and never raises anything else."""
    with pytest.raises(BadToken):
        keys.principal(header)
