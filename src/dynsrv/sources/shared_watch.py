"""How do several backends follow one thing? It is watched once, while anybody wants to know."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

from dynsrv.errors import SourceError

T = TypeVar("T")


class SharedWatch(ABC, Generic[T]):
    """What is done while it has followers, once for all of them. A failure reaches them all, and ends it."""

    def __init__(self) -> None:
        self._followers: set[asyncio.Queue[T | BaseException]] = set()
        self._task: asyncio.Task[None] | None = None
        self._latest: T | None = None  # of the present task
        self._failures = 0  # since there were news

    @property
    def followers(self) -> int:
        """How many follow it now."""
        return len(self._followers)

    @abstractmethod
    async def _run(self) -> None:
        """Call `_tell` with each piece of news, and never return."""

    async def subscribe(self) -> AsyncGenerator[T, None]:
        """Yield the latest news, if there are any, and then all others; of several at once, the last.

        Raises:
            SourceError: it failed; the next subscriber starts it again.
        """
        news: asyncio.Queue[T | BaseException] = asyncio.Queue()
        self._followers.add(news)
        try:
            if self._task is None:
                self._latest = None
                self._task = asyncio.create_task(self._run(), name=str(self))
                self._task.add_done_callback(self._ended)
            elif self._latest is not None:
                yield self._latest
            while True:
                latest = await news.get()
                while not news.empty():
                    latest = news.get_nowait()
                if isinstance(latest, SourceError):
                    raise SourceError(latest.reason, str(latest))  # an exception of one's own for each follower
                if isinstance(latest, BaseException):
                    raise latest
                yield latest
        finally:
            self._followers.discard(news)
            if not self._followers and self._task is not None:
                self._task.cancel()
                self._task = None

    def _tell(self, news: T) -> None:
        self._latest, self._failures = news, 0
        self._put(news)

    def _put(self, news: T | BaseException) -> None:
        for follower in self._followers:
            follower.put_nowait(news)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if task is self._task:  # who follows another is not to hear of it
            self._task = None
            self._failures += 1
            if error is not None:
                self._put(error)
