"""What is each single server doing? Metrics of every server of ours, read at the time when they are asked for.

They cost Prometheus some series for each server that ever was, so `web.server_metrics` has to ask for them.
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
    """Tells of the servers of ours in what is *seen*, and of no others."""

    def __init__(self, seen: StatusReader) -> None:
        self._seen = seen

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return the families without their samples."""
        return _families()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what was seen last."""
        state, weight, sessions, draining = families = _families()
        for view in self._seen.backends():
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
            "1 for the state of a server of ours: waiting_check, ready, draining, maintenance.",
            labels=(*_LABELS, "state"),
        ),
        GaugeMetricFamily("dynsrv_server_weight", "Weight of a server of ours.", labels=_LABELS),
        GaugeMetricFamily(
            "dynsrv_server_sessions",
            "Running and queued sessions of a server of ours, where they were asked for: while it drains.",
            labels=_LABELS,
        ),
        GaugeMetricFamily(
            "dynsrv_server_draining_timestamp_seconds",
            "Unix time since when a server of ours has been in drain.",
            labels=_LABELS,
        ),
    )


def _waiting(view: BackendView) -> set[str]:
    waits = view.plan.waits if view.plan is not None else ()
    return {wait.server for wait in waits if wait.waits_for is WaitsFor.CHECK}
