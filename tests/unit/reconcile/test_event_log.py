"""What is logged of a backend: each change, and each fact when it begins to hold."""

from __future__ import annotations

from structlog.testing import capture_logs

from dynsrv.errors import ProxyUnreachable
from dynsrv.logs import Event
from dynsrv.model import Endpoint
from dynsrv.planning import DrainTimeoutAction, Limits
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
    assert "its algorithm (static-rr) does not accept servers" in logs[0]["error"]
    assert managed.value("dynsrv_backend_rejected", reason="algorithm") == 1
    assert managed.value("dynsrv_reconcile_total", result="rejected") == 3
    managed.haproxy.backend().algorithm = "roundrobin"
    await managed.attempt()
    assert managed.value("dynsrv_backend_rejected", reason="algorithm") == 0


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


async def test_a_rejected_command_is_a_warning_once_until_the_backend_is_in_sync_again() -> None:
    managed = Managed(policy=a_policy(options=("nonsense",)))
    with capture_logs() as logs:
        await managed.delays(3, an_endpoint())
        await managed.attempt()
        await managed.delays(2, an_endpoint())
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == [Event.COMMAND_REJECTED] * 2
    assert logs[0]["answer"].startswith("unknown keyword 'nonsense'")
    assert managed.value("dynsrv_servers", state="refused") == 1
    assert managed.value("dynsrv_steps_total", step="add", result="refused") == 5


async def test_a_rejected_command_is_logged_when_it_begins_to_be_and_again_after_it_had_gone_away() -> None:
    managed = Managed()
    one, another = (Endpoint(f"10.0.0.{host}", 80, options=("nonsense",)) for host in (1, 2))
    first, second = "dyn-10.0.0.1:80", "dyn-10.0.0.2:80"
    warned: list[list[str]] = []
    for wanted in ((one,), (one, another), (one, another), (one,), (one, another)):
        with capture_logs() as logs:
            await managed.attempt(*wanted)
        assert managed.result is Result.REFUSED  # it is in sync at no time
        warned.append([line["server"] for line in logs if line["event"] == Event.COMMAND_REJECTED])
    assert warned == [[first], [second], [], [], [second]]


async def test_a_rejected_command_is_not_logged_again_because_haproxy_was_gone_in_between() -> None:
    managed = Managed(policy=a_policy(options=("nonsense",)))
    with capture_logs() as logs:
        await managed.attempt(an_endpoint())
        managed.refuse()
        await managed.delays(2, an_endpoint())
    assert [line["event"] for line in logs if line["log_level"] != "debug"] == [
        Event.COMMAND_REJECTED,
        Event.RECONCILE_FAILED,
        Event.RECONCILE_RECOVERED,
    ]


async def test_a_command_that_has_to_be_retried_is_in_the_log_each_time_at_level_debug() -> None:
    managed = Managed(policy=a_policy(options=(), drain_timeout=0, on_drain_timeout=DrainTimeoutAction.WAIT))
    await managed.settle(an_endpoint())
    managed.haproxy.open_session("dyn-10.0.0.1:80")
    await managed.delays(2)
    with capture_logs() as logs:
        await managed.delays(3)
    retried = [line for line in logs if line["event"] == Event.COMMAND_RETRIED]
    assert [(line["log_level"], line["step"]) for line in retried] == [("debug", "delete")] * 3


async def test_a_deletion_that_has_to_be_tried_again_is_no_warning() -> None:
    managed = Managed(policy=a_policy(options=(), drain_timeout=0))
    await managed.settle(an_endpoint())
    managed.haproxy.open_session("dyn-10.0.0.1:80")
    with capture_logs() as logs:
        await managed.settle()
    assert not any(line["log_level"] == "warning" for line in logs)
    assert any(line["event"] == Event.COMMAND_RETRIED for line in logs)


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


async def test_what_was_done_before_haproxy_went_is_told_all_the_same() -> None:
    managed = Managed()
    endpoints = [an_endpoint(host, port=port) for host in range(1, 101) for port in (80, 81, 82)]
    managed.behind.wire.before_line = lambda line: managed.refuse() if "10.0.0.13:81 " in line else None
    with capture_logs() as logs:
        assert await managed.attempt(*endpoints) == SOON
    assert isinstance(managed.reconciler.failure, ProxyUnreachable)
    assert sum(line["event"] == Event.SERVER_ADDED for line in logs) == 16  # the first batch
    assert managed.value("dynsrv_steps_total", step="add", result="done") == 16


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
    assert told["reason"] == (
        'its health check is failing (L7STS 503, a "quoted" text, with a comma);'
        " it receives no requests until a check passes"
    )
