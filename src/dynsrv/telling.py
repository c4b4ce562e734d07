"""How is it told what happened in one backend of one proxy? Log lines and metrics, each fact once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from dynsrv.errors import BackendRejected, DynsrvError, ProxyChanged
from dynsrv.metrics import Metrics
from dynsrv.model import AdminState
from dynsrv.passes import Pass, Result
from dynsrv.steps import (
    Add,
    Admit,
    CloseSessions,
    Delete,
    Disable,
    Drain,
    EnableHealth,
    Outcome,
    SetMaxconn,
    SetWeight,
    Step,
    StepResult,
    WaitsFor,
)

log = structlog.get_logger()

_LINES_AT_ONCE = 100
_SENTENCES: dict[type[Step], str] = {
    Add: "server added",
    EnableHealth: "health check enabled",
    Admit: "server gets requests",
    SetWeight: "weight changed",
    SetMaxconn: "maxconn changed",
    Drain: "server drains",
    Disable: "server in maintenance",
    CloseSessions: "sessions closed",
    Delete: "server deleted",
}


class Telling:
    """Logs and counts what becomes of one backend of one proxy. *owns* tells by its name whether a server is ours."""

    def __init__(self, *, proxy: str, backend: str, owns: Callable[[str], bool], metrics: Metrics) -> None:
        self._labels = (proxy, backend)
        self._owns = owns
        self._metrics = metrics
        self._log = log.bind(proxy=proxy, backend=backend)
        self._failure: DynsrvError | None = None
        self._reason: str | None = None  # of the rejection that the metrics show
        self._in_line = False
        self._told: dict[str, set[str]] = {}  # by kind of fact, what was told of those that still hold

    async def passed(self, this: Pass, *, seconds: float) -> None:
        """Tell of a pass that got as far as a plan."""
        self._rejected(None)
        if self._failure is not None:
            self._log.info("backend is managed again")
            self._failure = None
        if this.drift:
            servers = sorted({step.server for step in this.plan.steps})
            self._metrics.drift.labels(*self._labels).inc(len(servers))
            self._log.warning("drift: somebody else changed servers; they are set right", servers=servers[:20])
        self._once("hold", "server is left as an operator put it", {h.server: h.reason for h in this.plan.holds})
        for refusal in this.plan.refusals:
            self._metrics.guard_refusals.labels(self._labels[1], refusal.rule).inc()
        self._once("guard", "guard refuses to take servers away", {r.rule: r.reason for r in this.plan.refusals})
        await self.steps(this)
        if this.plan.converged and not self._in_line:
            self._log.info("backend is as the source wants it", servers=len(this.observed.servers))
        self._in_line = this.plan.converged
        self._count(this)
        self._metrics.passes.labels(*self._labels, this.result).inc()
        self._metrics.pass_duration.labels(*self._labels).observe(seconds)

    def failed(self, error: DynsrvError, result: Result) -> None:
        """Tell of a pass that failed: once, until the error changes."""
        self._metrics.passes.labels(*self._labels, result).inc()
        self._rejected(error.reason if isinstance(error, BackendRejected) else None)
        if isinstance(error, ProxyChanged):
            return  # which the probe tells, once for all backends
        if self._failure is None or str(self._failure) != str(error):
            tell = self._log.error if isinstance(error, BackendRejected) else self._log.warning
            tell("backend cannot be managed now", error=str(error))
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

    def _once(self, kind: str, sentence: str, facts: dict[str, str]) -> None:
        """Log each fact when it begins to hold; numbers in its reason may change without another line."""
        told = self._told.setdefault(kind, set())
        for name, reason in facts.items():
            if name not in told:
                self._log.warning(sentence, **{"rule" if kind == "guard" else "server": name}, reason=reason)
        self._told[kind] = set(facts)

    async def steps(self, this: Pass) -> None:
        """Log and count what became of each step."""
        for number, one in enumerate(this.applied.results, 1):
            if number % _LINES_AT_ONCE == 0:
                await asyncio.sleep(0)  # thousands of lines must not hold the others up
            if one.outcome is Outcome.DONE:
                self._log.info(_SENTENCES[type(one.step)], server=one.step.server, reason=one.step.reason)
            else:
                self._not_done(one)
        if this.plan.converged:
            self._told.pop("step", None)
        counts = Counter((one.step.kind, one.outcome) for one in this.applied.results)
        for (step, outcome), number in counts.items():
            self._metrics.steps.labels(*self._labels, step, outcome).inc(number)

    def _not_done(self, one: StepResult) -> None:
        told = self._told.setdefault("step", set())
        fact = f"{one.step.server} {one.step.kind} {one.detail}"
        if fact in told:
            return
        told.add(fact)
        if one.expected:
            self._log.debug("step is tried again", server=one.step.server, step=one.step.kind, answer=one.detail)
        else:
            self._log.warning("HAProxy refused a step", server=one.step.server, step=one.step.kind, answer=one.detail)

    def _count(self, this: Pass) -> None:
        states = Counter(server.admin for server in this.observed.servers if self._owns(server.name))
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
        self._metrics.held_servers.labels(*self._labels).set(len(this.plan.holds))
