"""Which metrics does dynsrv export? Each with its name, help and labels, in one list."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, Info, PlatformCollector
from prometheus_client import ProcessCollector as ProcessResources

from dynsrv import __version__
from dynsrv.model import AdminState, OperationalState, Server
from dynsrv.runtime import Broke, Event, Hook, Replied

_COMMAND_BUCKETS = (0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
_CONVERGENCE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """All metrics of one dynsrv, in their own registry. Label values are configured names, or of a small fixed set."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges: list[tuple[Gauge, frozenset[str]]] = []  # with the names of their labels
        gauge, counter, histogram = self._gauge, self._counter, self._histogram
        where, source = ("proxy", "backend"), ("backend", "kind")

        ProcessResources(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        Info("dynsrv_build", "The version of dynsrv.", registry=self.registry).info({"version": __version__})

        # The configuration
        self.config_good = gauge(
            "dynsrv_config_last_reload_successful", "1 if the configuration file was valid when it was last read."
        )
        self.config_time = gauge(
            "dynsrv_config_last_reload_success_timestamp_seconds", "Unix time of the last successful reload."
        )

        # The log
        self.log_lines_lost = counter(
            "dynsrv_log_lines_lost_total", "Log lines lost because stderr could not be written, or nobody read it."
        )

        # Bugs
        self.internal_errors = counter(
            "dynsrv_internal_errors_total",
            "Bugs that made something fail, which is retried, by part: proxy, source, reconcile, task.",
            "part",
        )
        for part in ("proxy", "source", "reconcile", "task"):
            self.internal_errors.labels(part)

        # Sources
        self.desired_servers = gauge(
            "dynsrv_desired_servers", "Desired servers, from the last snapshots of the sources.", "backend"
        )
        self.source_up = gauge("dynsrv_source_up", "1 if the source's last answer was valid.", *source)
        self.source_last_success = gauge(
            "dynsrv_source_last_success_timestamp_seconds", "Unix time of the source's last valid answer.", *source
        )
        self.source_errors = counter(
            "dynsrv_source_errors_total", "Failures of the source by reason.", *source, "reason"
        )
        self.source_ignored = gauge(
            "dynsrv_source_ignored",
            "Entries of the source's last answer that were ignored; the log names each.",
            *source,
        )

        # HAProxy's configuration files
        self.config_file_current = gauge(
            "dynsrv_config_file_current",
            "1 if HAProxy's configuration file has the servers that a reload now would have to find.",
            *where,
        )
        self.config_file_writes = counter(
            "dynsrv_config_file_writes_total", "How often HAProxy's configuration file was written.", "path"
        )
        self.config_file_last_write = gauge(
            "dynsrv_config_file_last_write_timestamp_seconds",
            "Unix time at which HAProxy's configuration file was last written.",
            "path",
        )
        self.config_file_errors = counter(
            "dynsrv_config_file_errors_total",
            "Failed attempts to write HAProxy's configuration file, by reason: changing, io, missing, permission,"
            " space, validation.",
            "path",
            "reason",
        )

        # Passes
        self.reconcile_duration = histogram(
            "dynsrv_reconcile_duration_seconds", "Time to observe, plan and apply once.", *where
        )
        self.reconcile_total = counter(
            "dynsrv_reconcile_total",
            "Passes by result: converged, changed, waiting, guarded, refused, rejected, unreachable, reloaded, failed.",
            *where,
            "result",
        )
        self.steps = counter(
            "dynsrv_steps_total", "Steps sent to HAProxy by result: done, refused, unknown.", *where, "step", "result"
        )
        self.convergence = histogram(
            "dynsrv_convergence_seconds",
            "Time from a change in the source until every desired server was admitted.",
            "backend",
            buckets=_CONVERGENCE_BUCKETS,
        )
        self.converged = gauge(
            "dynsrv_converged", "1 if the backend was in sync in the last pass; 0 also if the pass failed.", *where
        )
        self.drift = counter(
            "dynsrv_drift_total",
            "Servers found changed though neither dynsrv nor the source had changed anything.",
            *where,
        )
        self.backend_rejected = gauge(
            "dynsrv_backend_rejected",
            "1 if the backend cannot be managed, by reason: algorithm, level, missing, mode, options, version.",
            *where,
            "reason",
        )

        # Servers
        self.servers = gauge(
            "dynsrv_servers",
            "Managed servers by state: waiting_check, ready, down (ready, but HAProxy sees it DOWN), draining,"
            " maintenance, and refused by HAProxy.",
            *where,
            "state",
        )
        self.serving_servers = gauge(
            "dynsrv_serving_servers",
            "Servers of the backend that HAProxy sends new requests, including those that dynsrv does not manage.",
            *where,
        )
        self.held_servers = gauge(
            "dynsrv_held_servers",
            "Servers that an operator put into maintenance or drain, and that stay there.",
            *where,
        )
        self.oldest_wait = gauge(
            "dynsrv_oldest_wait_timestamp_seconds",
            "Unix time since which the longest-waiting server has been waiting to be admitted.",
            *where,
        )
        self.oldest_drain = gauge(
            "dynsrv_oldest_drain_timestamp_seconds", "Unix time at which the oldest drain in progress began.", *where
        )
        self.guarded_servers = gauge(
            "dynsrv_guarded_servers",
            "Servers absent from the source that the guard keeps, by rule: max_removed, min_ready, on_empty.",
            *where,
            "rule",
        )
        self.guard_refusals = counter(
            "dynsrv_guard_refusals_total",
            "Passes whose removals the guard blocked, by rule: max_removed, min_ready, on_empty.",
            "backend",
            "rule",
        )

        # HAProxy
        self.proxy_up = gauge("dynsrv_proxy_up", "1 if HAProxy responds.", "proxy")
        self.proxy_reloads = counter("dynsrv_proxy_reloads_total", "Reloads and restarts of HAProxy.", "proxy")
        self.command_duration = histogram(
            "dynsrv_runtime_command_duration_seconds",
            "HAProxy's time for a command: the mean over the equal commands of a batch.",
            "proxy",
            "command",
            buckets=_COMMAND_BUCKETS,
        )
        self.connections_broken = counter(
            "dynsrv_runtime_connections_broken_total",
            "Connections that were closed before all replies had arrived.",
            "proxy",
            "error",
        )

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        gauge = Gauge(name, help, labels, registry=self.registry)
        self._gauges.append((gauge, frozenset(labels)))
        return gauge

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(name, help, labels, registry=self.registry)

    def _histogram(
        self, name: str, help: str, *labels: str, buckets: Sequence[float] = Histogram.DEFAULT_BUCKETS
    ) -> Histogram:
        return Histogram(name, help, labels, buckets=buckets, registry=self.registry)

    def forget(self, **labels: str) -> None:
        """Remove every series with these labels from all gauges: what they describe is no longer managed.

        An alert on such a series would never end. Counters and histograms stay, as `rate()` expects.
        """
        for gauge, names in self._gauges:
            if labels.keys() <= names:
                gauge.remove_by_labels(labels)

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
    """Return the state of a server as the label of `dynsrv_servers` has it."""
    if waits_for_check:
        return "waiting_check"
    if server.admin is AdminState.READY and server.operational is OperationalState.DOWN:
        return "down"
    return {
        AdminState.READY: "ready",
        AdminState.DRAIN: "draining",
        AdminState.MAINT: "maintenance",
    }[server.admin]
