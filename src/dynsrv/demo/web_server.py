"""What is behind HAProxy in the demo? Small web servers that answer with their name, and that can crash."""

from __future__ import annotations

import asyncio

SLOW_PATH = "/slow"
_TIMES = {"/": 0.01, SLOW_PATH: 0.8}  # seconds until the response
_END_OF_HEAD = b"\r\n\r\n"


class WebServer:
    """A web server on a free port of 127.0.0.1 that answers every GET with its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Start to listen and to answer requests."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def answering(self) -> int:
        """The number of requests in progress."""
        return sum(connection.busy for connection in self.connections)

    def kill(self) -> int:
        """Stop listening and reset all connections; return how many requests remain unanswered."""
        lost = self.answering
        if self._server is not None:
            self._server.close()
        for connection in self.connections:
            connection.abort()
        return lost


class _Connection(asyncio.Protocol):
    """As much of HTTP/1.1 as HAProxy needs: GET without a body, one request at a time."""

    def __init__(self, owner: WebServer) -> None:
        self._owner = owner
        self._received = b""
        self._answer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    @property
    def busy(self) -> bool:
        return self._answer is not None

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._owner.connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._owner.connections.discard(self)
        if self._answer is not None:
            self._answer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._take_next()

    def _take_next(self) -> None:
        if self.busy or _END_OF_HEAD not in self._received:
            return
        head, _, self._received = self._received.partition(_END_OF_HEAD)
        path = head.split(b" ", 2)[1].decode()
        last = b"\r\nconnection: close" in head.lower()
        self._answer = asyncio.get_running_loop().call_later(_TIMES.get(path, 0), self._respond, last)

    def _respond(self, last: bool) -> None:  # noqa: FBT001 - call_later passes by position
        self._answer = None
        body = f"{self._owner.name}\n".encode()
        connection = "close" if last else "keep-alive"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: {connection}"
        self._transport.write(
            head.encode() + _END_OF_HEAD + body
        )  # in one write: the request is answered completely or not at all
        if last:
            self._transport.close()
        else:
            self._take_next()
