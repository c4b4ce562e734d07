"""What is there to measure? Frozen values that the client hands to a hook; it imports no metrics library itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replied:
    """A run of equal commands (`add server`, `show info`, …) on one connection was answered.

    *seconds* is the time from sending, or from the reply before, to the last reply of the run.
    """

    command: str
    replies: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Broke:
    """A connection was given up. *error* is the name of the error's class."""

    error: str


Event = Replied | Broke
Hook = Callable[[Event], None]
"""Called in the event loop after each run of replies: it must not block and not raise."""
