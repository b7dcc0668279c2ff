"""Where webhooks may go: public addresses only, checked when an endpoint is made and at every connection.

Names prove nothing: what one resolves to may differ a moment later (DNS rebinding), and an address has many spellings. So the
check that counts is of the address that a socket is about to be connected to, and there is one place where such sockets are made:
`guarded_connector`. Redirects are not followed, proxies of the environment are not used.
"""

import asyncio
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver
from yarl import URL

MAX_URL_LENGTH = 2048
RESOLVE_SECONDS = 3.0
_WELL_KNOWN_PORTS = frozenset({80, 443})
_FIRST_FREE_PORT = 1024

_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))

# IANA's registries of special-purpose addresses, and what clouds answer their machines' questions at.
_REFUSED_V4 = {
    IPv4Network(network): reason
    for network, reason in {
        "0.0.0.0/8": "unspecified",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "shared by a carrier (CGNAT)",
        "127.0.0.0/8": "loopback",
        "168.63.129.16/32": "metadata of a cloud",
        "169.254.0.0/16": "link-local, and metadata of clouds",
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "reserved for protocols",
        "192.0.2.0/24": "documentation",
        "192.31.196.0/24": "reserved (AS112)",
        "192.52.193.0/24": "reserved (AMT)",
        "192.88.99.0/24": "a relay to IPv6 (6to4)",
        "192.168.0.0/16": "private",
        "192.175.48.0/24": "reserved (AS112)",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved, and broadcast",
    }.items()
}
# Of IPv6 only what is given out as global unicast, and of that nothing that carries an IPv4 address or is set aside.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_REFUSED_V6 = {
    IPv6Network(network): reason
    for network, reason in {
        "2001::/23": "reserved for protocols (Teredo, ORCHID, benchmarking)",
        "2001:db8::/32": "documentation",
        "2002::/16": "translated to IPv4 (6to4)",
        "2620:4f:8000::/48": "reserved (AS112)",
        "3fff::/20": "documentation",
    }.items()
}


class ForbiddenAddress(OSError):
    """A webhook must not go there; the message says why. An OSError, since it ends a connection like any other failure."""


def refusal(address: str, *, allow_loopback: bool) -> str | None:
    """Why nothing may be sent to an IP address; None where it may."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "not an IP address"
    return _refusal(parsed, allow_loopback)


@lru_cache(maxsize=4096)
def _refusal(address: IPv4Address | IPv6Address, allow_loopback: bool) -> str | None:
    if allow_loopback and is_loopback(address):
        return None
    if isinstance(address, IPv4Address):
        return next((reason for network, reason in _REFUSED_V4.items() if address in network), None)
    if address not in _GLOBAL_UNICAST:
        return "not global unicast (local, mapped, translated, multicast or reserved)"
    return next((reason for network, reason in _REFUSED_V6.items() if address in network), None)


def is_loopback(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is this machine itself, written plainly."""
    return any(address in network for network in _LOOPBACK)


async def check_url(text: str, *, allow_loopback: bool) -> str:
    """The URL as it will be used. Raises ForbiddenAddress, also where its name cannot be resolved now."""
    url = _parsed(text)
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(
                url.host, url.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
    except (OSError, UnicodeError, TimeoutError) as error:
        raise ForbiddenAddress(f"the name {url.host!r} does not resolve to an address") from error
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    for address in addresses:
        if reason := refusal(address, allow_loopback=allow_loopback):
            raise ForbiddenAddress(f"{address} is {reason}")
    # Here, every address is public, or loopback that is allowed.
    if url.scheme != "https" and not all(is_loopback(ip_address(address)) for address in addresses):
        raise ForbiddenAddress("what leaves this machine must be encrypted: use https")
    return str(url)


def guarded_connector(*, allow_loopback: bool, limit: int, resolver: AbstractResolver | None = None) -> TCPConnector:
    """The only way out: every connection, whether its host was a name or an address, passes the check."""

    def guarded_socket(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, sockaddr = info
        if reason := refusal(str(sockaddr[0]), allow_loopback=allow_loopback):
            raise ForbiddenAddress(f"{sockaddr[0]} is {reason}")
        return socket.socket(family, kind, protocol)

    # Kept for less than the five seconds after which common servers close an idle connection: a POST sent into that is lost.
    return TCPConnector(limit=limit, keepalive_timeout=4, resolver=resolver, socket_factory=guarded_socket)


def _parsed(text: str) -> URL:
    if len(text) > MAX_URL_LENGTH or not text.isascii() or any(ord(letter) <= 0x20 for letter in text):
        raise ForbiddenAddress(f"a URL has at most {MAX_URL_LENGTH} visible ASCII characters")
    try:
        url = URL(text)
        port = url.port
    except ValueError as error:
        raise ForbiddenAddress("this is not a URL") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ForbiddenAddress("a URL begins with https:// and a host")
    if url.user is not None or url.password is not None:
        raise ForbiddenAddress("a URL must not carry credentials; deliveries are signed instead")
    if url.fragment:
        raise ForbiddenAddress("a fragment is never sent")
    if port not in _WELL_KNOWN_PORTS and not (port or 0) >= _FIRST_FREE_PORT:
        raise ForbiddenAddress("the port is 443, 80, or 1024 and above")
    return url
