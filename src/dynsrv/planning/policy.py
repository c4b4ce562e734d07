"""What may a plan do in one backend? The operator's choices, as the planner needs them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Admission(StrEnum):
    """When a new server may receive requests."""

    AFTER_CHECK = "after-check"
    IMMEDIATELY = "immediately"


class DrainTimeoutAction(StrEnum):
    """What becomes of the sessions that are left when a drain's time is over."""

    CLOSE = "close"
    WAIT = "wait"


class OnEmpty(StrEnum):
    """What an empty snapshot means."""

    KEEP = "keep"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan may take away at most.

    *max_removed* is a share (a float, 0.0-1.0) or a number (an int) of serving servers, within *window* seconds.
    *min_ready* is how many servers the backend is never taken below.
    """

    max_removed: float | int = 0.5
    window: float = 60.0
    min_ready: int = 1
    on_empty: OnEmpty = OnEmpty.KEEP


NO_LIMITS = Limits(max_removed=1.0, min_ready=0, on_empty=OnEmpty.REMOVE)
"""What an operator who overrides the guard allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The operator's choices for one backend.

    *prefix* begins the name of every server that is ours; with *adopt_all* all others are ours too. *weight* and
    *maxconn* (0: no bound) are for endpoints that bring none. *options* are keywords of `add server`, one with its
    arguments an item, without weight, maxconn and id; a server has a check if one of them is `check`. *drain_timeout*
    is in seconds.
    """

    prefix: str = "dyn-"
    adopt_all: bool = False
    weight: int = 100
    maxconn: int = 0
    options: tuple[str, ...] = ()
    admission: Admission = Admission.AFTER_CHECK
    drain_timeout: float = 30.0
    on_drain_timeout: DrainTimeoutAction = DrainTimeoutAction.CLOSE
    limits: Limits = Limits()

    def owns(self, name: str) -> bool:
        """Whether a server of this name is ours."""
        return self.adopt_all or name.startswith(self.prefix)

    @property
    def has_check(self) -> bool:
        """Whether servers get a health check."""
        return "check" in self.options
