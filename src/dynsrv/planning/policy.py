"""What may a plan do in one backend? The operator's settings, as the planner needs them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Admission(StrEnum):
    """When a new server may receive requests."""

    AFTER_CHECK = "after-check"
    IMMEDIATELY = "immediately"


class DrainTimeoutAction(StrEnum):
    """What happens to the sessions that remain when a drain times out."""

    CLOSE = "close"
    WAIT = "wait"


class OnEmpty(StrEnum):
    """What an empty snapshot means."""

    KEEP = "keep"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a plan may remove.

    *max_removed* is a share (a float, 0.0-1.0) or a number (an int) of serving servers, within *window* seconds.
    *min_ready* is the number of serving servers that must remain.
    """

    max_removed: float | int = 0.5
    window: float = 60.0
    min_ready: int = 1
    on_empty: OnEmpty = OnEmpty.KEEP


NO_LIMITS = Limits(max_removed=1.0, min_ready=0, on_empty=OnEmpty.REMOVE)
"""The limits while an operator overrides the guard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The operator's settings for one backend.

    dynsrv owns the servers whose name begins with *prefix*; with *adopt_all*, all servers of the backend. *weight* and
    *maxconn* (0: no limit) apply to endpoints without their own. Each item of *options* is a keyword of `add server`
    with its arguments, except weight, maxconn and id; servers have a health check if one item is `check`.
    *drain_timeout* is in seconds.
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
        """Whether dynsrv owns a server of this name."""
        return self.adopt_all or name.startswith(self.prefix)

    @property
    def has_check(self) -> bool:
        """Whether servers have a health check."""
        return "check" in self.options
