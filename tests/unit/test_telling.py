"""What is logged and counted of a backend: each fact once."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from dynsrv.errors import ProxyUnreachable
from dynsrv.passes import Result
from dynsrv.planning import Limits
from tests.fakes.builders import a_policy, an_endpoint
from tests.fakes.managed import Managed

SOON = 0.05


async def test_a_failure_is_logged_once_until_it_changes_and_so_is_its_end() -> None:
    managed = Managed()
    with capture_logs() as logs:
        managed.refuse(3)
        await managed.delays(3)
        managed.behind.wire.refusals = [OSError(113, "No route to host")]
        await managed.delays(3)
    told = [(line["log_level"], line["event"]) for line in logs]
    assert told == [
        ("warning", "backend cannot be managed now"),
        ("warning", "backend cannot be managed now"),
        ("info", "backend is managed again"),
        ("info", "backend is as the source wants it"),
    ]
    assert managed.value("dynsrv_passes_total", result="unreachable") == 4
    assert managed.value("dynsrv_passes_total", result="converged") == 2


async def test_a_rejected_backend_is_an_error_in_the_log_and_a_metric_with_the_reason() -> None:
    managed = Managed(algorithm="static-rr")
    with capture_logs() as logs:
        await managed.delays(3)
    assert [line["log_level"] for line in logs] == ["error"]
    assert "its algorithm (static-rr) takes no servers" in logs[0]["error"]
    assert managed.value("dynsrv_backend_rejected", reason="algorithm") == 1
    assert managed.value("dynsrv_passes_total", result="rejected") == 3
    managed.haproxy.backend().algorithm = "roundrobin"
    await managed.attempt()
    assert managed.value("dynsrv_backend_rejected", reason="algorithm") == 0


@pytest.mark.parametrize("between", ["gone", "another reason"])
async def test_no_reason_of_a_rejection_outlives_it(between: str) -> None:
    managed = Managed(algorithm="static-rr")
    await managed.attempt()
    if between == "gone":
        managed.refuse()
    else:
        managed.haproxy.backend().mode = "log"
    await managed.attempt()
    managed.haproxy.backend().algorithm, managed.haproxy.backend().mode = "roundrobin", "http"
    await managed.attempt()
    assert managed.result is Result.CONVERGED
    assert managed.value("dynsrv_backend_rejected", reason="algorithm") == 0


async def test_every_change_is_a_line_of_the_log_with_its_reason() -> None:
    managed = Managed(policy=a_policy())
    with capture_logs() as logs:
        await managed.settle(an_endpoint(weight=7))
        await managed.settle(an_endpoint())
        await managed.settle()
    told = [(line["event"], line["server"]) for line in logs if "server" in line]
    assert told == [
        (event, "dyn-10.0.0.1:80")
        for event in (
            "server added",
            "health check enabled",
            "server gets requests",
            "weight changed",
            "weight changed",
            "server drains",
            "server in maintenance",
            "server deleted",
        )
    ]
    assert all(line["log_level"] == "info" and line["reason"] for line in logs if "server" in line)


async def test_a_refused_step_is_a_warning_once_until_the_backend_is_in_line_again() -> None:
    managed = Managed(policy=a_policy(options=("nonsense",)))
    with capture_logs() as logs:
        await managed.delays(3, an_endpoint())
        await managed.attempt()
        await managed.delays(2, an_endpoint())
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["HAProxy refused a step"] * 2
    assert logs[0]["answer"].startswith("unknown keyword 'nonsense'")
    assert managed.value("dynsrv_servers", state="refused") == 1
    assert managed.value("dynsrv_steps_total", step="add", result="refused") == 5


async def test_a_deletion_that_has_to_be_tried_again_is_no_warning() -> None:
    managed = Managed(policy=a_policy(options=(), drain_timeout=0))
    await managed.settle(an_endpoint())
    managed.haproxy.open_session("dyn-10.0.0.1:80")
    with capture_logs() as logs:
        await managed.settle()
    assert not any(line["log_level"] == "warning" for line in logs)
    assert any(line["event"] == "step is tried again" for line in logs)


async def test_servers_are_counted_by_state() -> None:
    managed = Managed(policy=a_policy())
    await managed.settle(an_endpoint(1), an_endpoint(2))
    managed.haproxy.open_session("dyn-10.0.0.2:80")
    await managed.delays(2, an_endpoint(1), an_endpoint(3))
    managed.haproxy.answer("set server be_app/dyn-10.0.0.1:80 state maint")
    await managed.attempt(an_endpoint(1), an_endpoint(3))
    states = ("waiting_check", "ready", "draining", "maintenance", "refused")
    counted = {state: managed.value("dynsrv_servers", state=state) for state in states}
    assert counted["waiting_check"] == 1
    assert counted["maintenance"] == 1
    assert counted["refused"] == 0
    assert managed.value("dynsrv_held_servers") == 1


async def test_a_guard_that_refuses_is_told_once_and_counted_each_time() -> None:
    managed = Managed(policy=a_policy(options=(), limits=Limits()))
    await managed.settle(an_endpoint())
    with capture_logs() as logs:
        await managed.delays(3)
    assert [line["rule"] for line in logs if line["event"].startswith("guard")] == ["on_empty"]
    refusals = managed.metrics.registry.get_sample_value(
        "dynsrv_guard_refusals_total", {"backend": "be_app", "rule": "on_empty"}
    )
    assert refusals == 3


async def test_what_was_done_before_haproxy_went_is_told_all_the_same() -> None:
    managed = Managed()
    endpoints = [an_endpoint(host, port=port) for host in range(1, 101) for port in (80, 81, 82)]
    managed.behind.wire.before_line = lambda line: managed.refuse() if "10.0.0.99:80 " in line else None
    with capture_logs() as logs:
        assert await managed.attempt(*endpoints) == SOON
    assert isinstance(managed.reconciler.failure, ProxyUnreachable)
    assert sum(line["event"] == "server added" for line in logs) == 256
    assert managed.value("dynsrv_steps_total", step="add", result="done") == 256
