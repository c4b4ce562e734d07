"""Many clients of the events at once, of which some misbehave: sockets alone, so that a test can have hundreds."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_REQUEST = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


class Listener:
    """One client, which reads everything and tells when it heard something."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int) -> None:
        self.status = status
        self.bytes = 0
        self._reader = reader
        self._writer = writer
        self._awaited: dict[bytes, asyncio.Future[float]] = {}
        self._task = asyncio.create_task(self._run())

    @classmethod
    async def open(cls, port: int) -> Listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
        writer.write(_REQUEST)
        status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        return cls(reader, writer, status)

    def listens_for(self, text: str) -> asyncio.Future[float]:
        """Return when it hears an event with *text*, by `time.monotonic()`."""
        return self._awaited.setdefault(text.encode(), asyncio.get_running_loop().create_future())

    async def _run(self) -> None:
        with suppress(ConnectionError):
            async for line in self._reader:
                self.bytes += len(line)
                for text in [text for text in self._awaited if text in line]:
                    self._awaited.pop(text).set_result(time.monotonic())

    async def vanish(self) -> None:
        """Break the connection."""
        self._task.cancel()
        self._writer.transport.abort()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def a_crowd(port: int, size: int) -> AsyncIterator[list[Listener]]:
    """Let *size* clients follow inside of the block; at its end they vanish all at once."""
    crowd: list[Listener] = []
    try:
        while len(crowd) < size:  # not more at once than the server's backlog takes
            crowd += await asyncio.gather(*(Listener.open(port) for _ in range(min(50, size - len(crowd)))))
        yield crowd
    finally:
        await asyncio.gather(*(one.vanish() for one in crowd))


@asynccontextmanager
async def who_never_reads(port: int) -> AsyncIterator[socket.socket]:
    """Follow inside of the block without ever reading, and with little room in the kernel."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, _REQUEST)
        yield client


@asynccontextmanager
async def who_sends_a_byte_a_second(port: int) -> AsyncIterator[asyncio.StreamWriter]:
    """Begin a request inside of the block that never gets ready."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        for byte in _REQUEST * 1000:
            writer.write(bytes([byte]))
            await asyncio.sleep(1)

    sending = asyncio.create_task(send())
    try:
        yield writer
    finally:
        sending.cancel()
        writer.transport.abort()


def is_connected(port: int, client: tuple[str, int]) -> bool:
    """Return whether who listens on *port* has a connection with *client*, as the kernel has it."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    connected = {(int(line[1][-4:], 16), int(line[2][-4:], 16)) for line in lines if line[3] == "01"}
    return (port, client[1]) in connected
