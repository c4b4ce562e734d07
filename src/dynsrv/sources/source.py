"""What does a source promise? The contract of all kinds of sources with the rest of dynsrv.

A kind is a subclass of `SourceSettings`, its keys in the configuration file, which creates a `Source` for each backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast
from weakref import WeakValueDictionary

from dynsrv.documents.values import Section
from dynsrv.model import Server, Snapshot
from dynsrv.sources.endpoint_rules import ANY_ENDPOINT, EndpointRules

T = TypeVar("T")


class Source(ABC):
    """Follows which endpoints one backend should have.

    What every kind promises, and tests/contract asserts:

    - The first snapshot comes as soon as the state is known, then one after every change.
    - A snapshot is the whole state: never a part of it, and never empty because an answer is missing.
    - An endpoint that `SourceContext.rules` refuse is never in a snapshot; it is an error, or one of its notes.
    - What cannot be read is a `SourceError`, which ends the iteration. Whoever iterates keeps the last snapshot and
      calls `watch` again later.
    - Iteration ends only by an error, or by being cancelled or closed; it then holds nothing open.
    - Sources that would ask for the same share their requests, by `SourceContext.shared`.
    """

    longest_pause: ClassVar[float] = 10.0
    """Seconds at most between a failure and the next `watch`."""

    @abstractmethod
    def watch(self) -> AsyncGenerator[Snapshot, None]:
        """Yield the desired state of the backend, now and after every change.

        Raises:
            SourceError: it cannot be read.
        """

    async def inspect(self) -> AsyncGenerator[str, None]:
        """Yield a sentence for each prerequisite of `watch` that is met, apart from a first snapshot.

        Raises:
            SourceError: the first that is not.
        """
        sentences: tuple[str, ...] = ()
        for sentence in sentences:
            yield sentence

    def observed(self, servers: Iterable[Server]) -> None:  # noqa: B027 - of use to some kinds only
        """Note dynsrv's *servers* on all proxies of the backend, observed after the last snapshot was applied."""

    def close(self) -> None:  # noqa: B027 - of use to some kinds only
        """Give up what outlives an iteration: the backend is no longer followed."""


class SharedResources:
    """What the sources of one process share: found by key, and kept as long as a source holds a reference."""

    def __init__(self) -> None:
        self._things: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what has this *key*; if nothing has, what *make* returns."""
        thing = self._things.get(key)
        if thing is None:
            thing = self._things[key] = make()
        return cast("T", thing)


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source is created for: the *backend*, the *directory* that relative paths begin at, and what is shared.

    *rules* say which endpoints it may list.
    """

    backend: str
    directory: Path
    shared: SharedResources
    rules: EndpointRules = ANY_ENDPOINT


class SourceSettings(Section, ABC):
    """The keys of one kind of source. A subclass narrows *kind* to a literal."""

    kind: str

    @abstractmethod
    def create(self, context: SourceContext) -> Source:
        """Return the source for the backend of *context*. What it needs besides these keys is imported only here."""
