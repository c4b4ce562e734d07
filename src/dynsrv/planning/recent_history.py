"""What does the planner have to know that HAProxy does not tell? Kept from pass to pass, forgotten by a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentHistory:
    """Of one backend of one proxy. All times are of the planner's clock.

    *drains*: since when each draining server drains.
    *peak*: the most servers that were wanted and served at once within the guard's window.
    *departed*: how many serving servers were drained within it.
    *refused*: names of servers that HAProxy refused to add at the last try.
    *trusted*: ids of servers that served in the process before, whose first check need not be awaited again.
    """

    drains: Mapping[str, float] = field(default_factory=dict)
    peak: int = 0
    departed: int = 0
    trusted: frozenset[int] = frozenset()
    refused: frozenset[str] = frozenset()
