"""Bearer tokens: JWTs signed with Ed25519, with the claims of RFC 9068.

Who calls me: `onebook token` mints, the API verifies. What I own: the keys of one folder. What survives a crash: the
folder. To rotate, rename `signing.pem`: the next start makes a new one, and every `*.pem` of the folder still verifies.
What bounds me: MAX_REMEMBERED verified tokens, each until it expires.
"""

import re
import time
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import OKPKey

from onebook.api.roles import CHANNEL_OF_ROLE, SCOPES_OF_ROLE, SEES_ALL_CHANNELS, Role
from onebook.key_file import write_once

ISSUER = AUDIENCE = "onebook"
ALGORITHM = "EdDSA"
MAX_REMEMBERED = 10_000
MAX_TOKEN_BYTES = 4096
SIGNING_FILE = "signing.pem"

_CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class BadToken(Exception):
    """A token is missing, or is not one of ours, or its time has passed; the message may be shown."""


class Principal(msgspec.Struct, frozen=True):
    """Who asks. `only_channel` is the channel whose bookings alone are visible, None where all are."""

    subject: str
    channel: str
    scopes: frozenset[str]
    only_channel: str | None
    expires_at: float


class Claims(msgspec.Struct, frozen=True):
    """What a token says; unknown claims are ignored, as RFC 7519 wants."""

    iss: str
    aud: str | list[str]
    sub: str
    exp: float
    iat: float
    jti: str
    client_id: str
    scope: str
    roles: tuple[str, ...]
    channel: str
    nbf: float = 0


class Keys:
    """The signing key, and every key that still verifies."""

    def __init__(self, signing: OKPKey, others: Iterable[OKPKey] = ()) -> None:
        self._signing = signing
        self._by_id = {key.thumbprint(): key for key in (*others, signing)}
        self._remembered: OrderedDict[bytes, Principal] = OrderedDict()

    @classmethod
    def open(cls, folder: Path) -> "Keys":
        """The keys of a folder; where there is none, a signing key is made, by one process even if several try."""
        path = folder / SIGNING_FILE
        if not path.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_once(path, OKPKey.generate_key("Ed25519").as_pem(private=True))
        keys = {file.name: OKPKey.import_key(file.read_bytes()) for file in folder.glob("*.pem")}
        return cls(keys[SIGNING_FILE], keys.values())

    def mint(self, role: Role, *, ttl_seconds: int, channel: str | None = None) -> str:
        """A token for a role. Raises ValueError where the role needs a channel, or its name is not one."""
        sells_as = channel or CHANNEL_OF_ROLE.get(role)
        if sells_as is None:
            raise ValueError("a token for the role channel must name its channel")
        if not _CHANNEL.fullmatch(sells_as):
            raise ValueError("a channel's name has 1 to 64 letters, digits, dots, dashes or underscores")
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": sells_as,
            "client_id": sells_as,
            "iat": now,
            "exp": now + ttl_seconds,
            "jti": str(uuid4()),
            "scope": " ".join(sorted(SCOPES_OF_ROLE[role])),
            "roles": [role.value],
            "channel": sells_as,
        }
        header = {"alg": ALGORITHM, "typ": "at+jwt", "kid": self._signing.thumbprint()}
        with _legacy_name_of_algorithm():
            return jwt.encode(header, claims, self._signing, algorithms=[ALGORITHM])

    def principal(self, authorization: bytes | None) -> Principal:
        """Who an Authorization header stands for. Raises BadToken.

        Verified once and remembered; the deadline is looked at each time.
        """
        if authorization is None:
            raise BadToken("send a token, as Authorization: Bearer TOKEN")
        principal = self._remembered.get(authorization)
        if principal is None:
            principal = self._remember(authorization, self._verify(authorization))
        if principal.expires_at <= time.time():
            self._remembered.pop(authorization, None)
            raise BadToken("the token has expired")
        self._remembered.move_to_end(authorization)
        return principal

    def _remember(self, authorization: bytes, principal: Principal) -> Principal:
        self._remembered[authorization] = principal
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return principal

    def _verify(self, authorization: bytes) -> Principal:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not 0 < len(token) <= MAX_TOKEN_BYTES:
            raise BadToken("send a token, as Authorization: Bearer TOKEN")
        try:
            header = jws.extract_compact(token.strip()).headers()
            key = self._by_id.get(str(header.get("kid")))
            if key is None or header.get("typ") != "at+jwt":
                raise BadToken("the token was not made here")
            with _legacy_name_of_algorithm():
                decoded = jwt.decode(token.strip(), key, algorithms=[ALGORITHM])
            claims = msgspec.convert(decoded.claims, Claims)
        except (JoseError, msgspec.ValidationError, ValueError, TypeError, KeyError) as error:
            raise BadToken("the token was not made here") from error
        return _principal_of(claims)


def _principal_of(claims: Claims) -> Principal:
    audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if claims.iss != ISSUER or AUDIENCE not in audiences:
        raise BadToken("the token is meant for somebody else")
    if claims.nbf > time.time():
        raise BadToken("the token is not valid yet")
    return Principal(
        subject=claims.sub,
        channel=claims.channel,
        scopes=frozenset(claims.scope.split()),
        only_channel=None if SEES_ALL_CHANNELS.intersection(claims.roles) else claims.channel,
        expires_at=claims.exp,
    )


@contextmanager
def _legacy_name_of_algorithm() -> Iterator[None]:
    """RFC 9864 renames EdDSA with this curve to Ed25519, which most clients' libraries do not know yet."""
    with warnings.catch_warnings(action="ignore", category=SecurityWarning):
        yield
