"""What is a pass, and how did it end? Values that the loop makes and others read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from dynsrv.model import Backend
from dynsrv.steps import Applied, Outcome, Plan, StepResult, Wait, WaitsFor


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


@dataclass(frozen=True)
class Pass:
    """A pass that got as far as a plan: what was seen, what was to be done, and what became of it.

    *drift*: HAProxy was as desired before, and neither dynsrv nor the source changed anything since. *drains* is
    since when each server has been in drain, in Unix time, by its name; *seen_at* is when HAProxy was looked at.
    """

    observed: Backend
    plan: Plan
    applied: Applied
    drift: bool = False
    drains: Mapping[str, float] = field(default_factory=dict)
    seen_at: float = 0.0

    @cached_property
    def result(self) -> Result:
        """CHANGED if HAProxy did anything, REFUSED where it would not, GUARDED where the guard would not, and so on."""
        if self.plan.converged:
            return Result.CONVERGED
        if self.done:
            return Result.CHANGED
        if self.refused:
            return Result.REFUSED
        # With neither, somebody else was doing the same at the same time: the next look will tell.
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
    def final(self) -> bool:
        """Whether another pass would come to the same, unless somebody changes something."""
        return self.result in {Result.CONVERGED, Result.GUARDED} or (self.result is Result.REFUSED and not self.waits)
