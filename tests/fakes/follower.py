"""A subscriber of a watch or a source, which remembers what it received."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Generic, TypeVar

from dynsrv.errors import SourceError

T = TypeVar("T")


class Follower(Generic[T]):
    """Follows in a task; with *retry*, again so many seconds after an error."""

    def __init__(self, follow: Callable[[], AsyncGenerator[T, None]], *, retry: float | None = None) -> None:
        self._follow = follow
        self._retry = retry
        self.told: list[T] = []
        self.times: list[float] = []
        """When each came, by the loop's clock."""
        self.errors: list[Exception] = []
        self.error_times: list[float] = []
        self._task = asyncio.create_task(self._run())

    @property
    def latest(self) -> T:
        """What it received last."""
        return self.told[-1]

    @property
    def error(self) -> Exception:
        """The only error."""
        (error,) = self.errors
        return error

    @property
    def reason(self) -> str:
        """The reason of the only error."""
        assert isinstance(self.error, SourceError)
        return self.error.reason

    async def leave(self) -> None:
        """Stop following."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            try:
                async with aclosing(self._follow()) as news:
                    async for one in news:
                        self.told.append(one)
                        self.times.append(clock())
                raise AssertionError("it ended by itself")
            except Exception as error:  # noqa: BLE001 - the test checks it, a bug as well
                self.errors.append(error)
                self.error_times.append(clock())
            if self._retry is None:
                return
            await asyncio.sleep(self._retry)


@asynccontextmanager
async def following(
    follow: Callable[[], AsyncGenerator[T, None]], *, retry: float | None = None
) -> AsyncIterator[Follower[T]]:
    """Follow for as long as the block lasts.

    Raises:
        AssertionError: the fake received a request that dynsrv has no reason to send.
    """
    follower = Follower(follow, retry=retry)
    try:
        yield follower
    finally:
        await follower.leave()
    for error in follower.errors:
        if isinstance(error, AssertionError):
            raise error
