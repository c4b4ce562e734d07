"""When is a pass due, and what does it do? The loop over one backend of one proxy.

A wake-up says that something changed, never what: each pass observes HAProxy afresh, asks the planner, and applies the
steps. A pass that changed something, or that waits for something, is soon followed by another; otherwise the next one
is due at the next wake-up or the periodic resync. HAProxy is the only truth: nothing is assumed because it was sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dynsrv.errors import ActionRefused, BackendRejected, DynsrvError, InternalError, ProxyChanged
from dynsrv.haproxy.proxy import Proxy
from dynsrv.haproxy.support import check_keywords
from dynsrv.model import Backend, Process, Server
from dynsrv.planning import NO_LIMITS, Desired, Policy, make_plan
from dynsrv.reconcile.desired import DesiredState
from dynsrv.reconcile.history import History
from dynsrv.reconcile.observer import PassObserver
from dynsrv.reconcile.result import Pass, Result
from dynsrv.steps import Applied, Step, StepResult

_IMMEDIATELY = 0.01  # seconds until the pass after one that changed something
_SOON = 0.05  # seconds until the first pass after one that waits for something
_LATER = 2.0  # seconds at most between two passes that wait for a check, for sessions, or for HAProxy to come back
_LARGE = 2000  # servers and endpoints; planning so many takes milliseconds, which must not block the event loop


@dataclass(frozen=True, slots=True)
class Backoff:
    """A pause that grows each time, up to *limit*. *delay* and *limit* are in seconds."""

    delay: float
    limit: float
    growth: float = 1.6

    def next(self) -> Backoff:
        """Return the pause after this one."""
        return replace(self, delay=min(self.delay * self.growth, self.limit))


class Reconciler:
    """Keeps one backend of one proxy as desired, and calls *observers*, in their order.

    Nothing else in dynsrv changes that backend: it also carries out what operators request, never during a pass.
    *resync* is in seconds. The guard is overridden until *override_until*, in Unix time; the override ends after as
    many seconds of *clock*, even if somebody sets the time of day meanwhile.
    *in_config_file* returns the names of the servers that may not begin to leave yet: a reload would bring them back.
    """

    def __init__(  # noqa: PLR0913 - each has one meaning, and most have a default
        self,
        *,
        backend: str,
        proxy: Proxy,
        policy: Policy,
        resync: float,
        observers: Sequence[PassObserver] = (),
        override_until: float = 0.0,
        in_config_file: Callable[[Backend], frozenset[str]] = lambda _: frozenset(),
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.backend = backend
        self.proxy = proxy
        self._policy = policy
        self._resync = resync
        self._observers = observers
        self._in_config_file = in_config_file
        self._clock = clock
        self._wall_clock = wall_clock
        self._override_until = override_until
        self._override_ends = clock() + override_until - wall_clock()  # by *clock*
        self._history = History(policy)
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()  # held while a pass or an operator's request uses HAProxy
        self._backoff = self._first_backoff = Backoff(_SOON, limit=resync)
        self._in_sync: tuple[Desired, Process] | None = None  # with what HAProxy was last in sync, and which process
        self._last: Pass | None = None
        self._failure: DynsrvError | None = None
        self._seen: tuple[Backend, float] | None = None  # without a plan, and when, in Unix time

    @property
    def last(self) -> Pass | None:
        """The last pass that got as far as a plan; None: there was none yet."""
        return self._last

    @property
    def observed(self) -> Backend | None:
        """What was observed last, with a plan or without one; None: nothing yet."""
        if self._last is not None:
            return self._last.observed
        return None if self._seen is None else self._seen[0]

    @property
    def seen_at(self) -> float | None:
        """When that was, in Unix time."""
        if self._last is not None:
            return self._last.seen_at
        return None if self._seen is None else self._seen[1]

    @property
    def failure(self) -> DynsrvError | None:
        """Why the last pass failed; None if it did not, or if HAProxy was only reloaded."""
        return self._failure

    @property
    def override_until(self) -> float:
        """Until when the guard is disabled, in Unix time as of the override's beginning; 0: it is enabled."""
        return self._override_until if self._clock() < self._override_ends else 0.0

    def wake(self) -> None:
        """Make a pass now."""
        self._wake.set()

    async def run(self, desired: DesiredState) -> None:
        """Follow *desired* until cancelled."""
        while True:
            self._wake.clear()
            if desired.servers is not None:
                delay = await self.attempt(desired.servers, since=desired.changed_at)
            else:
                delay = await self.observe()
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
                self._backoff = self._first_backoff
            except TimeoutError:
                pass

    async def observe(self) -> float:
        """Observe HAProxy without changing it, and return in how many seconds that is due again, even if it failed.

        That is all that can be done while the desired servers are not known.
        """
        async with self._lock:
            try:
                observed = await self.proxy.observe(self.backend, with_maxconn=self._seen is None)
            except DynsrvError as error:
                return await self._failed(error)
            except Exception as error:  # noqa: BLE001 - as in `attempt`
                return await self._failed(InternalError(error))
            self._seen, self._failure = (observed, self._wall_clock()), None
            for observer in self._observers:
                await observer.on_observed(observed)
            return self._resync

    async def attempt(self, desired: Desired, *, since: float | None = None) -> float:
        """Make one pass, and return in how many seconds the next is due, even if it failed.

        *since* is when *desired* last changed, which observers may want to know.
        """
        async with self._lock:
            began = self._clock()
            try:
                this = replace(await self._pass(desired, since), seconds=self._clock() - began)
                await self._report_steps(this.applied)
            except DynsrvError as error:
                return await self._failed(error)
            except Exception as error:  # noqa: BLE001 - a bug costs this backend its pass, and nothing else
                return await self._failed(InternalError(error))
            self._last, self._failure = this, None
            for observer in self._observers:
                await observer.on_pass(this)
            return self._next(this)

    def override_guard(self, *, seconds: float) -> None:
        """Disable the guard for so long, and make a pass now."""
        self._override_until = self._wall_clock() + seconds
        self._override_ends = self._clock() + seconds
        self.wake()

    async def perform(self, server: str, choose: Callable[[Server], Step]) -> StepResult:
        """Send the step that *choose* returns for *server* in its current state, and make a pass soon after.

        Raises:
            ActionRefused: *choose* raised it, there is no such server, or dynsrv does not own it.
            DynsrvError: HAProxy cannot be observed, or did not answer.
        """
        if not self._policy.owns(server):
            raise ActionRefused("forbidden", f"the server {server} is not managed by dynsrv")
        async with self._lock:
            observed = await self.proxy.observe(self.backend, with_maxconn=False)
            found = next((one for one in observed.servers if one.name == server), None)
            if found is None:
                raise ActionRefused("not_found", f"there is no server {server} in the backend {self.backend}")
            applied = await self.proxy.apply(observed, [choose(found)])
            self.wake()
            await self._report_steps(applied)
        (result,) = applied.results
        return result

    async def _failed(self, error: DynsrvError) -> float:
        """Report why a pass failed, and return in how many seconds the next is due."""
        if not isinstance(error, ProxyChanged):
            self._failure = error
        for observer in self._observers:
            await observer.on_failure(error)
        if isinstance(error, BackendRejected):
            return self._resync
        return self._back_off(self._resync if isinstance(error, InternalError) else _LATER)

    async def _report_steps(self, applied: Applied) -> None:
        """Call the observers with the results of steps, then raise the error that cut them short, if there was one."""
        if applied.results or applied.unanswered:
            for observer in self._observers:
                await observer.on_steps(applied)
        if applied.error is not None:
            raise applied.error

    async def _pass(self, desired: Desired, since: float | None) -> Pass:
        # it costs more than the rest of an observation, so only where it may be needed
        with_maxconn = (
            self._last is None
            or any(server.maxconn for server in desired.values())
            or any(server.maxconn for server in self._last.observed.servers)
        )
        observed = await self.proxy.observe(self.backend, with_maxconn=with_maxconn)
        now, seen_at = self._clock(), self._wall_clock()
        was_in_sync = self._in_sync is not None and self._in_sync == (desired, observed.process)
        if was_in_sync and self._last is not None and observed == self._last.observed:
            self._history.unchanged(now=now)
            # sessions are not compared, and may be others
            return replace(self._last, observed=observed, seen_at=seen_at, desired_since=since)
        check_keywords(observed, self._policy.options, proxy=self.proxy.name)
        history = self._history.observe(observed, now=now)
        history = replace(history, in_config_file=self._in_config_file(observed))
        planning = partial(
            make_plan, desired=desired, observed=observed, history=history, now=now, policy=self._policy_now()
        )
        large = len(desired) + len(observed.servers) > _LARGE
        plan = await asyncio.to_thread(planning) if large else planning()
        if plan.adds:
            await self.proxy.check_accepts(observed)
        drift = was_in_sync and bool(plan.steps)
        self._in_sync = None
        applied = await self.proxy.apply(observed, plan.steps) if plan.steps else Applied()
        self._history.record(plan, applied, observed, now=now)
        if plan.converged:
            self._in_sync = (desired, observed.process)
        known = self._last.drains if self._last is not None else {}
        drains = {name: known.get(name, self._wall_clock() - (now - began)) for name, began in history.drains.items()}
        return Pass(desired, observed, plan, applied, drift, drains, seen_at, since)

    def _policy_now(self) -> Policy:
        if self._clock() < self._override_ends:
            return replace(self._policy, limits=NO_LIMITS)
        return self._policy

    def _next(self, this: Pass) -> float:
        if this.result in {Result.CONVERGED, Result.CHANGED}:
            self._backoff = self._first_backoff
            return self._resync if this.result is Result.CONVERGED else _IMMEDIATELY
        delay = self._back_off(self._resync if this.final else min(_LATER, self._resync))
        deadlines = [wait.deadline for wait in this.plan.waits if wait.deadline is not None]
        return min([delay, *(max(_SOON, deadline) for deadline in deadlines)])

    def _back_off(self, longest: float) -> float:
        """Return a pause of at most *longest* seconds; the next is longer."""
        delay = min(self._backoff.delay, longest)
        self._backoff = self._backoff.next()
        return delay
