"""One backend of one proxy, kept in line by the real reconciler against a FakeHAProxy, by one clock."""

from __future__ import annotations

from typing import Any

from dynsrv.metrics import Metrics
from dynsrv.model import Endpoint
from dynsrv.planning import Policy
from dynsrv.reconcile.audit import AuditLog
from dynsrv.reconcile.event_log import EventLog
from dynsrv.reconcile.observer import PassObserver
from dynsrv.reconcile.pass_metrics import PassMetrics
from dynsrv.reconcile.reconciler import Reconciler
from dynsrv.reconcile.result import Result
from tests.fakes.behind import Behind
from tests.fakes.builders import a_policy, the_targets

RESYNC = 30.0
UNCHECKED = a_policy(options=())
WHERE = {"proxy": "lb1", "backend": "be_app"}


class Managed:
    """A reconciler, the HAProxy that it keeps in line, and the clock that both go by."""

    def __init__(
        self,
        *,
        policy: Policy = UNCHECKED,
        override_until: float = 0,
        **backend: Any,
    ) -> None:
        self.behind = Behind(**backend)
        self.haproxy = self.behind.haproxy
        self.set_back = 0.0
        """By how many seconds somebody has set back the time of day."""
        self.metrics = Metrics()
        self.audit_log = AuditLog()
        self.policy = policy
        self.observers: list[PassObserver] = [
            self.audit_log.observer(proxy="lb1", backend="be_app", clock=self.haproxy.clock),
            EventLog(proxy="lb1", backend="be_app"),
            self.pass_metrics(),
        ]
        """Those of the reconciler; more may join."""
        self.reconciler = Reconciler(
            backend="be_app",
            proxy=self.behind.proxy,
            policy=policy,
            resync=RESYNC,
            observers=self.observers,
            override_until=override_until,
            clock=self.haproxy.clock,
            wall_clock=lambda: self.haproxy.clock() - self.set_back,
        )

    def pass_metrics(self) -> PassMetrics:
        """Return what measures this backend, from now on."""
        clock = self.haproxy.clock
        owns = self.policy.owns
        return PassMetrics(self.metrics, proxy="lb1", backend="be_app", owns=owns, clock=clock, wall_clock=clock)

    async def attempt(self, *wanted: Endpoint) -> float:
        """Make one pass."""
        return await self.reconciler.attempt(the_targets(*wanted, policy=self.policy))

    async def delays(self, count: int, *wanted: Endpoint) -> list[float]:
        """Make passes, and return in how long the next was due after each."""
        return [await self.attempt(*wanted) for _ in range(count)]

    async def settle(self, *wanted: Endpoint) -> None:
        """Make passes until nothing is left to do."""
        for _ in range(10):
            if await self.attempt(*wanted) == RESYNC:
                return
            self.haproxy.advance(1)
            self.haproxy.run_checks()
        raise AssertionError("not converged")

    def refuse(self, count: int = 1) -> None:
        """Let HAProxy be gone for the next passes."""
        for connection in self.behind.wire.open:
            connection.end()
        self.behind.wire.refusals = [ConnectionRefusedError(111, "Connection refused")] * count

    def value(self, name: str, **labels: str) -> float | None:
        """Return a metric of this backend."""
        return self.metrics.registry.get_sample_value(name, WHERE | labels)

    @property
    def result(self) -> Result:
        """How the last pass ended."""
        assert self.reconciler.last is not None
        return self.reconciler.last.result
