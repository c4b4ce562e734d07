"""What is the state of every single server, as metrics? Collected at each scrape, from what was last observed.

They cost Prometheus a few series for each server that ever existed, so they are off unless `web.server_metrics` is set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dynsrv.metrics import server_state
from dynsrv.reconcile.view import BackendView
from dynsrv.steps import WaitsFor
from dynsrv.web.interfaces import StatusReader

_LABELS = ("proxy", "backend", "server")


class ServerMetrics(Collector):
    """Collects the metrics of the servers that dynsrv manages."""

    def __init__(self, reader: StatusReader) -> None:
        self._reader = reader

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return the families without their samples."""
        return _families()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the families, with a sample for each server that was last observed."""
        state, weight, sessions, draining = families = _families()
        for view in self._reader.backends():
            if view.observed is None:
                continue
            waiting = _waiting(view)
            for server in view.observed.servers:
                if not view.policy.owns(server.name):
                    continue
                labels = (view.proxy, view.backend, server.name)
                word = server_state(server, waits_for_check=server.name in waiting)
                state.add_metric((*labels, word), 1)
                weight.add_metric(labels, server.weight)
                if server.sessions is not None:
                    sessions.add_metric(labels, server.sessions)
                if (since := view.drains.get(server.name)) is not None:
                    draining.add_metric(labels, since)
        yield from families


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily(
            "dynsrv_server_state",
            "1 for the current state of a managed server: waiting_check, ready, down, draining or maintenance.",
            labels=(*_LABELS, "state"),
        ),
        GaugeMetricFamily("dynsrv_server_weight", "Weight of a managed server.", labels=_LABELS),
        GaugeMetricFamily(
            "dynsrv_server_sessions",
            "Running and queued sessions of a managed server; always known while it drains.",
            labels=_LABELS,
        ),
        GaugeMetricFamily(
            "dynsrv_server_draining_timestamp_seconds",
            "Start of the drain of a managed server (Unix seconds).",
            labels=_LABELS,
        ),
    )


def _waiting(view: BackendView) -> set[str]:
    waits = view.plan.waits if view.plan is not None else ()
    return {wait.server for wait in waits if wait.waits_for is WaitsFor.CHECK}
