"""What works now? A unit for each backend: the feed of its source, and a reconciler for each of its proxies."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial

from dynsrv.haproxy.liveness import ProcessWatch
from dynsrv.haproxy.proxy import HAProxy
from dynsrv.reconcile.desired import DesiredState
from dynsrv.reconcile.reconciler import Reconciler
from dynsrv.reconcile.view import BackendView
from dynsrv.sources.feed import Feed
from dynsrv.wiring import App, ManagedBackend


class Unit:
    """A backend at work: its feed, and a reconciler for each of its proxies."""

    def __init__(self, backend: ManagedBackend, app: App) -> None:
        self.backend = backend
        self.feed = Feed(
            backend.source,
            backend=backend.name,
            kind=backend.settings.source.kind,
            metrics=app.metrics,
        )
        self.desired = DesiredState([self.feed], backend=backend.name, policy=backend.policy, metrics=app.metrics)
        self.reconcilers = [
            backend.reconciler(proxy, app, observers=[self.desired.observer(proxy.name)]) for proxy in backend.proxies
        ]
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, tasks: asyncio.TaskGroup, probes: dict[HAProxy, ProcessWatch]) -> None:
        """Begin to work in *tasks*."""
        name = self.backend.name
        self.tasks = [
            tasks.create_task(self.feed.run(), name=f"feed of {name}"),
            tasks.create_task(self.desired.run(), name=f"desired state of {name}"),
        ]
        for proxy, reconciler in zip(self.backend.proxies, self.reconcilers, strict=True):
            self.desired.subscribe(proxy.name, reconciler.wake)
            probes[proxy].subscribe(reconciler.wake)
            task = tasks.create_task(reconciler.run(self.desired), name=f"reconciler of {name} on {proxy.name}")
            task.add_done_callback(partial(_stop_listening, probes[proxy], reconciler))
            self.tasks.append(task)

    async def stop(self) -> None:
        """End the work; a batch that is being sent is cut off."""
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)

    def views(self) -> list[BackendView]:
        """Return what the last pass on each proxy saw, and why there was none since if that is so."""
        return [
            BackendView(
                self.backend.name,
                one.proxy.name,
                self.backend.policy,
                desired=self.desired.servers,
                observed=one.last.observed if one.last else None,
                plan=one.last.plan if one.last else None,
                error=one.failure,
                drains=one.last.drains if one.last else {},
                seen_at=one.last.seen_at if one.last else None,
                guard_overridden_until=one.override_until if one.override_until > time.time() else None,
            )
            for one in self.reconcilers
        ]


@dataclass(slots=True)
class Running:
    """Everything that works now. The daemon changes it; others only look at it."""

    app: App
    units: dict[ManagedBackend, Unit] = field(default_factory=dict)
    probes: dict[HAProxy, ProcessWatch] = field(default_factory=dict)


def _stop_listening(probe: ProcessWatch, reconciler: Reconciler, _: asyncio.Task[None]) -> None:
    probe.forget(reconciler.wake)
