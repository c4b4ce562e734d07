"""Which numbers does dynsrv tell? Every metric with its name, help and labels, in one place."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, Info, PlatformCollector
from prometheus_client import ProcessCollector as ProcessResources

from dynsrv import __version__
from dynsrv.model import AdminState, Server
from dynsrv.runtime import Broke, Event, Hook, Replied

_COMMAND_BUCKETS = (0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
_CONVERGENCE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """All metrics of one dynsrv, in a registry of its own. Label values are configured names, or few words."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessResources(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        Info("dynsrv_build", "The version of dynsrv.", registry=registry).info({"version": __version__})

        self.config_good = Gauge(
            "dynsrv_config_last_reload_successful",
            "1 if the configuration file was good when it was last read.",
            registry=registry,
        )
        self.config_time = Gauge(
            "dynsrv_config_last_reload_success_timestamp_seconds",
            "Unix time at which a configuration was last taken over.",
            registry=registry,
        )
        where = ("proxy", "backend")
        self.servers = Gauge(
            "dynsrv_servers", "Servers of ours in HAProxy, and those it refused.", (*where, "state"), registry=registry
        )
        self.desired_servers = Gauge(
            "dynsrv_desired_servers", "Endpoints in the source's last snapshot.", ("backend",), registry=registry
        )
        self.reconcile_duration = Histogram(
            "dynsrv_reconcile_duration_seconds", "Time to observe, plan and apply once.", where, registry=registry
        )
        self.reconcile_total = Counter(
            "dynsrv_reconcile_total",
            "Passes by result: converged, changed, waiting, guarded, refused, rejected, unreachable, reloaded.",
            (*where, "result"),
            registry=registry,
        )
        self.steps = Counter(
            "dynsrv_steps_total",
            "Steps sent to HAProxy by result: done, refused, unknown.",
            (*where, "step", "result"),
            registry=registry,
        )
        self.convergence = Histogram(
            "dynsrv_convergence_seconds",
            "Time from the source's event until every wanted server took traffic.",
            ("backend",),
            buckets=_CONVERGENCE_BUCKETS,
            registry=registry,
        )
        self.guard_refusals = Counter(
            "dynsrv_guard_refusals_total",
            "Passes whose removals the guard refused, by rule: max_removed, min_ready, on_empty.",
            ("backend", "rule"),
            registry=registry,
        )
        self.guarded_servers = Gauge(
            "dynsrv_guarded_servers",
            "Servers that the source no longer wants and the guard keeps, by rule: max_removed, min_ready, on_empty.",
            (*where, "rule"),
            registry=registry,
        )
        self.drift = Counter(
            "dynsrv_drift_total",
            "Servers that were found changed though neither dynsrv nor the source had changed anything.",
            where,
            registry=registry,
        )
        self.held_servers = Gauge(
            "dynsrv_held_servers",
            "Servers that an operator put into maintenance or drain by hand, and that stay there.",
            where,
            registry=registry,
        )
        self.converged = Gauge(
            "dynsrv_converged",
            "1 if HAProxy was as the source wants it when it was last looked at; 0 also if it could not be looked at.",
            where,
            registry=registry,
        )
        self.oldest_wait = Gauge(
            "dynsrv_oldest_wait_timestamp_seconds",
            "Unix time since when the server has waited that has waited for longest to get requests.",
            where,
            registry=registry,
        )
        self.oldest_drain = Gauge(
            "dynsrv_oldest_drain_timestamp_seconds",
            "Unix time at which the server began to drain that has been leaving for longest.",
            where,
            registry=registry,
        )
        self.backend_rejected = Gauge(
            "dynsrv_backend_rejected",
            "1 if HAProxy cannot add servers to the backend at runtime.",
            (*where, "reason"),
            registry=registry,
        )
        self.source_up = Gauge(
            "dynsrv_source_up", "1 if the source's last answer was good.", ("backend", "kind"), registry=registry
        )
        self.source_last_success = Gauge(
            "dynsrv_source_last_success_timestamp_seconds",
            "Unix time at which the source last told what is desired.",
            ("backend", "kind"),
            registry=registry,
        )
        self.source_errors = Counter(
            "dynsrv_source_errors_total",
            "Failures of the source by reason; the last snapshot stays.",
            ("backend", "kind", "reason"),
            registry=registry,
        )
        self.source_ignored = Gauge(
            "dynsrv_source_ignored",
            "What the source's last answer had but could not be used as it was; the log tells each.",
            ("backend", "kind"),
            registry=registry,
        )
        self.proxy_up = Gauge("dynsrv_proxy_up", "1 if HAProxy answers.", ("proxy",), registry=registry)
        self.proxy_reloads = Counter(
            "dynsrv_proxy_reloads_total",
            "Reloads and restarts of HAProxy that were noticed.",
            ("proxy",),
            registry=registry,
        )
        self.command_duration = Histogram(
            "dynsrv_runtime_command_duration_seconds",
            "Time HAProxy took for a command: the mean of a run of equal ones sent at once.",
            ("proxy", "command"),
            buckets=_COMMAND_BUCKETS,
            registry=registry,
        )
        self.connections_broken = Counter(
            "dynsrv_runtime_connections_broken_total",
            "Connections given up before all replies had come.",
            ("proxy", "error"),
            registry=registry,
        )

    def forget(self, backend: str, *, proxy: str | None = None) -> None:
        """Tell no more of *backend*, which is no longer managed: on *proxy*, or anywhere."""
        if proxy is not None:
            for metric in (
                self.servers,
                self.held_servers,
                self.guarded_servers,
                self.converged,
                self.oldest_wait,
                self.oldest_drain,
                self.backend_rejected,
            ):
                metric.remove_by_labels({"proxy": proxy, "backend": backend})
        else:
            for metric in (self.desired_servers, self.source_up, self.source_last_success, self.source_ignored):
                metric.remove_by_labels({"backend": backend})

    def forget_source(self, backend: str, kind: str) -> None:
        """Tell no more of the source of this *kind* of *backend*, which has none of that kind any more."""
        for metric in (self.source_up, self.source_last_success, self.source_ignored):
            metric.remove_by_labels({"backend": backend, "kind": kind})

    def forget_proxy(self, proxy: str) -> None:
        """Tell no more of *proxy*, which is no longer named."""
        self.proxy_up.remove_by_labels({"proxy": proxy})

    def runtime_hook(self, proxy: str) -> Hook:
        """Return the hook that measures the Runtime API of *proxy*."""

        def record(event: Event) -> None:
            match event:
                case Replied(command=command, replies=replies, seconds=seconds):
                    self.command_duration.labels(proxy, command).observe(seconds / replies)
                case Broke(error=error):
                    self.connections_broken.labels(proxy, error).inc()

        return record


def server_state(server: Server, *, waits_for_check: bool) -> str:
    """Return the state of a server of ours in the words of `dynsrv_servers`."""
    if waits_for_check:
        return "waiting_check"
    return {
        AdminState.READY: "ready",
        AdminState.DRAIN: "draining",
        AdminState.MAINT: "maintenance",
    }[server.admin]
