"""How does a program talk to HAProxy? Runs one command, or a batch that is answered by a single process.

async with Client("unix:///run/haproxy/admin.sock") as client:
    servers = await client.run(commands.servers_state("be_app"))
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from dynsrv.runtime.address import Address, parse_address
from dynsrv.runtime.commands import info
from dynsrv.runtime.connecting import Opener, connect, open_streams
from dynsrv.runtime.connection import Connection
from dynsrv.runtime.errors import DyingProcess, OtherProcess, OutcomeUnknown, ProxyDisabled
from dynsrv.runtime.events import Hook
from dynsrv.runtime.pool import Pool
from dynsrv.runtime.replies import Command, Ok, Reply
from dynsrv.runtime.tables import ProcessInfo

T = TypeVar("T")

_CONNECT_ATTEMPTS = 20
_CONNECT_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Batch:
    """The replies to one batch, in the order of its commands, and the single process that gave all of them.

    *seconds* is how much longer they took than a single query just before: approximately HAProxy's own time for them.
    """

    process: ProcessInfo
    replies: list[Reply[Any]]
    seconds: float


class Client:
    """A pooled client of one Runtime API.

    All timeouts are in seconds. *connect_timeout* limits opening a connection, including its greeting; *reply_timeout*
    the silence while waiting for a reply; *pool_timeout* the wait for a connection from the pool; a connection that is
    unused for *idle_timeout* is closed. *connections* is the size of the pool; by default, HAProxy serves 10
    connections per stats socket. *opener* opens the byte streams.
    """

    def __init__(
        self,
        address: Address | str,
        *,
        connections: int = 4,
        connect_timeout: float = 2.0,
        reply_timeout: float = 5.0,
        pool_timeout: float = 10.0,
        idle_timeout: float = 1.0,
        hook: Hook | None = None,
        opener: Opener = open_streams,
    ) -> None:
        self.address = parse_address(address) if isinstance(address, str) else address
        self._connect_timeout = connect_timeout
        self._reply_timeout = reply_timeout
        self._hook = hook
        self._opener = opener
        self._pool = Pool(
            self._connect,
            name=str(self.address),
            size=connections,
            pool_timeout=pool_timeout,
            idle_timeout=idle_timeout,
        )

    def __repr__(self) -> str:
        return f"<Client {self.address}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections now, and those in use at the end of their batch."""
        self._pool.close()

    async def run(self, command: Command[T]) -> T:
        """Run one command and return the value of its reply.

        Raises:
            Refused, UnknownReply: HAProxy's reply.
            NotSent, OutcomeUnknown: see `batch`.
        """
        reply: Reply[T] = (await self.batch([command])).replies[0]
        if isinstance(reply, Ok):
            return reply.value
        raise reply

    async def batch(self, commands: Sequence[Command[Any]], *, process: ProcessInfo | None = None) -> Batch:
        """Send all *commands* at once to one process, which must not be stopping before or after them.

        A refusal is a reply like any other: the commands after it still run. With *process*, nothing is sent to any
        other process.

        Raises:
            NotSent: nothing was sent: no connection, or another process than *process*.
            OutcomeUnknown: some may have run: timeout, lost connection, or a process that began to stop.
        """
        try:
            return await self._batch(commands, process=process, fresh=False)
        except _Stale:
            return await self._batch(commands, process=process, fresh=True)

    async def _batch(self, commands: Sequence[Command[Any]], *, process: ProcessInfo | None, fresh: bool) -> Batch:
        async with self._pool.connection(fresh=fresh) as connection:
            began = time.perf_counter()
            before = await self._identify(connection, fresh=fresh)
            identified = time.perf_counter()
            if process is not None and not before.same_process(process):
                problem = f"expected process {process.pid}, but process {before.pid} answered (reload or restart)"
                raise OtherProcess(str(self.address), problem)
            *replies, last = await connection.exchange([*commands, info()], timeout=self._reply_timeout)
            seconds = max(0.0, (time.perf_counter() - identified) - (identified - began))
            after = last.value if isinstance(last, Ok) else before
            if after.stopping or any(isinstance(reply, ProxyDisabled) for reply in replies):
                connection.close()
                raise DyingProcess(str(self.address), before.pid)
            return Batch(before, replies, seconds)

    async def _identify(self, connection: Connection, *, fresh: bool) -> ProcessInfo:
        """Identify the process behind *connection*; it may have exited or begun to stop in the meantime."""
        try:
            (reply,) = await connection.exchange([info()], timeout=self._connect_timeout)
        except OutcomeUnknown as error:
            if fresh:
                raise OtherProcess(
                    str(self.address), f"the connection broke before anything was sent: {error}"
                ) from error
            raise _Stale from error
        if not isinstance(reply, Ok):
            raise reply
        found: ProcessInfo = reply.value
        if found.stopping:
            connection.close()
            if fresh:
                raise OtherProcess(str(self.address), f"process {found.pid} is stopping")
            raise _Stale
        return found

    async def _connect(self) -> Connection:
        """Connect to a process that is not stopping; during a reload, either process may accept the connection."""
        for attempt in range(_CONNECT_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_CONNECT_PAUSE)
            connection = await connect(
                self.address, timeout=self._connect_timeout, hook=self._hook, opener=self._opener
            )
            if not connection.process.stopping:
                return connection
            connection.close()
        raise OtherProcess(str(self.address), "only a stopping process answers")


class _Stale(Exception):
    """A pooled connection is unusable; none of the caller's commands was sent."""
