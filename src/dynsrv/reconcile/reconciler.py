"""When is HAProxy looked at, and what is done about what is seen? The loop over one backend of one proxy.

A wake-up says "look again", never what happened: each pass observes HAProxy afresh, asks the planner, and applies the
steps. A pass that did something, or that waits for something, is soon followed by another; otherwise the next wake-up
or the periodic resync is. HAProxy is the only truth: nothing is believed because it was sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from dynsrv.errors import BackendRejected, DynsrvError, ProxyChanged
from dynsrv.haproxy.proxy import Proxy
from dynsrv.haproxy.support import check_keywords
from dynsrv.model import Process
from dynsrv.planning import NO_LIMITS, Desired, Policy, make_plan
from dynsrv.reconcile.desired import DesiredState
from dynsrv.reconcile.event_log import Telling
from dynsrv.reconcile.history import History
from dynsrv.reconcile.result import Pass, Result
from dynsrv.steps import Add, Admit, Applied, EnableHealth, Plan, SetWeight, WaitsFor

_AT_ONCE = 0.01  # seconds until the pass after one that changed something
_SOON = 0.05  # seconds until the first pass after one that waits for something
_LATER = 2.0  # seconds at most between two passes that wait for a check, for sessions, or for HAProxy to come back
_GROWTH = 1.6
_LARGE = 2000  # servers and endpoints; planning so many takes milliseconds, for which nothing else must wait

_ADMITTING = (Add, EnableHealth, Admit, SetWeight)
_ADMISSION_WAITS = {WaitsFor.CHECK, WaitsFor.SUCCESSOR}


class Reconciler:
    """Keeps one backend of one proxy as desired.

    *resync* is in seconds. The guard is overridden until *override_until*, in Unix time.
    """

    def __init__(
        self,
        *,
        backend: str,
        proxy: Proxy,
        policy: Policy,
        telling: Telling,
        resync: float,
        override_until: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.backend = backend
        self.proxy = proxy
        self._policy = policy
        self._resync = resync
        self.override_until = override_until
        """Until when the guard lets everything through, in Unix time."""
        self._clock = clock
        self._wall_clock = wall_clock
        self._history = History(policy)
        self.telling = telling
        """Where it is told what is done."""
        self._wake = asyncio.Event()
        self._delay = _SOON
        self._in_line: tuple[Desired, Process] | None = None  # when HAProxy was last as desired: what, and who
        self._settled_for: float | None = None  # the change whose convergence was measured
        self.last: Pass | None = None
        """The last pass that got as far as a plan; None: there was none yet."""
        self.failure: DynsrvError | None = None
        """Why the last pass failed; None if it did not, or if HAProxy was only reloaded."""

    def wake(self) -> None:
        """Look again now."""
        self._wake.set()

    async def run(self, desired: DesiredState) -> None:
        """Follow *desired* until cancelled."""
        while True:
            self._wake.clear()
            delay = None
            if desired.servers is not None:
                changed_at, before = desired.changed_at, self.last  # both may be others when the pass is over
                delay = await self.attempt(desired.servers)
                if self.last is not None and self.last is not before:
                    self._measure_convergence(self.last.plan, changed_at)
                    desired.on_observed(self.proxy.name, self.last.observed, changed_at=changed_at)
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
                self._delay = _SOON
            except TimeoutError:
                pass

    async def attempt(self, desired: Desired) -> float:
        """Make one pass, whatever becomes of it, and return in how many seconds the next is due."""
        began = self._clock()
        try:
            this = await self._pass(desired)
            if this.applied.error is not None:
                await self.telling.steps(this.plan.steps, this.applied)
                raise this.applied.error
        except BackendRejected as error:
            self._failed(error, Result.REJECTED)
            return self._resync
        except ProxyChanged as error:
            self.telling.failed(error, Result.RELOADED)
            return self._grown(_LATER)
        except DynsrvError as error:
            self._failed(error, Result.UNREACHABLE)
            return self._grown(_LATER)
        self.last, self.failure = this, None
        await self.telling.passed(this, seconds=self._clock() - began)
        return self._next(this)

    async def _pass(self, desired: Desired) -> Pass:
        # it costs more than all else that is asked, so only where it may be needed
        with_maxconn = (
            self.last is None
            or any(target.maxconn for target in desired.values())
            or any(server.maxconn for server in self.last.observed.servers)
        )
        observed = await self.proxy.observe(self.backend, with_maxconn=with_maxconn)
        now, seen_at = self._clock(), self._wall_clock()
        nobody_else = self._in_line is not None and self._in_line == (desired, observed.process)
        if nobody_else and self.last is not None and observed == self.last.observed:
            self._history.unchanged(now=now)
            return replace(self.last, seen_at=seen_at)
        check_keywords(observed, self._policy.options, proxy=self.proxy.name)
        history = self._history.observe(observed, now=now)
        planning = partial(
            make_plan, desired=desired, observed=observed, history=history, now=now, policy=self._policy_now()
        )
        large = len(desired) + len(observed.servers) > _LARGE
        plan = await asyncio.to_thread(planning) if large else planning()
        drift = nobody_else and bool(plan.steps)
        self._in_line = None
        applied = await self.proxy.apply(observed, plan.steps) if plan.steps else Applied()
        self._history.record(plan, applied, observed, now=now)
        if plan.converged:
            self._in_line = (desired, observed.process)
        known = self.last.drains if self.last is not None else {}
        drains = {name: known.get(name, self._wall_clock() - (now - began)) for name, began in history.drains.items()}
        return Pass(observed, plan, applied, drift, drains, seen_at)

    def _policy_now(self) -> Policy:
        if self._wall_clock() < self.override_until:
            return replace(self._policy, limits=NO_LIMITS)
        return self._policy

    def _next(self, this: Pass) -> float:
        if this.result in {Result.CONVERGED, Result.CHANGED}:
            self._delay = _SOON
            return self._resync if this.result is Result.CONVERGED else _AT_ONCE
        delay = self._grown(self._resync if this.final else min(_LATER, self._resync))
        deadlines = [wait.deadline for wait in this.waits if wait.deadline is not None]
        return min([delay, *(max(_SOON, deadline) for deadline in deadlines)])

    def _grown(self, limit: float) -> float:
        """Return a pause that grows from one to the next, up to *limit*."""
        delay = min(self._delay, limit)
        self._delay = min(self._delay * _GROWTH, self._resync)
        return delay

    def _failed(self, error: DynsrvError, result: Result) -> None:
        self.failure = error
        self.telling.failed(error, result)

    def _measure_convergence(self, plan: Plan, changed_at: float) -> None:
        """Measure, once for each change of what is desired, how long it took until every wanted server served."""
        if self._settled_for == changed_at or any(isinstance(step, _ADMITTING) for step in plan.steps):
            return
        if any(wait.waits_for in _ADMISSION_WAITS for wait in plan.waits):
            return
        self._settled_for = changed_at
        self.telling.converged(self._clock() - changed_at)
