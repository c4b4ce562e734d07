"""A source that says what a test has written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable

from dynsrv.model import Server, Snapshot
from dynsrv.sources.source import Source


class ScriptedSource(Source):
    """Says one line of its script after the other, and then nothing more.

    A snapshot is told; an error, and None, end one `watch`; a number lets so many seconds pass.
    """

    def __init__(self, *script: Snapshot | Exception | float | None) -> None:
        self.script = list(script)
        self.watched: list[float] = []
        """When it was asked, by the loop's clock."""
        self.closed = 0
        """How often whoever asked was done with the answers."""
        self.ended = False
        """Whether nobody follows any more."""
        self.left: list[tuple[Server, ...]] = []
        """The servers that were still there, each time that it was told."""

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """Tell what the script says next."""
        self.watched.append(asyncio.get_running_loop().time())
        try:
            while self.script:
                said = self.script.pop(0)
                match said:
                    case None:
                        return
                    case Exception():
                        raise said
                    case Snapshot():
                        yield said
                    case seconds:
                        await asyncio.sleep(seconds)
            await asyncio.Event().wait()
        finally:
            self.closed += 1

    async def inspect(self) -> AsyncGenerator[str, None]:
        """Tell how much there is left to say."""
        yield f"{len(self.script)} lines of its script are left"

    def observed(self, servers: Iterable[Server]) -> None:
        """Take note of them."""
        self.left.append(tuple(servers))

    def close(self) -> None:
        """Take note that nobody follows any more."""
        self.ended = True
