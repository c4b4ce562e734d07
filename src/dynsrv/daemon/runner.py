"""What runs? One runner for each spec, with the objects that do the work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dynsrv.reconcile.view import BackendView
from dynsrv.sources.feed import Feed
from dynsrv.specs import BackendKey, BackendSpec, ConfigFileSpec, DesiredKey, DesiredSpec, ProxySpec, SourceSpec
from dynsrv.wiring import Factory


class ProxyRunner:
    """Watches whether one HAProxy responds, and whether it is still the same process."""

    def __init__(self, spec: ProxySpec, factory: Factory) -> None:
        self.spec = spec
        self.proxy = factory.proxy(spec)
        self.watch = factory.process_watch(spec, self.proxy)

    def __str__(self) -> str:
        return f"watch of {self.spec.key}"

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            await self.watch.run()
        except asyncio.CancelledError:
            self.proxy.close()
            raise


class ConfigFileRunner:
    """Keeps one file of HAProxy's configuration current."""

    def __init__(self, spec: ConfigFileSpec, factory: Factory) -> None:
        self.spec = spec
        self.writer = factory.writer(spec)

    def __str__(self) -> str:
        return f"writer of {self.spec.key}"

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            await self.writer.run()
        finally:
            await self.writer.finish()


class SourceRunner:
    """Follows one source of one backend."""

    def __init__(self, spec: SourceSpec, factory: Factory) -> None:
        self.spec = spec
        self.feed = factory.feed(spec)

    def __str__(self) -> str:
        return f"feed of {self.spec.backend}"

    async def run(self) -> None:
        """Run until cancelled."""
        await self.feed.run()


class DesiredRunner:
    """Keeps the desired state of one backend up to date."""

    def __init__(self, spec: DesiredSpec, factory: Factory, feeds: Sequence[Feed]) -> None:
        self.spec = spec
        self.state = factory.desired_state(spec, feeds)

    def __str__(self) -> str:
        return f"desired state of {self.spec.backend}"

    async def run(self) -> None:
        """Run until cancelled."""
        await self.state.run()


class BackendRunner:
    """Reconciles one backend on one proxy."""

    def __init__(
        self,
        spec: BackendSpec,
        factory: Factory,
        desired: DesiredRunner,
        proxy: ProxyRunner,
        *,
        config_files: Sequence[ConfigFileRunner] = (),
    ) -> None:
        self.spec = spec
        self.desired = desired.state
        self.persisted = factory.persisted_backend(spec, [one.writer for one in config_files])
        self.reconciler = factory.reconciler(
            spec, proxy.proxy, persisted=self.persisted, observers=[self.desired.observer(spec.proxy.key)]
        )
        self._watch = proxy.watch

    def __str__(self) -> str:
        return f"reconciler of {self.spec.name} on {self.spec.proxy.key}"

    async def run(self) -> None:
        """Run until cancelled."""
        wake = self.reconciler.wake
        self.desired.subscribe(self.spec.proxy.key, wake)
        self._watch.subscribe(wake)
        try:
            with self.persisted.kept(wake):
                try:
                    await self.reconciler.run(self.desired)
                finally:
                    await self.persisted.catch_up(self.reconciler.proxy)
        finally:
            self._watch.unsubscribe(wake)
            self.desired.unsubscribe(self.spec.proxy.key)

    def view(self) -> BackendView:
        """Return what the last pass observed, and the error if there was one since."""
        last, until = self.reconciler.last, self.reconciler.override_until
        return BackendView(
            self.spec.name,
            self.spec.proxy.key,
            self.spec.desired.policy,
            desired=self.desired.servers,
            observed=self.reconciler.observed,
            plan=last.plan if last else None,
            error=self.reconciler.failure or self._watch.failure,
            drains=last.drains if last else {},
            seen_at=self.reconciler.seen_at,
            guard_overridden_until=until or None,
        )


@dataclass(slots=True)
class RunningSet:
    """Everything that runs, by the keys of the specs. The supervisor changes it; everything else only reads it."""

    proxies: dict[str, ProxyRunner] = field(default_factory=dict)
    config_files: dict[Path, ConfigFileRunner] = field(default_factory=dict)
    sources: dict[DesiredKey, SourceRunner] = field(default_factory=dict)
    desired: dict[DesiredKey, DesiredRunner] = field(default_factory=dict)
    backends: dict[BackendKey, BackendRunner] = field(default_factory=dict)
