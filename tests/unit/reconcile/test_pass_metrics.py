"""What is measured of a backend."""

from __future__ import annotations

import pytest

from dynsrv.model import EndpointState
from dynsrv.planning import DrainTimeoutAction, Limits
from dynsrv.reconcile.result import Result
from tests.fakes.builders import a_policy, an_endpoint
from tests.fakes.managed import Managed


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
    managed.pass_metrics()  # of the same backend with other settings
    assert managed.value("dynsrv_backend_rejected", reason="algorithm") is None


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


async def test_a_server_whose_check_fails_counts_as_down_not_as_ready() -> None:
    managed = Managed(policy=a_policy())
    wanted = (an_endpoint(1), an_endpoint(2))
    await managed.delays(2, *wanted)
    managed.haproxy.run_checks()
    await managed.settle(*wanted)
    assert managed.value("dynsrv_servers", state="ready") == 2
    managed.haproxy.run_checks(passing={"dyn-10.0.0.2:80"})
    await managed.attempt(*wanted)
    assert managed.value("dynsrv_servers", state="ready") == 1
    assert managed.value("dynsrv_servers", state="down") == 1


async def test_what_the_guard_keeps_is_counted_by_rule_until_it_may_go() -> None:
    managed = Managed(policy=a_policy(options=(), limits=Limits()))
    await managed.settle(an_endpoint(1), an_endpoint(2))
    await managed.attempt()
    assert managed.value("dynsrv_guarded_servers", rule="on_empty") == 2
    assert managed.value("dynsrv_guarded_servers", rule="max_removed") == 0
    await managed.attempt(an_endpoint(1), an_endpoint(2))
    assert managed.value("dynsrv_guarded_servers", rule="on_empty") == 0


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
