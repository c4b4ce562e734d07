"""What is a pass, and how did it end? Values that the loop makes and others read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from dynsrv.errors import BackendRejected, DynsrvError, ProxyChanged
from dynsrv.model import Backend
from dynsrv.steps import Add, Admit, Applied, EnableHealth, Outcome, Plan, SetWeight, StepResult, Wait, WaitsFor

_ADMITTING = (Add, EnableHealth, Admit, SetWeight)
_ADMISSION_WAITS = {WaitsFor.CHECK, WaitsFor.SUCCESSOR}


class Result(StrEnum):
    """How a pass ended."""

    CONVERGED = "converged"
    CHANGED = "changed"
    WAITING = "waiting"
    GUARDED = "guarded"
    REFUSED = "refused"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    RELOADED = "reloaded"

    @classmethod
    def of(cls, error: DynsrvError) -> Result:
        """Return how a pass ended that failed with *error*."""
        match error:
            case BackendRejected():
                return cls.REJECTED
            case ProxyChanged():
                return cls.RELOADED
            case _:
                return cls.UNREACHABLE


@dataclass(frozen=True)
class Pass:
    """A pass that got as far as a plan: what was observed, what was to be done, and what became of it.

    *drift*: HAProxy was in sync before, and neither dynsrv nor the source changed anything since. *drains* is since
    when each server has been in drain, in Unix time, by its name; *seen_at* is when HAProxy was observed.
    *desired_since* is when what is desired last changed, by the clock of whoever follows it; None: that is not known.
    *seconds* is how long it took.
    """

    observed: Backend
    plan: Plan
    applied: Applied
    drift: bool = False
    drains: Mapping[str, float] = field(default_factory=dict)
    seen_at: float = 0.0
    desired_since: float | None = None
    seconds: float = 0.0

    @cached_property
    def result(self) -> Result:
        """How it ended: the first of these that holds: in sync, something done, something rejected, all guarded."""
        if self.plan.converged:
            return Result.CONVERGED
        if self.done:
            return Result.CHANGED
        if self.refused:
            return Result.REFUSED
        # With neither, somebody else was doing the same at the same time: the next pass will tell.
        return Result.GUARDED if self.plan.refusals and not self.waits else Result.WAITING

    @cached_property
    def done(self) -> int:
        """How many steps HAProxy carried out."""
        return sum(one.outcome is Outcome.DONE for one in self.applied.results)

    @cached_property
    def waits(self) -> list[Wait]:
        """What will change by itself: not what the guard refuses, nor a server whose step HAProxy refused."""
        refused = {one.step.server for one in self.refused}
        return [wait for wait in self.plan.waits if wait.waits_for is not WaitsFor.GUARD and wait.server not in refused]

    @cached_property
    def refused(self) -> list[StepResult]:
        """The refusals of HAProxy's that an operator has to know of."""
        return [one for one in self.applied.results if one.outcome is not Outcome.DONE and not one.expected]

    @property
    def admitted(self) -> bool:
        """Whether every desired server serves: there is none left to add, to admit, or to wait for."""
        return not (
            any(isinstance(step, _ADMITTING) for step in self.plan.steps)
            or any(wait.waits_for in _ADMISSION_WAITS for wait in self.plan.waits)
        )

    @property
    def final(self) -> bool:
        """Whether another pass would come to the same, unless somebody changes something."""
        return self.result in {Result.CONVERGED, Result.GUARDED} or (self.result is Result.REFUSED and not self.waits)
