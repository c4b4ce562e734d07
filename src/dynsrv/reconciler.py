"""When is HAProxy looked at, and what is done about what is seen? The loop over one backend of one proxy.

A wake-up says "look again", never what happened: each pass observes HAProxy afresh, asks the planner, and applies the
steps. A pass that did something, or that waits for something, is soon followed by another; otherwise the next wake-up
or the periodic resync is. HAProxy is the only truth: nothing is believed because it was sent.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from dynsrv.errors import BackendRejected, DynsrvError, ProxyChanged
from dynsrv.feed import Feed
from dynsrv.metrics import Metrics
from dynsrv.model import (
    Add,
    AdminState,
    Admit,
    Applied,
    Backend,
    CloseSessions,
    Delete,
    Disable,
    Drain,
    EnableHealth,
    Outcome,
    Plan,
    SetWeight,
    Step,
    StepResult,
    Wait,
    WaitsFor,
)
from dynsrv.planning import Policy, Targets, make_plan
from dynsrv.proxy import Proxy

log = structlog.get_logger()

_SOON = 0.05  # seconds until the pass after one that changed something
_LATER = 2.0  # seconds at most between two passes that wait for a check, for sessions, or for HAProxy to come back
_GROWTH = 1.6
_LINES_AT_ONCE = 100

_SENTENCES: dict[type[Step], str] = {
    Add: "server added",
    EnableHealth: "health check enabled",
    Admit: "server gets requests",
    SetWeight: "weight changed",
    Drain: "server drains",
    Disable: "server in maintenance",
    CloseSessions: "sessions closed",
    Delete: "server deleted",
}
_ADMITTING = (Add, EnableHealth, Admit, SetWeight)


class Result(StrEnum):
    """How a pass ended."""

    CONVERGED = "converged"
    CHANGED = "changed"
    WAITING = "waiting"
    REFUSED = "refused"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    RELOADED = "reloaded"


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass that got as far as a plan: what was seen, what was to be done, and what became of it."""

    observed: Backend
    plan: Plan
    applied: Applied

    @property
    def result(self) -> Result:
        """CHANGED if HAProxy did anything, REFUSED if it would not, else WAITING or CONVERGED."""
        if self.plan.converged:
            return Result.CONVERGED
        if self.done:
            return Result.CHANGED
        if self.refused:
            return Result.REFUSED
        return Result.WAITING

    @property
    def done(self) -> int:
        """How many steps HAProxy carried out."""
        return sum(one.outcome is Outcome.DONE for one in self.applied.results)

    @property
    def waits(self) -> list[Wait]:
        """What is really waited for: of a server whose step was refused there is nothing to wait for."""
        refused = {one.step.server for one in self.refused}
        return [wait for wait in self.plan.waits if wait.server not in refused]

    @property
    def refused(self) -> list[StepResult]:
        """The refusals that an operator has to know of."""
        return [one for one in self.applied.results if one.outcome is not Outcome.DONE and not one.expected]


