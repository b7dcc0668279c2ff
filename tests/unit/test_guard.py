"""Where webhooks must not go: a corpus of addresses and spellings, none of which may be connected to."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from onebook.channels.guard import ForbiddenAddress, check_url, guarded_connector, refusal


def _words(text: str) -> list[str]:
    return text.split()


V4 = _words("""
0.0.0.0 0.0.0.1 0.1.2.3 0.255.255.255 10.0.0.0 10.0.0.1 10.1.2.3 10.255.255.255 100.64.0.0 100.64.0.1 100.100.100.200
100.127.255.255 127.0.0.0 127.0.0.1 127.0.0.2 127.0.1.1 127.1.2.3 127.127.127.127 127.255.255.254 127.255.255.255 168.63.129.16
169.254.0.0 169.254.0.1 169.254.169.253 169.254.169.254 169.254.170.2 169.254.255.255 172.16.0.0 172.16.0.1 172.17.0.1
172.20.10.1 172.31.255.255 192.0.0.0 192.0.0.1 192.0.0.8 192.0.0.170 192.0.0.192 192.0.2.0 192.0.2.1 192.0.2.255 192.31.196.1
192.52.193.1 192.88.99.0 192.88.99.1 192.88.99.2 192.168.0.0 192.168.0.1 192.168.1.1 192.168.99.100 192.168.255.255 192.175.48.1
198.18.0.0 198.18.0.1 198.19.255.255 198.51.100.0 198.51.100.1 198.51.100.255 203.0.113.0 203.0.113.1 203.0.113.255 224.0.0.0
224.0.0.1 224.0.0.251 232.1.1.1 233.252.0.1 239.255.255.250 239.255.255.255 240.0.0.0 240.0.0.1 250.1.2.3 254.255.255.255
255.255.255.254 255.255.255.255
""")

V6 = _words("""
:: ::1 ::2 ::ffff:0:0 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:192.168.1.1 ::ffff:172.16.0.1
::ffff:8.8.8.8 ::ffff:0:127.0.0.1 ::127.0.0.1 ::10.0.0.1 ::169.254.169.254 ::8.8.8.8 64:ff9b::7f00:1 64:ff9b::a00:1
64:ff9b::a9fe:a9fe 64:ff9b::808:808 64:ff9b:1::1 64:ff9b:1::7f00:1 64:ff9b:1:ffff::a9fe:a9fe 100:: 100::1 100:0:0:1::1 2001::
2001::1 2001:0:7f00:1::1 2001:0:a9fe:a9fe::1 2001:1::1 2001:1::2 2001:2::1 2001:3::1 2001:4:112::1 2001:10::1 2001:20::1
2001:30::1 2001:db8:: 2001:db8::1 2001:db8:ffff::1 2002:: 2002:7f00:1:: 2002:7f00:1::1 2002:a00:1::1 2002:a9fe:a9fe::1
2002:c0a8:101::1 2002:808:808::1 2620:4f:8000::1 3fff:: 3fff::1 3fff:fff::1 4000::1 5f00::1 8000::1 a000::1 c000::1 e000::1
f000::1 fc00:: fc00::1 fcff::1 fd00:: fd00::1 fd00:ec2::254 fd12:3456:789a::1 fdff:ffff::1 fe00::1 fe80:: fe80::1
fe80::a9fe:a9fe febf::1 fec0:: fec0::1 fec0:0:0:ffff::1 feff::1 ff00:: ff01::1 ff02::1 ff02::2 ff02::fb ff05::1:3 ff0e::1
ffff::1
""")

# One machine, many spellings: what the C library, browsers and libraries of other languages take for 127.0.0.1 or metadata.
SPELLINGS = _words("""
2130706433 0x7f000001 0x7F000001 017700000001 0177.0.0.1 0x7f.0.0.1 0x7f.1 127.1 127.0.1 0177.1 0x7f.0x0.0x0.0x1 127.0.0.01
0127.0.0.1.. 00000177.0.0.1 0 0x0 00 0.0 2852039166 0xa9fea9fe 0251.0376.0251.0376 0xa9.0xfe.0xa9.0xfe 169.254.43518
0xa9.254.43518 025177524776 3232235777 0xc0a80101 0300.0250.1.1 192.168.257 10.1 167772161 0xa000001 012.0.0.1 0xac100001
localhost LOCALHOST LocalHost localhost. 127.0.0.1. 169.254.169.254. [::1] [::] [0:0:0:0:0:0:0:1]
[0000:0000:0000:0000:0000:0000:0000:0001] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:a9fe:a9fe] [0:0:0:0:0:ffff:127.0.0.1]
[64:ff9b::7f00:1] [2002:7f00:1::] [fd00:ec2::254] [fe80::1] [fe80::1%25lo] [::7f00:1] [fec0::1] [ff02::1] [::ffff:0:7f00:1]
""")

CORPUS = [*V4, *(f"[{address}]" for address in V6), *SPELLINGS]

PUBLIC = _words("""
1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.1 172.15.255.255 172.32.0.1 192.0.1.1 198.17.0.1 198.20.0.1
223.255.255.255 2606:4700:4700::1111 2001:4860:4860::8888 2001:200::1 2a00:1450:4001::1 2620:4f:8001::1
""")


@asynccontextmanager
async def listener(family: socket.AddressFamily = socket.AF_INET) -> AsyncIterator[tuple[int, list[str]]]:
    """A port on every address of this machine, and the connections it got."""
    connections: list[str] = []

    def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(str(writer.get_extra_info("peername")))
        writer.close()

    address = "::" if family is socket.AF_INET6 else "0.0.0.0"  # noqa: S104  # whichever of its addresses is tried
    server = await asyncio.start_server(connected, address, 0, family=family)
    try:
        yield server.sockets[0].getsockname()[1], connections
    finally:
        server.close()


async def attempt(session: aiohttp.ClientSession, url: str) -> str:
    """Post somewhere; what came of it."""
    try:
        async with asyncio.timeout(5), session.post(url, data=b"{}", allow_redirects=False) as response:
            return str(response.status)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return type(error).__name__


def test_the_corpus_is_large() -> None:
    """At least two hundred different hosts."""
    assert len(set(CORPUS)) >= 200


@pytest.mark.parametrize("address", V4 + V6)
def test_what_is_not_public_is_refused(address: str) -> None:
    """Loopback or not allowed: each has a reason, unless it is loopback itself."""
    assert refusal(address, allow_loopback=False) is not None
    is_plain_loopback = address.startswith("127.") or address == "::1"
    assert (refusal(address, allow_loopback=True) is None) == is_plain_loopback


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_not(address: str) -> None:
    """The neighbours of what is refused."""
    assert refusal(address, allow_loopback=False) is None


def test_nothing_private_to_the_standard_library_passes() -> None:
    """An independent opinion, over addresses spread through the whole space: what it calls not global is refused."""
    for number in range(0, 2**32, 2**32 // 50_021):
        address = ipaddress.IPv4Address(number)
        if not address.is_global or address.is_multicast:
            assert refusal(str(address), allow_loopback=False), address


async def test_nothing_of_the_corpus_is_connected_to() -> None:
    """Created with any of these hosts: refused; sent to any of them all the same: the listener counts 0."""
    async with listener() as (port, connections):
        connector = guarded_connector(allow_loopback=False, limit=20)
        async with aiohttp.ClientSession(connector=connector) as session:
            for host in CORPUS:
                with pytest.raises(ForbiddenAddress):
                    await check_url(f"https://{host}:{port}/", allow_loopback=False)
                assert not (await attempt(session, f"http://{host}:{port}/")).isdecimal()
        assert connections == []


async def test_without_the_guard_the_listener_is_reached() -> None:
    """The positive control: the same client without it gets through, by many a spelling."""
    async with listener() as (port, connections), aiohttp.ClientSession() as session:
        for host in ("127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "127.0.0.1."):
            await attempt(session, f"http://{host}:{port}/")
        assert len(connections) >= 3


class Rebinding(AbstractResolver):
    """Answers a public address the first time, this machine's ever after."""

    def __init__(self, first: str) -> None:
        self.asked = 0
        self._first = first

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The next answer."""
        self.asked += 1
        address = self._first if self.asked == 1 else "127.0.0.1"
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("is_guarded", [True, False])
async def test_a_name_that_is_bound_anew_leads_nowhere(is_guarded: bool) -> None:
    """DNS rebinding gets no connection; without the guard it does."""
    async with listener() as (port, connections):
        resolver = Rebinding("192.0.2.1")
        await resolver.resolve("partner.example")  # what the check at creation has seen
        connector = (
            guarded_connector(allow_loopback=False, limit=4, resolver=resolver)
            if is_guarded
            else aiohttp.TCPConnector(resolver=resolver)
        )
        async with aiohttp.ClientSession(connector=connector) as session:
            await attempt(session, f"http://partner.example:{port}/")
        assert resolver.asked == 2
        assert len(connections) == (0 if is_guarded else 1)


async def test_loopback_may_be_allowed_and_nothing_else() -> None:
    """For development: plain loopback passes, without TLS too; its disguises and every other address do not."""
    assert await check_url("http://127.0.0.1:8080/hook", allow_loopback=True) == "http://127.0.0.1:8080/hook"
    for host in ("10.0.0.1", "[::ffff:127.0.0.1]", "169.254.169.254", "[fd00:ec2::254]", "0.0.0.0"):  # noqa: S104  # a target
        with pytest.raises(ForbiddenAddress):
            await check_url(f"http://{host}/", allow_loopback=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.216.34/",
        "ftp://93.184.216.34/",
        "file:///etc/passwd",
        "gopher://93.184.216.34/",
        "//93.184.216.34/",
        "93.184.216.34",
        "https://",
        "https:///path",
        "https://user@93.184.216.34/",
        "https://user:secret@93.184.216.34/",
        "https://93.184.216.34:22/",
        "https://93.184.216.34:0/",
        "https://93.184.216.34:99999/",
        "https://93.184.216.34/#fragment",
        "https://93.184.216.34/ x",
        "https://93.184.216.34/\r\nhost: other",
        "https://①②⑦.⓪.⓪.①/",
        "https://93.184.216.34/" + "a" * 2100,
        "https://name-that-does-not-exist.invalid/",
    ],
)
async def test_what_is_no_address_for_a_webhook_is_refused(url: str) -> None:
    """Other schemes, credentials, privileged ports, plain http, fragments, names without an address."""
    with pytest.raises(ForbiddenAddress):
        await check_url(url, allow_loopback=True)


async def test_a_public_address_passes() -> None:
    """Https, a usual or a high port."""
    assert await check_url("https://93.184.216.34/hook", allow_loopback=False) == "https://93.184.216.34/hook"
    assert await check_url("https://93.184.216.34:8443/x?y=1", allow_loopback=False)
