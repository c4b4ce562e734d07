"""Who works with whom? Makes the objects that the settings name, and runs them as one group of tasks."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

import structlog

from dynsrv import web
from dynsrv.errors import SourceError
from dynsrv.feed import Feed
from dynsrv.metrics import Metrics
from dynsrv.model import Snapshot
from dynsrv.planning import Policy
from dynsrv.probe import Probe
from dynsrv.proxy import HAProxy
from dynsrv.reconciler import Reconciler
from dynsrv.runtime import Client
from dynsrv.settings import BackendSettings, Settings
from dynsrv.sources.base import Source

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ManagedBackend:
    """A backend with everything that its settings name."""

    settings: BackendSettings
    source: Source
    policy: Policy
    proxies: tuple[HAProxy, ...]

    @property
    def name(self) -> str:
        """HAProxy's name for it."""
        return self.settings.name

    async def first_snapshot(self, *, timeout: float) -> Snapshot:
        """Return what the source says now.

        Raises:
            SourceError: it does not say, or not within *timeout* seconds.
        """
        try:
            async with asyncio.timeout(timeout), aclosing(self.source.watch()) as snapshots:
                async for snapshot in snapshots:
                    return snapshot
        except TimeoutError:
            raise SourceError("timeout", f"the source did not answer within {timeout:g} s") from None
        raise SourceError("ended", "the source ended by itself")


class App:
    """Everything that one configuration file names. *directory* is the one that its relative paths begin at."""

    def __init__(self, settings: Settings, *, directory: Path) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.clients = {
            proxy.name: Client(proxy.address, hook=self.metrics.runtime_hook(proxy.name)) for proxy in settings.proxies
        }
        self.proxies = {name: HAProxy(name, client) for name, client in self.clients.items()}
        self.backends = tuple(
            ManagedBackend(
                settings=backend,
                source=backend.source.create(backend=backend.name, directory=directory),
                policy=backend.policy(),
                proxies=tuple(self.proxies[proxy.name] for proxy in settings.proxies_of(backend)),
            )
            for backend in settings.backends
        )

    def reconciler(self, backend: ManagedBackend, proxy: HAProxy, *, force: bool = False) -> Reconciler:
        """Return what keeps *backend* of *proxy* as desired; with *force*, without the guard."""
        until = backend.settings.limits.override_until
        return Reconciler(
            backend=backend.name,
            proxy=proxy,
            policy=backend.policy,
            metrics=self.metrics,
            resync=self.settings.resync.interval,
            override_until=math.inf if force else until.timestamp() if until else 0.0,
        )

    def close(self) -> None:
        """Close the connections to all proxies."""
        for client in self.clients.values():
            client.close()

    async def run(self) -> None:
        """Keep all backends as desired until SIGTERM or SIGINT.

        Raises:
            ConfigurationError: `web.listen` cannot be listened on.
            ExceptionGroup: a task died, which is a bug; the others were stopped.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)

        probes = {
            name: Probe(proxy, interval=self.settings.resync.probe, metrics=self.metrics)
            for name, proxy in self.proxies.items()
        }
        pairs: list[tuple[Reconciler, Feed]] = []
        feeds: list[Feed] = []
        for backend in self.backends:
            feed = Feed(
                backend.source,
                backend=backend.name,
                kind=backend.settings.source.kind,
                policy=backend.policy,
                metrics=self.metrics,
            )
            feeds.append(feed)
            for proxy in backend.proxies:
                reconciler = self.reconciler(backend, proxy)
                feed.listen(reconciler.wake)
                probes[proxy.name].listen(reconciler.wake)
                pairs.append((reconciler, feed))

        async with AsyncExitStack() as stack:
            stack.callback(self.close)
            if address := self.settings.web_address:
                site = web.application(
                    self.metrics.registry, not_ready=lambda: _not_ready(pairs), degraded=lambda: _degraded(pairs)
                )
                await stack.enter_async_context(web.serving(site, host=address[0], port=address[1]))
            log.info(
                "started",
                proxies=len(self.proxies),
                backends=len(self.backends),
                web=self.settings.web and self.settings.web.listen,
            )
            async with asyncio.TaskGroup() as tasks:
                running = [
                    *(tasks.create_task(probe.run(), name=f"probe {name}") for name, probe in probes.items()),
                    *(tasks.create_task(feed.run(), name="feed") for feed in feeds),
                    *(tasks.create_task(reconciler.run(feed), name="reconciler") for reconciler, feed in pairs),
                ]
                await stop.wait()
                # A batch that is being sent is cut off: HAProxy finishes what it has read, and holds the stage of
                # every server, so that the next start goes on from there.
                for task in running:
                    task.cancel()
        log.info("stopped; the servers stay as they are")


def _not_ready(pairs: list[tuple[Reconciler, Feed]]) -> Iterator[str]:
    for reconciler, feed in pairs:
        if reconciler.last is not None:
            continue
        where = f"backend {reconciler.backend} on {reconciler.proxy.name}"
        if feed.targets is None:
            why = feed.failure or "the source has not answered yet"
            yield f"{where}: {why}"
        else:
            yield str(reconciler.failure) if reconciler.failure else f"{where}: the first pass is not over"


def _degraded(pairs: list[tuple[Reconciler, Feed]]) -> Iterator[str]:
    for reconciler, feed in pairs:
        where = f"backend {reconciler.backend} on {reconciler.proxy.name}"
        if feed.failure is not None:
            yield f"{where}: {feed.failure}"
        if reconciler.failure is not None:
            yield f"{where}: {reconciler.failure}"
        elif reconciler.last is not None:
            for refusal in reconciler.last.plan.refusals:
                yield f"{where}: guard: {refusal.reason}"
