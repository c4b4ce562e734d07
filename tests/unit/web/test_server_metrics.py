"""The metrics of single servers, where they are enabled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from dynsrv.metrics import Metrics
from dynsrv.model import AdminState, Check, OperationalState, Server
from dynsrv.reconcile.view import BackendView
from dynsrv.steps import Plan, Wait, WaitsFor
from dynsrv.web.interfaces import StatusReader
from dynsrv.web.server_metrics import ServerMetrics
from tests.fakes.builders import a_backend, a_policy, a_server, an_endpoint

METRICS = {
    "dynsrv_server_state": ["proxy", "backend", "server", "state"],
    "dynsrv_server_weight": ["proxy", "backend", "server"],
    "dynsrv_server_sessions": ["proxy", "backend", "server"],
    "dynsrv_server_draining_timestamp_seconds": ["proxy", "backend", "server"],
}


class FakeReader:
    """As much of a status as these metrics need."""

    def __init__(self, *views: BackendView) -> None:
        self.views = views

    def backends(self) -> Iterator[BackendView]:
        return iter(self.views)


def a_view(*servers: Server, backend: str = "be_app", proxy: str = "lb1", **seen: Any) -> BackendView:
    return BackendView(backend, proxy, a_policy(), observed=a_backend(*servers), **seen)


def samples(*views: BackendView) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples by the names of the metrics and the values of their labels."""
    registry = CollectorRegistry()
    registry.register(ServerMetrics(cast(StatusReader, FakeReader(*views))))
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for family in registry.collect()
    }


def test_every_metric_has_its_name_and_its_labels() -> None:
    draining = a_server(admin=AdminState.DRAIN, sessions=1)
    view = a_view(draining, drains={draining.name: 1.0})
    registry = CollectorRegistry()
    registry.register(ServerMetrics(cast(StatusReader, FakeReader(view))))
    assert {family.name: list(family.samples[0].labels) for family in registry.collect()} == METRICS


def test_a_server_has_its_state_its_weight_and_what_is_known_of_its_drain() -> None:
    serving = a_server(an_endpoint(1))
    draining = a_server(an_endpoint(2), admin=AdminState.DRAIN, sessions=3)
    families = samples(a_view(serving, draining, drains={draining.name: 1_700_000_000.0}))
    first, second = (("lb1", "be_app", server.name) for server in (serving, draining))
    assert families == {
        "dynsrv_server_state": {(*first, "ready"): 1, (*second, "draining"): 1},
        "dynsrv_server_weight": {first: 100, second: 0},
        "dynsrv_server_sessions": {second: 3},
        "dynsrv_server_draining_timestamp_seconds": {second: 1_700_000_000},
    }


def test_a_server_in_maintenance_is_waiting_check_only_if_it_waits_for_its_check() -> None:
    new = a_server(an_endpoint(1), admin=AdminState.MAINT, check=Check.PENDING)
    held = a_server(an_endpoint(2), admin=AdminState.MAINT, check=Check.NONE, weight=100)
    plan = Plan(waits=(Wait(new.name, WaitsFor.CHECK, ""), Wait(held.name, WaitsFor.GUARD, "")))
    states = {labels[2:] for labels in samples(a_view(new, held, plan=plan))["dynsrv_server_state"]}
    assert states == {(new.name, "waiting_check"), (held.name, "maintenance")}


def test_a_server_that_haproxy_sees_down_is_down_not_ready() -> None:
    down = a_server(an_endpoint(1), operational=OperationalState.DOWN, check=Check.FAILED)
    assert samples(a_view(down))["dynsrv_server_state"] == {("lb1", "be_app", down.name, "down"): 1}


def test_servers_that_dynsrv_does_not_manage_have_no_metrics() -> None:
    assert samples(a_view(a_server(name="web1"), a_server(an_endpoint(2))))["dynsrv_server_weight"] == {
        ("lb1", "be_app", "dyn-10.0.0.2:80"): 100
    }


def test_a_backend_that_was_never_observed_has_no_metrics() -> None:
    assert not any(samples(BackendView("be_app", "lb1", a_policy())).values())


def test_servers_of_one_name_differ_by_backend_and_proxy() -> None:
    views = [a_view(a_server(), backend=backend, proxy=proxy) for backend in ("a", "b") for proxy in ("lb1", "lb2")]
    assert len(samples(*views)["dynsrv_server_weight"]) == 4


@pytest.mark.parametrize("name", METRICS)
def test_they_are_served_with_all_other_metrics(name: str) -> None:
    metrics = Metrics()
    metrics.registry.register(ServerMetrics(cast(StatusReader, FakeReader(a_view(a_server())))))
    families = {family.name: family for family in metrics.registry.collect()}
    assert families[name].documentation.endswith(".")
