"""Small web servers that say who they are, and that can be late, slow, or gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self


class WebServer:
    """Answers every request with its number as the body, which is by default its port.

    The port is taken at once, by default a free one, but nobody listens before `start`. A request for `/slow` is
    answered only after `release` was called.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, number: int | None = None) -> None:
        self._socket = socket.socket()
        if port:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self.number = self.port if number is None else number
        self.latency = 0.0
        """Seconds that each answer takes."""
        self.requests = 0
        self.last_sent = 0.0  # the highest number that was requested as a path, such as the time that it was sent
        self.slow_running = 0
        self._released = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def endpoint(self) -> dict[str, object]:
        """The server as the file source writes it."""
        return {"address": self.host, "port": self.port}

    async def start(self) -> Self:
        self._server = await asyncio.start_server(self._serve, sock=self._socket, backlog=1024)
        return self

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def release(self) -> None:
        """Answer the slow requests."""
        self._released.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (request := await reader.readline()) not in {b"", b"\n", b"\r\n"}:
                while (await reader.readline()).strip():
                    pass
                self.requests += 1
                with suppress(ValueError):
                    self.last_sent = max(self.last_sent, float(request.split(b" ")[1].removeprefix(b"/")))
                if b" /slow" in request:
                    self.slow_running += 1
                    await self._released.wait()
                    self.slow_running -= 1
                if self.latency:
                    await asyncio.sleep(self.latency)
                body = str(self.number).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


WebServers = Callable[[int], Awaitable[list[WebServer]]]
"""The fixture `web_servers`: starts so many."""
