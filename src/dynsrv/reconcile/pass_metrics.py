"""What is measured about one backend of one proxy? Passes, steps, servers by state, and durations."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from dynsrv.errors import BackendRejected, DynsrvError, InternalError
from dynsrv.metrics import Metrics, server_state
from dynsrv.model import Backend
from dynsrv.reconcile.observer import PassObserver
from dynsrv.reconcile.result import Pass, Result
from dynsrv.steps import Add, Admit, Applied, Delete, EnableHealth, Rule, WaitsFor


class PassMetrics(PassObserver):
    """Keeps the metrics of one backend of one proxy.

    *owns* decides by a server's name whether dynsrv manages it. *clock* is the clock of `Pass.desired_since`;
    *wall_clock* is Unix time.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        proxy: str,
        backend: str,
        owns: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._labels = (proxy, backend)
        self._owns = owns
        self._clock = clock
        self._wall_clock = wall_clock
        self._rejected_for: str | None = None  # the reason that the metric shows
        self._measured: float | None = None  # the change whose convergence was measured
        self._waiting: dict[str, float] = {}  # servers to be admitted, and since when
        self._leaving: dict[str, float] = {}  # servers to be removed, and since when
        self._initialise()

    def _initialise(self) -> None:
        """Set counters to 0, so that `rate()` sees the first increment; remove what an earlier configuration left."""
        metrics = self._metrics
        proxy, backend = self._labels
        metrics.forget(proxy=proxy, backend=backend)
        metrics.converged.labels(*self._labels).set(0)
        metrics.drift.labels(*self._labels)
        metrics.convergence.labels(backend)
        for result in Result:
            metrics.reconcile_total.labels(*self._labels, result)
        for rule in Rule:
            metrics.guard_refusals.labels(backend, rule)

    async def on_steps(self, applied: Applied) -> None:
        """Count the steps by result."""
        for (kind, outcome), number in Counter((one.step.kind, one.outcome) for one in applied.results).items():
            self._metrics.steps.labels(*self._labels, kind, outcome).inc(number)

    async def on_observed(self, observed: Backend) -> None:
        """Measure what HAProxy has while the desired servers are not known."""
        self._show_rejection(None)
        self._count_serving(observed)

    async def on_pass(self, this: Pass) -> None:
        """Measure what was observed and done."""
        metrics, labels = self._metrics, self._labels
        metrics.reconcile_total.labels(*labels, this.result).inc()
        metrics.reconcile_duration.labels(*labels).observe(this.seconds)
        metrics.converged.labels(*labels).set(this.plan.converged)
        metrics.held_servers.labels(*labels).set(sum(one.waits_for is WaitsFor.OPERATOR for one in this.plan.holds))
        if this.drift:
            metrics.drift.labels(*labels).inc(len({step.server for step in this.plan.steps}))
        self._show_rejection(None)
        self._show_guard(this)
        self._show_servers(this)
        self._count_serving(this.observed)
        self._measure_convergence(this)

    async def on_failure(self, error: DynsrvError) -> None:
        """Count the failure; the backend does not count as in sync meanwhile."""
        self._metrics.reconcile_total.labels(*self._labels, Result.of(error)).inc()
        if isinstance(error, InternalError):
            self._metrics.internal_errors.labels("reconcile").inc()
        self._metrics.converged.labels(*self._labels).set(0)
        self._show_rejection(error.reason if isinstance(error, BackendRejected) else None)

    def _show_rejection(self, reason: str | None) -> None:
        """Show this reason instead of the previous one."""
        rejected = self._metrics.backend_rejected
        if self._rejected_for not in {None, reason}:
            rejected.labels(*self._labels, self._rejected_for).set(0)
        if reason is not None:
            rejected.labels(*self._labels, reason).set(1)
        self._rejected_for = reason

    def _show_guard(self, this: Pass) -> None:
        kept = sum(wait.waits_for is WaitsFor.GUARD for wait in this.plan.waits)
        refusing = {refusal.rule for refusal in this.plan.refusals}
        for rule in Rule:
            self._metrics.guarded_servers.labels(*self._labels, rule).set(kept if rule in refusing else 0)
        for rule in refusing:
            self._metrics.guard_refusals.labels(self._labels[1], rule).inc()

    def _count_serving(self, observed: Backend) -> None:
        serving = sum(server.serving for server in observed.servers)
        self._metrics.serving_servers.labels(*self._labels).set(serving)

    def _show_servers(self, this: Pass) -> None:
        """Count the servers by state; show the longest wait for admission and the longest removal in progress."""
        waiting = {wait.server for wait in this.waits if wait.waits_for is WaitsFor.CHECK}
        states = Counter(
            server_state(server, waits_for_check=server.name in waiting)
            for server in this.observed.servers
            if self._owns(server.name)
        )
        states["waiting_check"] = len(waiting)  # also those that were added just now
        states["refused"] = sum(isinstance(one.step, Add) for one in this.refused)
        for state in ("waiting_check", "ready", "down", "draining", "maintenance", "refused"):
            self._metrics.servers.labels(*self._labels, state).set(states[state])

        now = self._wall_clock()
        refused = {one.step.server for one in this.refused if isinstance(one.step, Add | EnableHealth | Admit)}
        self._waiting = {name: self._waiting.get(name, now) for name in waiting | refused}
        leaving = {wait.server for wait in this.plan.waits if wait.waits_for is WaitsFor.SESSIONS}
        leaving |= {step.server for step in this.plan.steps if isinstance(step, Delete)}
        self._leaving = {name: this.drains.get(name, self._leaving.get(name, now)) for name in leaving}
        proxy, backend = self._labels
        for metric, since in (
            (self._metrics.oldest_wait, self._waiting),
            (self._metrics.oldest_drain, self._leaving),
        ):
            if since:
                metric.labels(proxy, backend).set(min(since.values()))
            else:
                metric.remove_by_labels({"proxy": proxy, "backend": backend})

    def _measure_convergence(self, this: Pass) -> None:
        """Measure, once per change of the desired servers, how long it took until all of them were in service."""
        since = this.desired_since
        if since is not None and since != self._measured and this.admitted:
            self._measured = since
            self._metrics.convergence.labels(self._labels[1]).observe(self._clock() - since)
