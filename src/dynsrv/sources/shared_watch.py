"""How do several backends follow one thing? It is watched once, as long as anybody subscribes to it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

from dynsrv.errors import SourceError

T = TypeVar("T")


class SharedWatch(ABC, Generic[T]):
    """A task that runs while it has subscribers. All of them get what it publishes, and the error that ends it."""

    def __init__(self) -> None:
        self._subscribers: set[asyncio.Queue[T | BaseException]] = set()
        self._task: asyncio.Task[None] | None = None
        self._latest: T | None = None  # of the current task
        self._failures = 0  # since the last publication

    @property
    def subscribers(self) -> int:
        """The current number of subscribers."""
        return len(self._subscribers)

    @abstractmethod
    async def _run(self) -> None:
        """Call `_publish` with each item, and never return."""

    async def subscribe(self) -> AsyncGenerator[T, None]:
        """Yield the latest item, if there is one, then all later ones; if several are waiting, only the last.

        Raises:
            SourceError: the task failed. To subscribe again starts another one.
        """
        queue: asyncio.Queue[T | BaseException] = asyncio.Queue()
        self._subscribers.add(queue)
        try:
            if self._task is None:
                self._latest = None
                self._task = asyncio.create_task(self._run(), name=str(self))
                self._task.add_done_callback(self._on_done)
            elif self._latest is not None:
                yield self._latest
            while True:
                item = await queue.get()
                while not queue.empty():
                    item = queue.get_nowait()
                if isinstance(item, SourceError):
                    raise SourceError(item.reason, str(item))  # each subscriber needs an exception of its own
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._subscribers.discard(queue)
            if not self._subscribers and self._task is not None:
                self._task.cancel()
                self._task = None

    def _publish(self, item: T) -> None:
        self._latest, self._failures = item, 0
        self._put(item)

    def _put(self, item: T | BaseException) -> None:
        for queue in self._subscribers:
            queue.put_nowait(item)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if task is self._task:  # otherwise the subscribers already follow another one
            self._task = None
            self._failures += 1
            if error is not None:
                self._put(error)
