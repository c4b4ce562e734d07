"""What does the planner need to know that HAProxy does not report? Kept between passes, lost in a restart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RecentService:
    """How many servers served within the guard's window, by time.

    *served*: how many desired servers served at the same time, where that was more than at any time since.
    *departed*: how many serving servers were drained.
    """

    served: tuple[tuple[float, int], ...] = ()
    departed: tuple[tuple[float, int], ...] = ()

    def before(self, serving: int, *, after: float = -math.inf) -> int:
        """Return the peak *after* a time, less the servers that went down by themselves; now, *serving* servers are."""
        peak = max((number for at, number in self.served if at > after), default=0)
        return min(peak, serving + sum(number for at, number in self.departed if at > after))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentHistory:
    """The recent history of one backend on one proxy. All times are of the planner's clock.

    *drains*: when the drain of each draining server began.
    *last_sessions*: the latest time at which a session may have begun on each server in drain or maintenance.
    *active* and *backup*: how many servers served, backup servers apart from the others.
    *refused*: names of servers that HAProxy refused in the last attempt to add them.
    *trusted*: ids of servers that served in HAProxy's previous process; they are admitted without a first check.
    *in_config_file*: names of servers that a reload would bring back; none of them may begin to leave yet.
    """

    drains: Mapping[str, float] = field(default_factory=dict)
    last_sessions: Mapping[str, float] = field(default_factory=dict)
    active: RecentService = RecentService()
    backup: RecentService = RecentService()
    trusted: frozenset[int] = frozenset()
    refused: frozenset[str] = frozenset()
    in_config_file: frozenset[str] = frozenset()
