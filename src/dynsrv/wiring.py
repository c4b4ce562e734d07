"""Which objects does a spec need? They are created here, but neither started nor kept."""

from __future__ import annotations

import math
import ssl
from collections.abc import Iterable, Sequence
from functools import partial

from dynsrv.errors import ConfigurationError
from dynsrv.haproxy.liveness import ProcessWatch
from dynsrv.haproxy.proxy import HAProxy, Proxy
from dynsrv.metrics import Metrics
from dynsrv.persist.backend import PersistedBackend
from dynsrv.persist.rendered_file import RenderedFile
from dynsrv.persist.writer import Writer
from dynsrv.reconcile.audit import AuditLog
from dynsrv.reconcile.desired import DesiredState
from dynsrv.reconcile.event_log import EventLog
from dynsrv.reconcile.observer import PassObserver
from dynsrv.reconcile.pass_metrics import PassMetrics
from dynsrv.reconcile.reconciler import Reconciler
from dynsrv.runtime import Client, connecting, parse_address
from dynsrv.runtime.errors import ConnectFailed
from dynsrv.sources.feed import Feed
from dynsrv.sources.source import SharedResources, Source, SourceContext
from dynsrv.specs import BackendSpec, ConfigFileSpec, DesiredSpec, ProxySpec, SourceSpec
from dynsrv.tls import Certificates


class Factory:
    """Creates the objects of specs. They share one set of metrics, one audit log, and the shared resources of sources.

    Each method may raise `ConfigurationError`: something that a spec names cannot be used.
    """

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.audit_log = AuditLog()
        self._shared = SharedResources()

    def proxy(self, spec: ProxySpec) -> HAProxy:
        """Return a HAProxy with a client of its own."""
        hook = self.metrics.runtime_hook(spec.key)
        return HAProxy(spec.key, Client(spec.settings.address, hook=hook, opener=self._opener(spec)))

    def process_watch(self, spec: ProxySpec, proxy: HAProxy) -> ProcessWatch:
        """Return a watch that notices when *proxy* is reloaded or unreachable."""
        master = parse_address(spec.settings.master) if spec.settings.master else None
        return ProcessWatch(proxy, interval=spec.probe, metrics=self.metrics, master=master, opener=self._opener(spec))

    def source(self, spec: SourceSpec) -> Source:
        """Return a source."""
        return spec.settings.create(SourceContext(spec.backend, spec.directory, self._shared, spec.rules))

    def feed(self, spec: SourceSpec) -> Feed:
        """Return a feed of a source of its own."""
        return Feed(self.source(spec), backend=spec.backend, kind=spec.settings.kind, metrics=self.metrics)

    def desired_state(self, spec: DesiredSpec, feeds: Sequence[Feed]) -> DesiredState:
        """Return the desired state of a backend, made from *feeds*."""
        return DesiredState(feeds, backend=spec.backend, policy=spec.policy, metrics=self.metrics)

    def rendered_file(self, spec: ConfigFileSpec) -> RenderedFile:
        """Return a file of HAProxy's configuration."""
        template = spec.settings.template and spec.directory / spec.settings.template
        return RenderedFile(spec.key, template=template, validate=spec.settings.validation)

    def writer(self, spec: ConfigFileSpec) -> Writer:
        """Return what keeps a file of HAProxy's configuration current."""
        return Writer(self.rendered_file(spec), metrics=self.metrics)

    def persisted_backend(self, spec: BackendSpec, writers: Sequence[Writer]) -> PersistedBackend:
        """Return what lets *writers* know of a backend of a proxy that reads their files."""
        policy = spec.desired.policy
        return PersistedBackend(writers, backend=spec.name, proxy=spec.proxy.key, policy=policy, metrics=self.metrics)

    def reconciler(
        self,
        spec: BackendSpec,
        proxy: Proxy,
        *,
        persisted: PersistedBackend | None = None,
        observers: Iterable[PassObserver] = (),
        force: bool = False,
    ) -> Reconciler:
        """Return a reconciler of a backend on *proxy*, with its log, metrics and audit log.

        *persisted* keeps its files current, *observers* observe its passes, too. With *force*, the guard is overridden.
        """
        backend, name, policy = spec.name, proxy.name, spec.desired.policy
        persisted = persisted or self.persisted_backend(spec, [])
        return Reconciler(
            backend=backend,
            proxy=proxy,
            policy=policy,
            resync=spec.resync,
            observers=(
                self.audit_log.observer(proxy=name, backend=backend),
                EventLog(proxy=name, backend=backend),
                PassMetrics(self.metrics, proxy=name, backend=backend, owns=policy.owns),
                persisted,
                *observers,
            ),
            in_config_file=persisted.in_config_file,
            override_until=math.inf if force else spec.override_until,
        )

    def _opener(self, spec: ProxySpec) -> connecting.Opener:
        """Return a function that opens connections to this proxy. Certificates are read again when they change."""
        if spec.settings.tls is None:
            return connecting.open_streams
        tls = spec.settings.tls.beside(spec.directory)
        certificates = self._shared.get(tls, lambda: Certificates(tls))

        def context() -> ssl.SSLContext:
            try:
                return certificates.context()
            except ConfigurationError as error:
                raise ConnectFailed(spec.settings.address, "tls", str(error)) from None

        return partial(connecting.open_streams, tls=context, server_name=spec.settings.tls.server_name)
