"""Who calls: a signed token (EdDSA), verified once and remembered until it expires."""

import json
import os
import time
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

PUBLIC_KEY = "BASELINE_PUBLIC_KEY"
MAX_REMEMBERED = 10_000
CLAIMS = jwt.JWTClaimsRegistry(exp={"essential": True}, scope={"essential": True}, channel={"essential": True})

_remembered: dict[str, tuple[str, float]] = {}


def mint(key: OKPKey, channel: str, ttl_seconds: int) -> str:
    """A token for `channel` that may place bookings."""
    claims = {"channel": channel, "scope": "bookings:write", "exp": int(time.time()) + ttl_seconds}
    return jwt.encode({"alg": "Ed25519"}, claims, key, algorithms=["Ed25519"])


async def channel_of(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> str:
    """The channel that the bearer token names; 401 for a token that is not valid, 403 without the scope."""
    token = credentials.credentials
    channel, expires = _remembered.get(token) or _verify(token)
    if expires <= time.time():
        raise HTTPException(401, "the token has expired")
    return channel


def _verify(token: str) -> tuple[str, float]:
    key = _public_key()
    try:
        claims = jwt.decode(token, key, algorithms=["Ed25519"]).claims
        CLAIMS.validate(claims)
    except (JoseError, ValueError) as error:
        raise HTTPException(401, "the token is not valid") from error
    if "bookings:write" not in claims["scope"].split():
        raise HTTPException(403, "the scope bookings:write is missing")
    if len(_remembered) >= MAX_REMEMBERED:
        _remembered.clear()
    _remembered[token] = (claims["channel"], claims["exp"])
    return _remembered[token]


def _public_key() -> OKPKey:
    return OKPKey.import_key(json.loads(os.environ[PUBLIC_KEY]))
