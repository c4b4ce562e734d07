"""Connections in memory between a client and a FakeHAProxy, and everything that can go wrong with them."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass

from dynsrv.runtime.address import Address
from dynsrv.runtime.connecting import Streams
from tests.fakes.haproxy import FakeHAProxy, Session
from tests.fakes.haproxy_process import Process


@dataclass(frozen=True, slots=True)
class Cut:
    """HAProxy's side ends after so many bytes."""

    after: int


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing comes after so many bytes."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is broken after so many bytes: reset, or with another *error*."""

    after: int = 0
    error: OSError | None = None


Fault = Cut | Hang | Reset


class Wire:
    """Opens connections to *haproxy*; give it to a `Client` as its opener. It does what its attributes say."""

    def __init__(self, haproxy: FakeHAProxy) -> None:
        self.haproxy = haproxy
        self.refusals: list[OSError | None] = []
        """What becomes of the next attempts to connect; None: they succeed, as do all that come after them."""
        self.faults: list[Fault | None] = []
        """What befalls the next connections, counted in bytes from their beginning."""
        self.processes: list[Process] = []
        """Which processes take the next connections; the newest takes all that come after them."""
        self.piece: int | None = None
        """In pieces of how many bytes replies come; None: each as a whole."""
        self.before_line: Callable[[str], None] = lambda _: None
        """Called before HAProxy reads a line: here a test reloads it in the middle of a batch."""
        self.connections: list[Connection] = []
        """All connections ever opened, oldest first."""
        self.address: Address | None = None

    @property
    def open(self) -> list[Connection]:
        """The connections that are open on the client's side."""
        return [connection for connection in self.connections if not connection.is_closing()]

    async def __call__(self, address: Address) -> Streams:
        """Open a connection. Raises OSError."""
        self.address = address
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None:
            raise refusal
        session = self.haproxy.connect(self.processes.pop(0) if self.processes else None)
        reader = asyncio.StreamReader()
        connection = Connection(self, session, reader)
        if self.faults:
            connection.spoil(self.faults.pop(0))
        self.connections.append(connection)
        protocol = asyncio.StreamReaderProtocol(reader)
        return reader, _Writer(connection, protocol, reader, asyncio.get_running_loop())


class _Writer(asyncio.StreamWriter):
    """Holds nothing that a test would have to release."""

    def __del__(self) -> None:
        pass


class Connection(asyncio.Transport):
    """The client's end of one connection, and HAProxy behind it."""

    def __init__(self, wire: Wire, session: Session, reader: asyncio.StreamReader) -> None:
        super().__init__()
        self.session = session
        self.received: list[str] = []
        """The lines that HAProxy read on this connection."""
        self._wire = wire
        self._reader = reader
        self._line = b""
        self._closing = False
        self._fault: Fault | None = None
        self._left = 0  # bytes until the fault
        self._ended = False
        self._pieces: list[bytes | None] = []  # None: the fault

    def spoil(self, fault: Fault | None) -> None:
        """Let *fault* befall this connection, counted in bytes from now."""
        self._fault = fault
        self._left = fault.after if fault else 0
        if not self._left and not isinstance(fault, Hang | None):
            self._break()

    def end(self) -> None:
        """Close HAProxy's side."""
        if not self._ended and not self._closing:
            self._ended = True
            self._reader.feed_eof()

    def say(self, text: str) -> None:
        """Let HAProxy send something that nobody asked for, or that it was to send long ago."""
        self._reader.feed_data(text.encode())

    # ---- what the client does

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes from the client; HAProxy answers the lines at once."""
        *lines, self._line = (self._line + bytes(data)).split(b"\n")
        for line in lines:
            if self._ended or self._closing:
                return
            text = line.decode("ascii")
            self._wire.before_line(text)
            self.received.append(text)
            reply = self.session.answer(text)
            self._send(f"{reply}\n{'> ' if self.session.prompt else ''}".encode())
            if self.session.closed:
                self.end()

    def is_closing(self) -> bool:
        """Return whether the client has closed it."""
        return self._closing

    def abort(self) -> None:
        """Close it on the client's side."""
        self._closing = True

    def close(self) -> None:
        """Close it on the client's side."""
        self._closing = True

    # ---- what HAProxy sends

    def _send(self, data: bytes) -> None:
        if self._ended or self._closing:
            return
        whole = len(data)
        if self._fault is not None:
            data = data[: self._left]
            self._left -= len(data)
        size = self._wire.piece
        if size is None:
            self._reader.feed_data(data)
            if len(data) < whole:
                self._break()
            return
        idle = not self._pieces
        self._pieces += [data[begin : begin + size] for begin in range(0, len(data), size)]
        if len(data) < whole:
            self._pieces.append(None)
        if idle and self._pieces:
            asyncio.get_running_loop().call_soon(self._send_piece)

    def _send_piece(self) -> None:
        # one piece a turn of the loop, so that the client reads each by itself
        piece = self._pieces.pop(0)
        if self._ended:
            return
        if piece is None:
            self._break()
            return
        self._reader.feed_data(piece)
        if self._pieces:
            asyncio.get_running_loop().call_soon(self._send_piece)

    def _break(self) -> None:
        match self._fault:
            case Cut():
                self.end()
            case Reset(error=error):
                self._ended = True
                self._reader.set_exception(error or ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
            case _:
                pass
