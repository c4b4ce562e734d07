"""What does a source promise? The contract between discovery and the rest, and nothing of any one kind."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from dynsrv.model import Snapshot


class Source(Protocol):
    """Tells what is desired in one backend, again and again.

    `watch` yields the whole desired state, first as soon as it is known and then after every change; never a part of
    it, and never an empty snapshot for want of an answer. It raises `SourceError` when it cannot tell; whoever
    iterates then keeps the last snapshot and calls `watch` again later. It ends only by being cancelled or closed.
    """

    def watch(self) -> AsyncGenerator[Snapshot, None]: ...
