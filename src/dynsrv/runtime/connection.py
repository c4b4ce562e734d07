"""One interactive connection to a Runtime API: bytes out and in, with time-outs that say what they waited for.

A connection is `reusable` only while every command that was sent has its whole reply read: a time-out, a reset or a
cancellation in between breaks it for good, because the next reply would be taken for another command's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from dynsrv.runtime.address import Address
from dynsrv.runtime.errors import ConnectionLost, OutcomeUnknown, ReplyTimeout
from dynsrv.runtime.events import Broke, Event, Hook, Replied
from dynsrv.runtime.protocol import Framing
from dynsrv.runtime.replies import Command, Reply
from dynsrv.runtime.tables import ProcessInfo

_READ_SIZE = 256 * 1024
_LARGE = 256 * 1024


class Connection:
    """An open connection in interactive mode; made by `dynsrv.runtime.connecting`. Not for two tasks at once."""

    def __init__(
        self,
        address: Address,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        hook: Hook | None = None,
    ) -> None:
        self._address = address
        self._reader = reader
        self._writer = writer
        self._hook = hook
        self._framing = Framing()
        self._owed = 0  # replies that HAProxy still owes us
        self.process: ProcessInfo
        """Who answered when the connection was made."""

    def __repr__(self) -> str:
        return f"<Connection {self._address} owed={self._owed}>"

    @property
    def reusable(self) -> bool:
        """Whether the next reply will be the next command's, as far as this side can tell."""
        in_step = self._owed == 0 and not self._framing.partial
        return in_step and not self._writer.is_closing() and not self._reader.at_eof()

    def close(self) -> None:
        """Close at once, whatever HAProxy still owes; it may go on with commands that it has read."""
        self._writer.transport.abort()

    async def exchange(self, commands: Sequence[Command[Any]], *, timeout: float) -> list[Reply[Any]]:
        """Send all *commands* at once and return their replies in order.

        *timeout* is in seconds, for each next piece of an answer: a long batch that goes on is never cut.

        Raises:
            ReplyTimeout, ConnectionLost: some of the commands may have run.
        """
        replies: list[Reply[Any]] = []
        self._owed += len(commands)
        began = run_began = time.perf_counter()
        run = 0
        # the transport writes on as HAProxy reads, while replies are read here: neither side can block the other
        self._writer.write("".join(f"{command.line}\n" for command in commands).encode("ascii"))
        while len(replies) < len(commands):
            for text in await self._receive(commands, replies, timeout):
                command = commands[len(replies)]
                # a dump of thousands of servers takes a while to read, for which nothing else must wait
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
        self, commands: Sequence[Command[Any]], replies: Sequence[Reply[Any]], timeout: float
    ) -> list[str]:
        """Return the next complete replies, at most as many as are owed and maybe none."""
        awaited = commands[len(replies)]
        progress = {"replies": len(replies), "commands": len(commands)}
        try:
            async with asyncio.timeout(timeout + awaited.expected_seconds):
                data = await self._reader.read(_READ_SIZE)
        except TimeoutError:
            raise self._broken(
                ReplyTimeout(str(self._address), awaited.line, timeout + awaited.expected_seconds, **progress)
            ) from None
        except OSError as error:
            raise self._broken(
                ConnectionLost(str(self._address), awaited.line, error.strerror or str(error), **progress)
            ) from error
        if not data:
            said = self._framing.partial.strip()
            cause = f"HAProxy closed it after {said[:200]!r}" if said else "HAProxy closed it"
            raise self._broken(ConnectionLost(str(self._address), awaited.line, cause, **progress))
        texts = self._framing.feed(data)
        if len(texts) > self._owed:
            raise self._broken(
                ConnectionLost(str(self._address), awaited.line, "more replies than commands came", **progress)
            )
        return texts

    def _broken(self, error: OutcomeUnknown) -> OutcomeUnknown:
        self.close()
        self._emit(Broke(type(error).__name__))
        return error

    def _emit(self, event: Event) -> None:
        if self._hook is not None:
            self._hook(event)
