"""How is it told what happened in one backend of one proxy? Log lines and metrics, each fact once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from dynsrv.errors import BackendRejected, DynsrvError, ProxyChanged
from dynsrv.logs import Event, get_logger
from dynsrv.metrics import Metrics, server_state
from dynsrv.model import Check
from dynsrv.reconcile.audit import AuditLog
from dynsrv.reconcile.result import Pass, Result
from dynsrv.steps import (
    Add,
    Admit,
    Applied,
    CloseSessions,
    Delete,
    Disable,
    Drain,
    EnableHealth,
    Outcome,
    Rule,
    SetMaxconn,
    SetWeight,
    Step,
    StepResult,
    WaitsFor,
)

log = get_logger()

_LINES = 20
"""Log lines of one kind of step in one pass; the others share one, and have their own at level debug."""
_NAMED = 100
"""Servers that are named in such a line: the systems that gather logs cut what is much longer."""
_AT_ONCE = 1000  # steps; thousands must not hold the others up
_DONE: dict[type[Step], Event] = {
    Add: Event.SERVER_ADDED,
    EnableHealth: Event.HEALTH_CHECK_ENABLED,
    Admit: Event.SERVER_ENABLED,
    SetWeight: Event.WEIGHT_CHANGED,
    SetMaxconn: Event.MAXCONN_CHANGED,
    Drain: Event.SERVER_DRAINING,
    Disable: Event.SERVER_DISABLED,
    CloseSessions: Event.SESSIONS_CLOSED,
    Delete: Event.SERVER_DELETED,
}


class Telling:
    """Logs, counts and records what becomes of one backend of one proxy.

    *owns* tells by its name whether a server is ours. *clock* is Unix time.
    """

    def __init__(
        self,
        *,
        proxy: str,
        backend: str,
        owns: Callable[[str], bool],
        metrics: Metrics,
        audit_log: AuditLog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._labels = (proxy, backend)
        self._owns = owns
        self._metrics = metrics
        self._ledger = audit_log
        self._clock = clock
        self._log = log.bind(proxy=proxy, backend=backend)
        self._failure: DynsrvError | None = None
        self._reason: str | None = None  # of the rejection that the metrics show
        self._in_line = False
        self._told: dict[str, set[str]] = {}  # by kind of fact, what was told of those that still hold
        self._waiting: dict[str, float] = {}  # servers that are to get requests and do not yet, and since when
        self._leaving: dict[str, float] = {}  # servers that are to go, and since when
        self._begin()

    def _begin(self) -> None:
        """Show what is to be seen before anything happens: an alert cannot see a counter that begins with 1.

        Nothing is left of what was told of the backend as it was configured before.
        """
        metrics = self._metrics
        proxy, backend = self._labels
        metrics.forget(backend, proxy=proxy)
        metrics.converged.labels(*self._labels).set(0)
        metrics.drift.labels(*self._labels)
        metrics.convergence.labels(backend)
        for result in Result:
            metrics.reconcile_total.labels(*self._labels, result)
        for rule in Rule:
            metrics.guard_refusals.labels(backend, rule)

    async def passed(self, this: Pass, *, seconds: float) -> None:
        """Tell of a pass that got as far as a plan."""
        self._rejected(None)
        if self._failure is not None:
            self._log.info(Event.RECONCILE_RECOVERED)
            self._failure = None
        if this.drift:
            servers = sorted({step.server for step in this.plan.steps})
            self._metrics.drift.labels(*self._labels).inc(len(servers))
            self._log.warning(Event.DRIFT_DETECTED, servers=servers[:20])
        self._once("hold", Event.SERVER_HELD, {h.server: h.reason for h in this.plan.holds})
        for refusal in this.plan.refusals:
            self._metrics.guard_refusals.labels(self._labels[1], refusal.rule).inc()
        self._once("guard", Event.REMOVAL_BLOCKED, {r.rule: r.reason for r in this.plan.refusals})
        failing = {one.name for one in this.observed.servers if one.check is Check.FAILED}
        waiting = {w.server: w.reason for w in this.waits if w.waits_for is WaitsFor.CHECK and w.server in failing}
        self._once("check", Event.SERVER_NOT_ADMITTED, waiting, tell=self._log.info)
        await self.steps(this.plan.steps, this.applied)
        if this.plan.converged:
            self._told.pop("step", None)
        if this.plan.converged and not self._in_line:
            self._log.info(Event.BACKEND_IN_SYNC, servers=len(this.observed.servers))
        self._in_line = this.plan.converged
        self._count(this)
        self._metrics.reconcile_total.labels(*self._labels, this.result).inc()
        self._metrics.reconcile_duration.labels(*self._labels).observe(seconds)

    def failed(self, error: DynsrvError, result: Result) -> None:
        """Tell of a pass that failed: once, until the error changes."""
        self._metrics.reconcile_total.labels(*self._labels, result).inc()
        self._metrics.converged.labels(*self._labels).set(0)
        self._rejected(error.reason if isinstance(error, BackendRejected) else None)
        if isinstance(error, ProxyChanged):
            return  # which the probe tells, once for all backends
        if self._failure is None or str(self._failure) != str(error):
            tell = self._log.error if isinstance(error, BackendRejected) else self._log.warning
            tell(Event.RECONCILE_FAILED, error=str(error))
        self._failure = error

    def converged(self, seconds: float) -> None:
        """Tell how long it took from the source's event until every wanted server served."""
        self._metrics.convergence.labels(self._labels[1]).observe(seconds)

    def _rejected(self, reason: str | None) -> None:
        """Show this reason of a rejection, and no longer the one before."""
        if self._reason not in {None, reason}:
            self._metrics.backend_rejected.labels(*self._labels, self._reason).set(0)
        if reason is not None:
            self._metrics.backend_rejected.labels(*self._labels, reason).set(1)
        self._reason = reason

    def _once(
        self, kind: str, event: Event, facts: dict[str, str], *, tell: Callable[..., object] | None = None
    ) -> None:
        """Log each fact when it begins to hold; numbers in its reason may change without another line."""
        told = self._told.setdefault(kind, set())
        tell = tell or self._log.warning
        for name, reason in facts.items():
            if name not in told:
                tell(event, **{"rule" if kind == "guard" else "server": name}, reason=reason)
        self._told[kind] = set(facts)

    async def steps(self, sent: Sequence[Step], applied: Applied) -> None:
        """Log, count and record what became of each step."""
        proxy, backend = self._labels
        outcome_unknown = sent[len(applied.results) :] if applied.error is not None else ()
        await self._ledger.record(applied.results, outcome_unknown, proxy=proxy, backend=backend, now=self._clock())
        done = defaultdict[type[Step], list[StepResult]](list)
        for number, one in enumerate(applied.results, 1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if one.outcome is Outcome.DONE:
                done[type(one.step)].append(one)
            else:
                self._not_done(one)
                self._metrics.steps.labels(proxy, backend, one.step.kind, one.outcome).inc()
        for kind, results in done.items():
            self._metrics.steps.labels(proxy, backend, kind.kind, Outcome.DONE).inc(len(results))
            for one in results[:_LINES]:
                self._done(one, tell=self._log.info)
            if others := results[_LINES:]:
                named = [one.step.server for one in others[:_NAMED]]
                self._log.info(Event.MORE_SERVERS_CHANGED, step=kind.kind, others=len(others), servers=named)
            if self._log.is_enabled_for(logging.DEBUG):
                for number, one in enumerate(others, 1):
                    if number % _AT_ONCE == 0:
                        await asyncio.sleep(0)
                    self._done(one, tell=self._log.debug)

    def _done(self, one: StepResult, *, tell: Callable[..., object]) -> None:
        step = one.step
        seconds = round(one.seconds, 6)
        tell(_DONE[type(step)], server=step.server, step=step.kind, reason=step.reason, seconds=seconds)

    def _not_done(self, one: StepResult) -> None:
        told = self._told.setdefault("step", set())
        fact = f"{one.step.server} {one.step.kind} {one.detail}"
        if fact in told:
            return
        told.add(fact)
        if one.expected:
            self._log.debug(Event.COMMAND_RETRIED, server=one.step.server, step=one.step.kind, answer=one.detail)
        else:
            self._log.warning(Event.COMMAND_REJECTED, server=one.step.server, step=one.step.kind, answer=one.detail)

    def _count(self, this: Pass) -> None:
        where, metrics = self._labels, self._metrics
        waiting = {wait.server for wait in this.waits if wait.waits_for is WaitsFor.CHECK}
        ours = [server for server in this.observed.servers if self._owns(server.name)]
        states = Counter(server_state(server, waits_for_check=server.name in waiting) for server in ours)
        states["waiting_check"] = len(waiting)  # also those that were added just now
        states["refused"] = sum(isinstance(one.step, Add) for one in this.refused)
        for state in ("waiting_check", "ready", "draining", "maintenance", "refused"):
            metrics.servers.labels(*where, state).set(states[state])
        metrics.held_servers.labels(*where).set(len(this.plan.holds))
        metrics.converged.labels(*where).set(this.plan.converged)
        kept = sum(wait.waits_for is WaitsFor.GUARD for wait in this.plan.waits)
        refusing = {refusal.rule for refusal in this.plan.refusals}
        for rule in Rule:
            metrics.guarded_servers.labels(*where, rule).set(kept if rule in refusing else 0)
        self._count_ages(this, waiting)

    def _count_ages(self, this: Pass, waiting: set[str]) -> None:
        """Show since when the servers are on their way that have been for longest: into service, and out of HAProxy."""
        now = self._clock()
        refused = {one.step.server for one in this.refused if isinstance(one.step, Add | EnableHealth | Admit)}
        self._waiting = {name: self._waiting.get(name, now) for name in waiting | refused}
        leaving = {wait.server for wait in this.plan.waits if wait.waits_for is WaitsFor.SESSIONS}
        leaving |= {step.server for step in this.plan.steps if isinstance(step, Delete)}
        self._leaving = {name: this.drains.get(name, self._leaving.get(name, now)) for name in leaving}
        proxy, backend = self._labels
        for metric, began in (
            (self._metrics.oldest_wait, self._waiting),
            (self._metrics.oldest_drain, self._leaving),
        ):
            if began:
                metric.labels(proxy, backend).set(min(began.values()))
            else:
                metric.remove_by_labels({"proxy": proxy, "backend": backend})