class Reconciler:
    """Keeps one backend of one proxy as its feed wants it. *resync* is in seconds."""

    def __init__(
        self,
        *,
        backend: str,
        proxy: Proxy,
        policy: Policy,
        metrics: Metrics,
        resync: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.backend = backend
        self.proxy = proxy
        self.policy = policy
        self._metrics = metrics
        self._resync = resync
        self._clock = clock
        self._labels = (proxy.name, backend)
        self._log = log.bind(proxy=proxy.name, backend=backend)
        self._wake = asyncio.Event()
        self._drains: dict[str, float] = {}
        self._told: set[tuple[str, str, str]] = set()  # refusals already logged
        self._delay = _SOON
        self._settled_for: float | None = None  # the feed's change whose convergence was measured
        self.last: Pass | None = None
        """The last pass that got as far as a plan; None: there was none yet."""
        self.failure: DynsrvError | None = None
        """Why the last pass failed; None if it did not."""

    def wake(self) -> None:
        """Look again now."""
        self._wake.set()

    async def run(self, feed: Feed) -> None:
        """Follow *feed* until cancelled."""
        while True:
            self._wake.clear()
            delay = await self.attempt(feed.targets) if feed.targets is not None else None
            if feed.changed_at is not None:
                self._measure_convergence(feed.changed_at)
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
                self._delay = _SOON
            except TimeoutError:
                pass

    async def attempt(self, desired: Targets) -> float:
        """Make one pass, whatever becomes of it, and return in how many seconds the next is due."""
        began = self._clock()
        try:
            self.last = await self._pass(desired)
        except BackendRejected as error:
            return self._failed(error, Result.REJECTED)
        except ProxyChanged as error:
            return self._failed(error, Result.RELOADED)
        except DynsrvError as error:
            return self._failed(error, Result.UNREACHABLE)
        if self.failure is not None:
            if isinstance(self.failure, BackendRejected):
                self._metrics.backend_rejected.labels(*self._labels, self.failure.reason).set(0)
            self._log.info("backend is managed again")
            self.failure = None
        result = self.last.result
        self._metrics.passes.labels(*self._labels, result).inc()
        self._metrics.pass_duration.labels(*self._labels).observe(self._clock() - began)
        return self._next(result, self.last)

    async def _pass(self, desired: Targets) -> Pass:
        observed = await self.proxy.observe(self.backend)
        now = self._clock()
        draining = [server.name for server in observed.servers if server.admin is AdminState.DRAIN]
        self._drains = {name: self._drains.get(name, now) for name in draining}
        plan = make_plan(desired=desired, observed=observed, drains=self._drains, now=now, policy=self.policy)
        applied = Applied()
        if plan.steps:
            applied = await self.proxy.apply(observed, plan.steps)
            await self._tell(applied)
        this = Pass(observed, plan, applied)
        self._count(this)
        return this

    def _next(self, result: Result, this: Pass) -> float:
        match result:
            case Result.CONVERGED:
                self._delay = _SOON
                return self._resync
            case Result.CHANGED:
                self._delay = _SOON
                return _SOON
            case Result.REFUSED if not this.waits:
                limit = self._resync
            case _:
                limit = min(_LATER, self._resync)
        deadlines = [wait.deadline for wait in this.waits if wait.deadline is not None]
        delay = min([self._delay, limit, *(max(_SOON, deadline) for deadline in deadlines)])
        self._delay = min(self._delay * _GROWTH, self._resync)
        return delay

    def _failed(self, error: DynsrvError, result: Result) -> float:
        self._metrics.passes.labels(*self._labels, result).inc()
        if isinstance(error, BackendRejected):
            self._metrics.backend_rejected.labels(*self._labels, error.reason).set(1)
        if result is not Result.RELOADED:  # which the probe tells, once for all backends
            if self.failure is None or str(self.failure) != str(error):
                level = self._log.error if isinstance(error, BackendRejected) else self._log.warning
                level("backend cannot be managed now", error=str(error))
            self.failure = error
        if isinstance(error, BackendRejected):
            return self._resync
        delay = min(self._delay, _LATER)
        self._delay = min(self._delay * _GROWTH, _LATER)
        return delay

    async def _tell(self, applied: Applied) -> None:
        """Log one line for each change in HAProxy, and each new refusal."""
        for number, (step, outcome, detail, expected) in enumerate(
            (one.step, one.outcome, one.detail, one.expected) for one in applied.results
        ):
            if number % _LINES_AT_ONCE == _LINES_AT_ONCE - 1:
                await asyncio.sleep(0)  # thousands of lines must not hold the others up
            if outcome is Outcome.DONE:
                self._log.info(_SENTENCES[type(step)], server=step.server, reason=step.reason)
                continue
            key = (step.server, step.kind, detail)
            if key in self._told:
                continue
            self._told.add(key)
            if expected:
                self._log.debug("step is tried again", server=step.server, step=key[1], answer=detail)
            else:
                self._log.warning("HAProxy refused a step", server=step.server, step=key[1], answer=detail)

    def _count(self, this: Pass) -> None:
        steps = Counter((one.step.kind, one.outcome) for one in this.applied.results)
        for (step, outcome), number in steps.items():
            self._metrics.steps.labels(*self._labels, step, outcome).inc(number)
        ours = [server for server in this.observed.servers if server.name.startswith(self.policy.prefix)]
        states = Counter(server.admin for server in ours)
        waiting = sum(wait.waits_for is WaitsFor.CHECK for wait in this.waits)
        counts = {
            "waiting_check": waiting,
            "ready": states[AdminState.READY],
            "draining": states[AdminState.DRAIN],
            "maintenance": max(0, states[AdminState.MAINT] - waiting),
            "refused": sum(isinstance(one.step, Add) for one in this.refused),
        }
        for state, number in counts.items():
            self._metrics.servers.labels(*self._labels, state).set(number)
        if this.plan.converged:
            self._told.clear()

    def _measure_convergence(self, changed_at: float) -> None:
        """Measure, once for each change of the feed's, how long it took until every wanted server served."""
        if self._settled_for == changed_at or self.failure is not None or self.last is None:
            return
        plan = self.last.plan
        admitting = any(isinstance(step, _ADMITTING) for step in plan.steps)
        if admitting or any(wait.waits_for in {WaitsFor.CHECK, WaitsFor.SUCCESSOR} for wait in plan.waits):
            return
        self._settled_for = changed_at
        self._metrics.convergence.labels(self.backend).observe(self._clock() - changed_at)
