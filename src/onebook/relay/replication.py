"""A replication connection: PostgreSQL sends what was committed, and is told what may be forgotten.

Who calls me: the relay, one connection at a time. What I own: the connection; while it streams nobody else can have the slot.
What survives a crash: the slot's confirmed position, in PostgreSQL, from where the next connection goes on. What bounds me:
TURN_FRAMES a turn, so that the loop breathes; SILENCE_SECONDS without a word, after which the connection is given up.

No call of libpq here waits: the socket is watched by the event loop. See "Streaming Replication Protocol" in PostgreSQL's
documentation for the frames.
"""

import asyncio
import struct
import time
from types import TracebackType
from typing import Self

import psycopg
from psycopg import generators, pq, waiting
from psycopg.conninfo import conninfo_to_dict, make_conninfo

CONNECT_SECONDS = 5
STATUS_SECONDS = 1.0
"""How often PostgreSQL is told where we are, and asked to answer."""
STATUS_GAP_SECONDS = 0.02
"""Acknowledgements closer together than this are told as one: each may have PostgreSQL write its slot's file."""
SILENCE_SECONDS = 10.0
TURN_FRAMES = 256

# What the plugin prints depends on these; and a relay that is gone without a word shall not keep the slot for a minute.
_SESSION = "-c datestyle=ISO -c timezone=UTC -c wal_sender_timeout=6s"
_DATA, _KEEPALIVE = ord("w"), ord("k")
_DATA_HEADER_BYTES = 25
_KEEPALIVE_FRAME = struct.Struct("!xQqB")
_STATUS_FRAME = struct.Struct("!cQQQqB")
_EPOCH_SECONDS = 946_684_800
_OBJECT_IN_USE = "55006"


class ReplicationLost(Exception):
    """The connection has ended or is silent: a fault that passes."""


class SlotBusy(Exception):
    """Another relay reads this slot."""


class Replication:
    """An open stream of the slot. Use as an async context manager; `start` makes it."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._acknowledged = 0
        self._news = asyncio.Event()
        self.caught_up_at_lsn = 0
        """Everything committed below this has been returned by `read`."""

    @classmethod
    async def start(cls, url: str, slot: str, publication: str) -> Self:
        """Stream from the slot's confirmed position. Raises SlotBusy, ReplicationLost; OSError and TimeoutError too."""
        try:
            connection = await psycopg.AsyncConnection.connect(_conninfo(url), autocommit=True)
        except psycopg.Error as error:
            raise ReplicationLost(f"cannot connect: {error}") from error
        opened = cls(connection)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await opened._stream(slot, publication)
        except BaseException:
            await connection.close()
            raise
        return opened

    async def _stream(self, slot: str, publication: str) -> None:
        command = (
            f'START_REPLICATION SLOT "{slot}" LOGICAL 0/0'
            f" (proto_version '1', publication_names '{publication}', messages 'true')"
        )
        try:
            self._pgconn.send_query(command.encode())
            (result,) = await waiting.wait_async(generators.execute(self._pgconn), self._pgconn.socket, interval=1.0)
        except psycopg.Error as error:
            raise ReplicationLost(str(error)) from error
        if result.status != pq.ExecStatus.COPY_BOTH:
            state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
            reason = result.get_error_message()
            raise SlotBusy(reason) if state == _OBJECT_IN_USE else ReplicationLost(reason)

    async def read(self) -> list[bytes]:
        """The plugin's messages that have arrived since, in order: at least one, or none after a keepalive.

        Raises ReplicationLost when the connection has ended, or has said nothing, also when asked, for SILENCE_SECONDS.
        """
        try:
            messages = self._arrived()
            if messages:
                await asyncio.sleep(0)  # there may be more at once, but others want to run too
            else:
                await self._readable()
                messages = self._arrived()
        except psycopg.Error as error:
            raise ReplicationLost(str(error)) from error
        return messages

    def acknowledge(self, lsn: int) -> None:
        """Everything up to there has been taken charge of: PostgreSQL may forget it."""
        if lsn > self._acknowledged:
            self._acknowledged = lsn
            self._news.set()

    async def report(self) -> None:
        """Tell PostgreSQL of acknowledgements, and every second that we live, until cancelled. Raises ReplicationLost."""
        while True:
            try:
                async with asyncio.timeout(STATUS_SECONDS):
                    await self._news.wait()
                is_alone = False
            except TimeoutError:
                is_alone = True  # asks for an answer: one that does not come shows a connection that is only half open
            self._news.clear()
            self._send_status(wants_reply=is_alone)
            await asyncio.sleep(STATUS_GAP_SECONDS)

    def _arrived(self) -> list[bytes]:
        """What has come without waiting, a turn's worth. One read fills libpq's buffer, and there may be many buffers' worth."""
        messages: list[bytes] = []
        before = -1
        while before < len(messages) < TURN_FRAMES:
            before = len(messages)
            self._pgconn.consume_input()
            self._drain(messages)
        return messages

    def _drain(self, messages: list[bytes]) -> None:
        """Add what libpq's buffer has."""
        while len(messages) < TURN_FRAMES:
            length, frame = self._pgconn.get_copy_data(1)
            if length == 0:
                return
            if length < 0:
                raise ReplicationLost(f"PostgreSQL ended the stream: {self._last_words()}")
            if frame[0] == _DATA:
                messages.append(bytes(frame[_DATA_HEADER_BYTES:]))
            elif frame[0] == _KEEPALIVE:
                self._keepalive(frame)

    def _last_words(self) -> str:
        """Why the stream has ended, where that is known without waiting."""
        result = None if self._pgconn.is_busy() else self._pgconn.get_result()
        return self._pgconn.get_error_message() if result is None else result.get_error_message()

    def _keepalive(self, frame: memoryview) -> None:
        self.caught_up_at_lsn, _clock, wants_reply = _KEEPALIVE_FRAME.unpack(frame)
        if wants_reply:
            self._send_status()

    async def _readable(self) -> None:
        """Wait for the socket; libpq's buffer must have been drained before."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        socket = self._pgconn.socket
        loop.add_reader(socket, lambda: None if ready.done() else ready.set_result(None))
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                await ready
        except TimeoutError as error:
            raise ReplicationLost(f"PostgreSQL has said nothing for {SILENCE_SECONDS:.0f} s") from error
        finally:
            loop.remove_reader(socket)

    def _send_status(self, *, wants_reply: bool = False) -> None:
        clock = int((time.time() - _EPOCH_SECONDS) * 1_000_000)
        lsn = self._acknowledged
        try:
            self._pgconn.put_copy_data(_STATUS_FRAME.pack(b"r", lsn, lsn, lsn, clock, wants_reply))
            self._pgconn.flush()  # what a full socket does not take now goes with the next status
        except psycopg.Error as error:
            raise ReplicationLost(str(error)) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it; the slot is free a moment later."""
        try:
            self._send_status()  # the next relay has less to read again
        except ReplicationLost:
            pass  # it does
        finally:
            await self._connection.close()


def _conninfo(url: str) -> str:
    """The database's URL as libpq wants it for replication. Raises psycopg.ProgrammingError for what libpq does not know."""
    return make_conninfo(
        url,
        replication="database",
        application_name="onebook-relay",
        client_encoding="UTF8",
        options=f"{conninfo_to_dict(url).get('options') or ''} {_SESSION}".strip(),
        connect_timeout=CONNECT_SECONDS,
        tcp_user_timeout=int(SILENCE_SECONDS * 1000),
    )
