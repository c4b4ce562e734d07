"""Those who follow a watch or a source, and what they were told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Generic, TypeVar

from dynsrv.errors import SourceError
from dynsrv.sources.consul.agents import CONNECTIONS, SHORT_CONNECTIONS, Agents, Budget
from dynsrv.sources.consul.requests import Query
from dynsrv.sources.consul.responses import Instance
from dynsrv.sources.consul.watch import Watch
from tests.fakes.consul import FakeConsul

T = TypeVar("T")

WAIT = 30.0
LONGEST_WAIT = WAIT * 17 / 16
"""Seconds until Consul answers a question that has no news."""


def some_agents(
    consul: FakeConsul, *, blocking: int = CONNECTIONS - SHORT_CONNECTIONS, short: int = SHORT_CONNECTIONS
) -> Agents:
    """The agents of *consul*, of which the first is asked first."""
    return Agents(tuple(consul.agents), transport=consul, budget=Budget(blocking + short, short=short))


def a_watch(consul: FakeConsul, *, service: str = "web", wait: float = WAIT, **query: Any) -> Watch:
    """A watch of one service."""
    return Watch(some_agents(consul), Query(service, **query), wait=wait)


def nodes(instances: Iterable[Instance]) -> list[str]:
    """The names of the nodes of instances."""
    return [instance.node.name for instance in instances]


class Follower(Generic[T]):
    """One who follows, and begins again some seconds after an error if *retry* says how many."""

    def __init__(self, follow: Callable[[], AsyncGenerator[T, None]], *, retry: float | None = None) -> None:
        self._follow = follow
        self._retry = retry
        self.told: list[T] = []
        self.times: list[float] = []
        """When it was told, by the loop's clock."""
        self.errors: list[Exception] = []
        self.error_times: list[float] = []
        self._task = asyncio.create_task(self._run())

    @property
    def latest(self) -> T:
        """What it was told last."""
        return self.told[-1]

    @property
    def error(self) -> Exception:
        """The only error that it was told."""
        (error,) = self.errors
        return error

    @property
    def reason(self) -> str:
        """The reason of the only error that it was told."""
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
            except Exception as error:  # noqa: BLE001 - a test is to see it, a bug as well
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
        AssertionError: the fake was asked what dynsrv has no reason to ask.
    """
    follower = Follower(follow, retry=retry)
    try:
        yield follower
    finally:
        await follower.leave()
    for error in follower.errors:
        if isinstance(error, AssertionError):
            raise error
