"""What can be measured? Frozen values that the client passes to a hook; it does not import a metrics library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replied:
    """A run of equal commands (`add server`, `show info`, …) on one connection has been answered.

    *seconds* is the time from sending, or from the previous reply, to the last reply of the run.
    """

    command: str
    replies: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Broke:
    """A connection was closed because of an error. *error* is the name of its class."""

    error: str


Event = Replied | Broke
Hook = Callable[[Event], None]
"""Called in the event loop after each run of replies: it must not block and not raise."""
