"""What is a pass, and how did it end?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from dynsrv.errors import BackendRejected, DynsrvError, InternalError, ProxyChanged
from dynsrv.model import Backend
from dynsrv.planning import Desired
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
    FAILED = "failed"

    @classmethod
    def of(cls, error: DynsrvError) -> Result:
        """Return how a pass that failed with *error* ended."""
        match error:
            case BackendRejected():
                return cls.REJECTED
            case ProxyChanged():
                return cls.RELOADED
            case InternalError():
                return cls.FAILED
            case _:
                return cls.UNREACHABLE


@dataclass(frozen=True)
class Pass:
    """A pass that got as far as a plan: what was desired and observed, what was planned, and the results.

    *drift*: HAProxy had been in sync, and neither dynsrv nor the source has changed anything since. *drains* has the
    start of each drain by server, and *seen_at* is when HAProxy was observed, both in Unix time. *desired_since* is
    when the desired servers last changed, by the clock of `DesiredState`, or None if nobody follows them. *seconds* is
    the duration of the pass.
    """

    desired: Desired
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
        """The first of these that applies: CONVERGED, CHANGED (any step was done), REFUSED, GUARDED, WAITING."""
        if self.plan.converged:
            return Result.CONVERGED
        if self.done:
            return Result.CHANGED
        if self.refused:
            return Result.REFUSED
        # With neither, somebody else made the same changes at the same time; the next pass will show that.
        return Result.GUARDED if self.plan.refusals and not self.waits else Result.WAITING

    @cached_property
    def done(self) -> int:
        """The number of steps that HAProxy carried out."""
        return sum(one.outcome is Outcome.DONE for one in self.applied.results)

    @cached_property
    def waits(self) -> list[Wait]:
        """The waits that end by themselves: not those for the guard, nor of servers whose step HAProxy refused."""
        refused = {one.step.server for one in self.refused}
        return [wait for wait in self.plan.waits if wait.waits_for is not WaitsFor.GUARD and wait.server not in refused]

    @cached_property
    def refused(self) -> list[StepResult]:
        """HAProxy's refusals that an operator needs to know about."""
        return [one for one in self.applied.results if one.outcome is not Outcome.DONE and not one.expected]

    @property
    def admitted(self) -> bool:
        """Whether every desired server is in service: none is left to add, to admit, or to wait for."""
        return not (
            any(isinstance(step, _ADMITTING) for step in self.plan.steps)
            or any(wait.waits_for in _ADMISSION_WAITS for wait in self.plan.waits)
        )

    @property
    def final(self) -> bool:
        """Whether another pass would have the same result, unless something else changes."""
        return self.result in {Result.CONVERGED, Result.GUARDED} or (self.result is Result.REFUSED and not self.waits)
