"""What does a source promise? The contract between discovery and the rest, and nothing of any one kind."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast
from weakref import WeakValueDictionary

from dynsrv.model import Server, Snapshot

T = TypeVar("T")


class Source(Protocol):
    """Tells what is desired in one backend, again and again.

    `watch` yields the whole desired state, first as soon as it is known and then after every change; never a part of
    it, and never an empty snapshot for want of an answer. It raises `SourceError` when it cannot tell; whoever
    iterates then keeps the last snapshot and calls `watch` again later. It ends only by being cancelled or closed.
    """

    def watch(self) -> AsyncGenerator[Snapshot, None]: ...

    def inspect(self) -> AsyncGenerator[str, None]:
        """Yield a sentence for each thing that `watch` needs and that is as it should be, besides a snapshot.

        Raises:
            SourceError: the first that is not.
        """
        ...

    def observed(self, servers: Iterable[Server]) -> None:
        """Take note of dynsrv's servers in all proxies of the backend, seen when the last snapshot was known there."""
        ...

    def close(self) -> None:
        """Take note that the backend is not followed any more."""
        ...


class SharedResources:
    """What the sources of one process have in common, each found by its key and kept while a source holds it."""

    def __init__(self) -> None:
        self._things: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the thing of this *key*, made if there is none."""
        thing = self._things.get(key)
        if thing is None:
            thing = self._things[key] = make()
        return cast("T", thing)


@dataclass(frozen=True, slots=True)
class SourceContext:
    """Where a source is to work: for which backend, beside which configuration file, together with which others."""

    backend: str
    directory: Path
    shared: SharedResources
