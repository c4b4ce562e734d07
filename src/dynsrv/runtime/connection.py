"""How are commands exchanged on one connection? Interactive mode, with timeouts that name what they waited for.

A connection is `reusable` only if the complete reply to every sent command has been read: a timeout, a reset or a
cancellation in between makes it unusable, because the next reply would be attributed to another command.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from dynsrv.runtime.address import Address
from dynsrv.runtime.errors import ConnectionLost, OutcomeUnknown, ReplyTimeout, ReplyTooLarge
from dynsrv.runtime.events import Broke, Event, Hook, Replied
from dynsrv.runtime.protocol import Framing
from dynsrv.runtime.replies import Command, Reply
from dynsrv.runtime.tables import ProcessInfo

_READ_SIZE = 256 * 1024
_LARGE = 256 * 1024
MAX_BYTES = 64 * 2**20
"""Bytes of the replies to one exchange at most: the statistics of 180,000 servers."""
_PATIENCE = 12  # times the timeout for silence, which one reply may take as long as it does go on


class Connection:
    """An open connection in interactive mode, created by `dynsrv.runtime.connecting`. Not for concurrent use."""

    def __init__(
        self,
        address: Address,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        hook: Hook | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._address = address
        self._max_bytes = max_bytes
        self._reader = reader
        self._writer = writer
        self._hook = hook
        self._framing = Framing()
        self._owed = 0  # replies that are still outstanding
        self._bytes = 0  # that have come in this exchange
        self.process: ProcessInfo
        """The process that answered when the connection was opened."""

    def __repr__(self) -> str:
        return f"<Connection {self._address} owed={self._owed}>"

    @property
    def reusable(self) -> bool:
        """Whether the next reply will belong to the next command, as far as this side knows."""
        in_step = self._owed == 0 and not self._framing.partial
        return in_step and not self._writer.is_closing() and not self._reader.at_eof()

    def close(self) -> None:
        """Close immediately, even with outstanding replies; HAProxy may still execute commands that it has received."""
        self._writer.transport.abort()

    async def exchange(self, commands: Sequence[Command[Any]], *, timeout: float) -> list[Reply[Any]]:
        """Send all *commands* at once and return their replies in order.

        *timeout* is in seconds and applies to each chunk of an answer, so a long batch that progresses never times out;
        a single reply may take twelve times as long.

        Raises:
            ReplyTimeout, ReplyTooLarge, ConnectionLost: some of the commands may have run.
        """
        replies: list[Reply[Any]] = []
        self._owed += len(commands)
        self._bytes = 0
        began = run_began = time.perf_counter()
        run = 0
        loop = asyncio.get_running_loop()
        due = loop.time() + _PATIENCE * timeout  # by when the next reply has to have ended
        # the transport keeps writing while replies are read here, so neither side can block the other
        self._writer.write("".join(f"{command.line}\n" for command in commands).encode("ascii"))
        while len(replies) < len(commands):
            texts = await self._receive(commands, replies, timeout=timeout, due=due)
            if texts:
                due = loop.time() + _PATIENCE * timeout
            for text in texts:
                command = commands[len(replies)]
                # parsing a dump of thousands of servers takes a while and must not block the event loop
                large = len(text) > _LARGE
                replies.append(await asyncio.to_thread(command.classify, text) if large else command.classify(text))
                run += 1
                self._owed -= 1
                if len(replies) == len(commands) or commands[len(replies)].name != command.name:
                    began = time.perf_counter()
                    self._emit(Replied(command.name, run, began - run_began))
                    run, run_began = 0, began
        return replies

    async def _receive(
        self, commands: Sequence[Command[Any]], replies: Sequence[Reply[Any]], *, timeout: float, due: float
    ) -> list[str]:
        """Return the next complete replies, at most as many as are outstanding, possibly none."""
        awaited = commands[len(replies)]
        progress = {"replies": len(replies), "commands": len(commands)}
        silent = asyncio.get_running_loop().time() + timeout
        try:
            async with asyncio.timeout_at(min(silent, due) + awaited.expected_seconds):
                data = await self._reader.read(_READ_SIZE)
        except TimeoutError:
            waited = timeout if silent <= due else _PATIENCE * timeout
            raise self._broken(
                ReplyTimeout(str(self._address), awaited.line, waited + awaited.expected_seconds, **progress)
            ) from None
        except OSError as error:
            raise self._broken(
                ConnectionLost(str(self._address), awaited.line, error.strerror or str(error), **progress)
            ) from error
        if not data:
            said = self._framing.partial.strip()
            cause = f"HAProxy closed it after {said[:200]!r}" if said else "HAProxy closed it"
            raise self._broken(ConnectionLost(str(self._address), awaited.line, cause, **progress))
        self._bytes += len(data)
        if self._bytes > self._max_bytes:
            raise self._broken(ReplyTooLarge(str(self._address), awaited.line, self._max_bytes, **progress))
        texts = self._framing.feed(data)
        if len(texts) > self._owed:
            raise self._broken(
                ConnectionLost(str(self._address), awaited.line, "received more replies than commands", **progress)
            )
        return texts

    def _broken(self, error: OutcomeUnknown) -> OutcomeUnknown:
        self.close()
        self._emit(Broke(type(error).__name__))
        return error

    def _emit(self, event: Event) -> None:
        if self._hook is not None:
            self._hook(event)
