"""A proxy of one's own between a client and HAProxy's stats socket, that can be cut, silenced and held up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self


class FaultProxy:
    """Forwards a unix socket to another.

    After *cut_after* bytes of answers a connection is cut, after *silent_after* nothing more comes, and after
    *held_after* HAProxy cannot write any more until `go_on` is set. What is read of an answer at once is sent as
    *rewrite* makes it. `asked` is everything that was asked.
    """

    def __init__(self, path: Path, upstream: Path) -> None:
        self.path = path
        self._upstream = upstream
        self.cut_after: int | None = None
        self.silent_after: int | None = None
        self.held_after: int | None = None
        self.holds = asyncio.Event()
        self.go_on = asyncio.Event()
        self.rewrite: Callable[[bytes], bytes] = bytes
        self.flood = 0
        """How many bytes that nobody asked for come in the middle of each dump of the servers."""
        self.asked = bytearray()
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._accept, self.path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._upstream)
        asking = asyncio.create_task(self._questions(reader, upstream_writer))
        try:
            await self._answers(upstream_reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            asking.cancel()
            self._tasks.discard(task)
            writer.transport.abort()
            upstream_writer.transport.abort()

    async def _flood(self, writer: asyncio.StreamWriter) -> None:
        piece = b"1\n" + b"x" * 2**20
        for _ in range(self.flood // len(piece)):
            writer.write(piece)
            await writer.drain()

    async def _questions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.asked += data
            writer.write(data)

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = 0
        while data := self.rewrite(await reader.read(65536)):
            if self.flood and b"# be_id" in data:
                await self._flood(writer)
            if self.silent_after is not None and sent + len(data) > self.silent_after:
                continue
            if self.cut_after is not None and sent + len(data) >= self.cut_after:
                writer.write(data[: self.cut_after - sent])
                await writer.drain()
                return
            writer.write(data)
            await writer.drain()
            sent += len(data)
            if self.held_after is not None and sent > self.held_after:
                self.holds.set()
                await self.go_on.wait()
