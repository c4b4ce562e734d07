"""What is logged and counted of a backend: each fact once."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from dynsrv.errors import ProxyUnreachable
from dynsrv.logs import Event
from dynsrv.model import EndpointState
from dynsrv.planning import DrainTimeoutAction, Limits
from dynsrv.reconcile.event_log import Telling
from dynsrv.reconcile.result import Result
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
        ("warning", Event.RECONCILE_FAILED),
        ("warning", Event.RECONCILE_FAILED),
        ("info", Event.RECONCILE_RECOVERED),
        ("info", Event.BACKEND_IN_SYNC),
    ]
    assert managed.value("dynsrv_reconcile_total", result="unreachable") == 4
    assert managed.value("dynsrv_reconcile_total", result="converged") == 2


async def test_a_rejected_backend_is_an_error_in_the_log_and_a_metric_with_the_reason() -> None:
    managed = Managed(algorithm="static-rr")
    with capture_logs() as logs:
        await managed.delays(3)
    assert [line["log_level"] for line in logs] == ["error"]
    assert "its algorithm (static-rr) takes no servers" in logs[0]["error"]
    assert managed.value("dynsrv_backend_rejected", reason="algorithm") == 1
    assert managed.value("dynsrv_reconcile_total", result="rejected") == 3
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


async def test_no_reason_of_a_rejection_outlives_the_configuration_that_was_rejected() -> None:
    managed = Managed(algorithm="static-rr")
    await managed.attempt()
    assert managed.value("dynsrv_backend_rejected", reason="algorithm") == 1
    Telling(  # of the same backend with other settings
        proxy="lb1", backend="be_app", owns=managed.policy.owns, metrics=managed.metrics, audit_log=managed.audit_log
    )
    assert managed.value("dynsrv_backend_rejected", reason="algorithm") is None


async def test_of_many_changes_of_one_kind_twenty_are_lines_of_the_log_and_the_others_share_one() -> None:
    managed = Managed()
    with capture_logs() as logs:
        await managed.settle(*(an_endpoint(number) for number in range(1, 124)))
    added = [line["server"] for line in logs if line["event"] == Event.SERVER_ADDED and line["log_level"] == "info"]
    more = {line["step"]: line for line in logs if line["event"] == Event.MORE_SERVERS_CHANGED}
    rest = more["add"]
    assert (rest["log_level"], rest["others"]) == ("info", 103)
    others = [line["server"] for line in logs if line["event"] == Event.SERVER_ADDED and line["log_level"] == "debug"]
    assert (len(added), len({*added, *others})) == (20, 123)
    assert rest["servers"] == others[:100]  # not a line as long as the backend is large
    assert managed.value("dynsrv_steps_total", step="add", result="done") == 123


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
            Event.SERVER_ADDED,
            Event.HEALTH_CHECK_ENABLED,
            Event.SERVER_ENABLED,
            Event.WEIGHT_CHANGED,
            Event.WEIGHT_CHANGED,
            Event.SERVER_DRAINING,
            Event.SERVER_DISABLED,
            Event.SERVER_DELETED,
        )
    ]
    assert all(line["log_level"] == "info" and line["reason"] for line in logs if "server" in line)


async def test_a_refused_step_is_a_warning_once_until_the_backend_is_in_line_again() -> None:
    managed = Managed(policy=a_policy(options=("nonsense",)))
    with capture_logs() as logs:
        await managed.delays(3, an_endpoint())
        await managed.attempt()
        await managed.delays(2, an_endpoint())
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == [Event.COMMAND_REJECTED] * 2
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
    assert any(line["event"] == Event.COMMAND_RETRIED for line in logs)


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
    assert [line["rule"] for line in logs if line["event"] == Event.REMOVAL_BLOCKED] == ["on_empty"]
    refusals = managed.metrics.registry.get_sample_value(
        "dynsrv_guard_refusals_total", {"backend": "be_app", "rule": "on_empty"}
    )
    assert refusals == 3


async def test_what_the_guard_keeps_is_counted_by_rule_until_it_may_go() -> None:
    managed = Managed(policy=a_policy(options=(), limits=Limits()))
    await managed.settle(an_endpoint(1), an_endpoint(2))
    await managed.attempt()
    assert managed.value("dynsrv_guarded_servers", rule="on_empty") == 2
    assert managed.value("dynsrv_guarded_servers", rule="max_removed") == 0
    await managed.attempt(an_endpoint(1), an_endpoint(2))
    assert managed.value("dynsrv_guarded_servers", rule="on_empty") == 0


async def test_what_was_done_before_haproxy_went_is_told_all_the_same() -> None:
    managed = Managed()
    endpoints = [an_endpoint(host, port=port) for host in range(1, 101) for port in (80, 81, 82)]
    managed.behind.wire.before_line = lambda line: managed.refuse() if "10.0.0.13:81 " in line else None
    with capture_logs() as logs:
        assert await managed.attempt(*endpoints) == SOON
    assert isinstance(managed.reconciler.failure, ProxyUnreachable)
    assert sum(line["event"] == Event.SERVER_ADDED for line in logs) == 16  # the first batch
    assert managed.value("dynsrv_steps_total", step="add", result="done") == 16


async def test_counters_are_told_before_anything_happens() -> None:
    managed = Managed()
    assert managed.value("dynsrv_drift_total") == 0
    assert managed.value("dynsrv_converged") == 0
    assert all(managed.value("dynsrv_reconcile_total", result=result) == 0 for result in Result)


async def test_haproxy_that_cannot_be_looked_at_does_not_count_as_in_line() -> None:
    managed = Managed()
    await managed.settle(an_endpoint())
    assert managed.value("dynsrv_converged") == 1
    managed.refuse()
    await managed.attempt(an_endpoint())
    assert managed.value("dynsrv_converged") == 0
    await managed.attempt(an_endpoint())
    assert managed.value("dynsrv_converged") == 1


async def test_the_wait_of_the_server_that_has_waited_for_longest_is_told() -> None:
    managed = Managed(policy=a_policy())
    began = managed.haproxy.clock()
    await managed.delays(2, an_endpoint(1))
    managed.haproxy.advance(5)
    await managed.delays(2, an_endpoint(1), an_endpoint(2))
    assert managed.value("dynsrv_oldest_wait_timestamp_seconds") == began
    await managed.delays(2, an_endpoint(2))  # the first is not wanted any more
    assert managed.value("dynsrv_oldest_wait_timestamp_seconds") == began + 5
    managed.haproxy.run_checks()
    await managed.delays(2, an_endpoint(2))
    assert managed.value("dynsrv_oldest_wait_timestamp_seconds") is None


async def test_a_server_that_haproxy_refuses_waits_too() -> None:
    managed = Managed(policy=a_policy(options=("nonsense",)))
    began = managed.haproxy.clock()
    await managed.attempt(an_endpoint())
    managed.haproxy.advance(60)
    await managed.attempt(an_endpoint())
    assert managed.value("dynsrv_oldest_wait_timestamp_seconds") == began
    await managed.attempt()
    assert managed.value("dynsrv_oldest_wait_timestamp_seconds") is None


async def test_a_server_leaves_from_its_drain_until_it_is_deleted() -> None:
    managed = Managed(policy=a_policy(options=(), drain_timeout=30, on_drain_timeout=DrainTimeoutAction.WAIT))
    await managed.settle(an_endpoint())
    managed.haproxy.open_session("dyn-10.0.0.1:80")
    began = managed.haproxy.clock()
    await managed.delays(2)
    assert managed.value("dynsrv_oldest_drain_timestamp_seconds") == began
    managed.haproxy.advance(3600)
    await managed.delays(3)  # in maintenance since its time is over, and HAProxy does not delete it yet
    assert managed.value("dynsrv_servers", state="maintenance") == 1
    assert managed.value("dynsrv_oldest_drain_timestamp_seconds") == began
    managed.haproxy.close_session("dyn-10.0.0.1:80")
    await managed.delays(2)
    assert managed.value("dynsrv_oldest_drain_timestamp_seconds") is None


async def test_a_server_that_the_source_wants_drained_or_an_operator_holds_does_not_leave() -> None:
    managed = Managed()
    await managed.settle(an_endpoint(1), an_endpoint(2))
    managed.haproxy.answer("set server be_app/dyn-10.0.0.1:80 state drain")
    await managed.settle(an_endpoint(1), an_endpoint(2, state=EndpointState.DRAIN))
    assert managed.value("dynsrv_servers", state="draining") == 2
    assert managed.value("dynsrv_oldest_drain_timestamp_seconds") is None
    assert managed.value("dynsrv_converged") == 1


async def test_a_new_server_whose_check_fails_is_told_once() -> None:
    managed = Managed(policy=a_policy())
    with capture_logs() as logs:
        await managed.delays(2, an_endpoint())
        managed.haproxy.run_checks(passing=[])
        await managed.delays(3, an_endpoint())
        managed.haproxy.run_checks()
        await managed.settle(an_endpoint())
    (told,) = [line for line in logs if line["event"] == Event.SERVER_NOT_ADMITTED]
    assert (told["server"], told["log_level"]) == ("dyn-10.0.0.1:80", "info")
    assert told["reason"] == "its health check is failing; it receives no requests until a check passes"
