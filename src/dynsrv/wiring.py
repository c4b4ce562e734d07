"""Which objects does a configuration file name? Proxies, sources and backends, kept while they are equal."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dynsrv.errors import ConfigurationError, SourceError
from dynsrv.haproxy.proxy import HAProxy
from dynsrv.metrics import Metrics
from dynsrv.model import Snapshot
from dynsrv.planning import Policy
from dynsrv.reconcile.audit import AuditLog
from dynsrv.reconcile.event_log import EventLog
from dynsrv.reconcile.observer import PassObserver
from dynsrv.reconcile.pass_metrics import PassMetrics
from dynsrv.reconcile.reconciler import Reconciler
from dynsrv.runtime import Client, connecting
from dynsrv.runtime.errors import ConnectFailed
from dynsrv.settings import BackendSettings, ProxySettings, Settings
from dynsrv.settings.process import ResyncSettings
from dynsrv.sources.source import SharedResources, Source, SourceContext
from dynsrv.tls import Certificates


@dataclass(frozen=True, slots=True, eq=False)
class ManagedProxy:
    """A proxy with what talks to it. *interval* is the time between two probes, in seconds."""

    settings: ProxySettings
    interval: float
    client: Client
    haproxy: HAProxy
    opener: connecting.Opener = connecting.open_streams


@dataclass(frozen=True, slots=True, eq=False)
class ManagedBackend:
    """A backend with everything that its settings name."""

    settings: BackendSettings
    resync: ResyncSettings
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

    def reconciler(
        self, proxy: HAProxy, app: App, *, observers: Iterable[PassObserver] = (), force: bool = False
    ) -> Reconciler:
        """Return what keeps this backend of *proxy* as desired, and is logged, measured and audited.

        *observers* hear of it, too. With *force*, the guard lets everything through.
        """
        backend, name = self.name, proxy.name
        until = self.settings.limits.override_until
        return Reconciler(
            backend=backend,
            proxy=proxy,
            policy=self.policy,
            resync=self.resync.interval,
            observers=(
                app.audit_log.observer(proxy=name, backend=backend),
                EventLog(proxy=name, backend=backend),
                PassMetrics(app.metrics, proxy=name, backend=backend, owns=self.policy.owns),
                *observers,
            ),
            override_until=math.inf if force else until.timestamp() if until else 0.0,
        )


class App:
    """Everything that one configuration file names. *directory* is the one that its relative paths begin at.

    What was the same in *previous* is taken over from it: the very objects, so that they can be told from new ones.
    """

    def __init__(self, settings: Settings, *, directory: Path, previous: App | None = None) -> None:
        self.settings = settings
        self.directory = directory
        self.metrics: Metrics = previous.metrics if previous else Metrics()
        self.shared: SharedResources = previous.shared if previous else SharedResources()
        self.audit_log: AuditLog = previous.audit_log if previous else AuditLog()
        self.audit_log.audit = directory / settings.audit.path if settings.audit else None
        known_proxies: dict[str, ManagedProxy] = previous.proxies if previous else {}
        self.proxies: dict[str, ManagedProxy] = {
            one.name: self._proxy(one, known_proxies.get(one.name)) for one in settings.proxies
        }
        known_backends: tuple[ManagedBackend, ...] = previous.backends if previous else ()
        self.backends: tuple[ManagedBackend, ...] = tuple(
            self._backend(one, directory, known_backends) for one in settings.backends
        )

    def _proxy(self, settings: ProxySettings, known: ManagedProxy | None) -> ManagedProxy:
        interval = self.settings.resync.probe
        if known is not None and (known.settings, known.interval) == (settings, interval):
            return known
        opener = _opener(settings, self.directory)
        client = Client(settings.address, hook=self.metrics.runtime_hook(settings.name), opener=opener)
        return ManagedProxy(settings, interval, client, HAProxy(settings.name, client), opener)

    def _backend(self, settings: BackendSettings, directory: Path, known: tuple[ManagedBackend, ...]) -> ManagedBackend:
        proxies = tuple(self.proxies[one.name].haproxy for one in self.settings.proxies_of(settings))
        for one in known:
            if (one.settings, one.resync, one.proxies) == (settings, self.settings.resync, proxies):
                return one
        return ManagedBackend(
            settings=settings,
            resync=self.settings.resync,
            source=settings.source.create(SourceContext(settings.name, directory, self.shared)),
            policy=settings.policy(),
            proxies=proxies,
        )

    def close(self) -> None:
        """Close the connections to all proxies."""
        for proxy in self.proxies.values():
            proxy.client.close()


def _opener(settings: ProxySettings, directory: Path) -> connecting.Opener:
    """Return what opens connections to this proxy; certificates are read when they change."""
    if settings.tls is None:
        return connecting.open_streams
    certificates = Certificates(settings.tls.beside(directory))

    def context() -> ssl.SSLContext:
        try:
            return certificates.context()
        except ConfigurationError as error:
            raise ConnectFailed(settings.address, "tls", str(error)) from None

    return partial(connecting.open_streams, tls=context, server_name=settings.tls.server_name)
