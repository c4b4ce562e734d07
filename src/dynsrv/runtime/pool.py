"""Who may use a connection now? A bounded pool that closes idle connections soon.

An idle connection keeps an old HAProxy worker alive after a reload, so it is closed after `idle_timeout`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from dynsrv.runtime.connection import Connection
from dynsrv.runtime.errors import PoolTimeout


class Pool:
    """Provides at most *size* connections at a time; one that is not reusable afterwards is closed.

    *pool_timeout* and *idle_timeout* are in seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        *,
        name: str,
        size: int,
        pool_timeout: float,
        idle_timeout: float,
    ) -> None:
        self._connect = connect
        self._name = name
        self._size = size
        self._pool_timeout = pool_timeout
        self._idle_timeout = idle_timeout
        self._permits = asyncio.Semaphore(size)
        self._idle: dict[Connection, asyncio.TimerHandle] = {}  # used last in, first out
        self._closed = False

    def __repr__(self) -> str:
        return f"<Pool {self._name} idle={len(self._idle)} size={self._size}>"

    @asynccontextmanager
    async def connection(self, *, fresh: bool = False) -> AsyncIterator[Connection]:
        """Provide a connection: an idle one, or a new one if there is none or with *fresh*.

        *fresh* also closes the idle connections.

        Raises:
            PoolTimeout: none became free in time.
            ConnectFailed, ConnectTimeout: no new one could be opened.
        """
        try:
            async with asyncio.timeout(self._pool_timeout):
                await self._permits.acquire()
        except TimeoutError:
            raise PoolTimeout(self._name, self._size, self._pool_timeout) from None
        try:
            if fresh:  # one was unusable, so the others, which are as old, are, too
                self._expire_all()
            connection = self._take() or await self._connect()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._permits.release()

    def close(self) -> None:
        """Close idle connections now, and those in use when they are returned."""
        self._closed = True
        self._expire_all()

    def _take(self) -> Connection | None:
        while self._idle:
            connection, timer = self._idle.popitem()
            timer.cancel()
            if connection.reusable:
                return connection
            connection.close()
        return None

    def _give_back(self, connection: Connection) -> None:
        if self._closed or not connection.reusable:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        self._idle[connection] = loop.call_later(self._idle_timeout, self._expire, connection)

    def _expire_all(self) -> None:
        for connection in list(self._idle):
            self._expire(connection)

    def _expire(self, connection: Connection) -> None:
        self._idle.pop(connection).cancel()
        connection.close()
