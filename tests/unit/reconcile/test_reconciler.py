from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from dynsrv.errors import BackendRejected, ProxyUnreachable
from dynsrv.logs import Event
from dynsrv.model import Endpoint, EndpointState, Snapshot
from dynsrv.planning import Limits
from dynsrv.reconcile.desired import DesiredState
from dynsrv.reconcile.result import Result
from dynsrv.sources.feed import Feed
from tests.fakes.builders import a_policy, an_endpoint
from tests.fakes.haproxy import FakeServer
from tests.fakes.managed import RESYNC, Managed
from tests.fakes.sources import ScriptedSource

AT_ONCE = 0.01
SOON = 0.05
LATER = 2.0


def growing(limit: float, count: int) -> list[float]:
    return [min(SOON * 1.6**number, limit) for number in range(count)]


# ---- when the next pass is due


async def test_a_backend_in_line_is_looked_at_again_at_the_resync() -> None:
    assert await Managed().attempt() == RESYNC


async def test_a_pass_that_changed_something_is_at_once_followed_by_another() -> None:
    managed = Managed()
    assert await managed.delays(2, an_endpoint()) == [AT_ONCE, RESYNC]
    assert managed.haproxy.traffic("dyn-10.0.0.1:80")


async def test_passes_that_wait_come_ever_later_but_within_two_seconds() -> None:
    managed = Managed(policy=a_policy())
    assert await managed.attempt(an_endpoint()) == AT_ONCE
    assert await managed.delays(12, an_endpoint()) == pytest.approx(growing(LATER, 12))


async def test_a_pass_that_changed_something_makes_the_next_wait_short_again() -> None:
    managed = Managed(policy=a_policy())
    await managed.delays(9, an_endpoint())
    managed.haproxy.run_checks()
    assert await managed.attempt(an_endpoint()) == AT_ONCE
    assert await managed.attempt(an_endpoint(), an_endpoint(2)) == AT_ONCE
    assert await managed.attempt(an_endpoint(), an_endpoint(2)) == SOON


async def test_a_deadline_is_kept_to_the_moment() -> None:
    managed = Managed(policy=a_policy(options=(), drain_timeout=10))
    await managed.settle(an_endpoint())
    managed.haproxy.open_session("dyn-10.0.0.1:80")
    await managed.delays(12)
    managed.haproxy.advance(9.75)
    assert await managed.attempt() == pytest.approx(0.25)
    managed.haproxy.advance(0.24)
    assert await managed.attempt() == SOON
    managed.haproxy.advance(0.01)
    await managed.attempt()
    assert "del server be_app/dyn-10.0.0.1:80" in managed.haproxy.changes


async def test_where_no_session_began_in_the_drain_those_left_are_closed_at_its_deadline() -> None:
    managed = Managed(policy=a_policy(options=(), drain_timeout=10))
    await managed.settle(an_endpoint())
    managed.haproxy.open_session("dyn-10.0.0.1:80")
    await managed.delays(2)
    managed.haproxy.advance(10)
    assert await managed.delays(2) == [AT_ONCE, AT_ONCE]
    assert [line.split()[0] for line in managed.haproxy.changes[-4:]] == ["set", "del", "shutdown", "del"]


async def test_a_session_that_began_in_the_drain_has_as_much_time_as_any() -> None:
    managed = Managed(policy=a_policy(options=(), drain_timeout=10))
    await managed.settle(an_endpoint())
    managed.haproxy.open_session("dyn-10.0.0.1:80")
    await managed.delays(2)
    managed.haproxy.advance(6)
    managed.haproxy.open_session("dyn-10.0.0.1:80")  # a client that sticks to the server
    await managed.attempt()
    managed.haproxy.advance(4)
    assert await managed.delays(2) == [AT_ONCE, SOON]
    await managed.delays(6)
    managed.haproxy.advance(5.75)
    assert await managed.attempt() == pytest.approx(0.25)
    assert not any(line.startswith("shutdown") for line in managed.haproxy.changes)
    managed.haproxy.advance(0.25)
    await managed.attempt()
    assert any(line.startswith("shutdown") for line in managed.haproxy.changes)


async def test_the_sessions_of_a_server_that_the_source_drains_are_counted_at_each_pass() -> None:
    managed = Managed()
    drained = an_endpoint(state=EndpointState.DRAIN)
    await managed.settle(an_endpoint())
    managed.haproxy.open_session("dyn-10.0.0.1:80")
    await managed.settle(drained)
    for sessions in (1, 2):
        assert managed.reconciler.last is not None
        assert [server.sessions for server in managed.reconciler.last.observed.servers] == [sessions]
        managed.haproxy.open_session("dyn-10.0.0.1:80")
        await managed.attempt(drained)


async def test_a_haproxy_that_is_gone_is_asked_ever_later_but_within_two_seconds() -> None:
    managed = Managed()
    managed.refuse(12)
    assert await managed.delays(12) == pytest.approx(growing(LATER, 12))
    assert isinstance(managed.reconciler.failure, ProxyUnreachable)
    assert await managed.attempt() == RESYNC
    assert managed.reconciler.failure is None


async def test_a_backend_whose_algorithm_is_not_shown_is_rejected_when_servers_are_to_be_added() -> None:
    managed = Managed(algorithm="map-based")
    assert await managed.attempt() == RESYNC
    assert managed.result is Result.CONVERGED
    assert await managed.delays(2, an_endpoint()) == [RESYNC, RESYNC]
    assert isinstance(managed.reconciler.failure, BackendRejected)
    assert managed.haproxy.changes == []


async def test_a_backend_that_takes_no_servers_is_tried_again_at_the_resync() -> None:
    managed = Managed(algorithm="static-rr")
    assert await managed.delays(2, an_endpoint()) == [RESYNC, RESYNC]
    assert isinstance(managed.reconciler.failure, BackendRejected)
    assert managed.haproxy.changes == []


async def test_a_reloaded_haproxy_is_looked_at_again_soon() -> None:
    managed = Managed()
    managed.behind.wire.before_line = lambda line: (
        managed.haproxy.reload() if line.startswith("enable server") else None
    )
    assert await managed.attempt(an_endpoint()) == SOON
    assert managed.reconciler.failure is None
    assert managed.value("dynsrv_reconcile_total", result="reloaded") == 1
    managed.behind.wire.before_line = lambda _: None
    await managed.settle(an_endpoint())
    assert managed.haproxy.traffic("dyn-10.0.0.1:80")


async def test_what_haproxy_refuses_for_good_is_tried_ever_less_often_up_to_the_resync() -> None:
    managed = Managed(policy=a_policy(options=("nonsense",)))
    assert await managed.delays(16, an_endpoint()) == pytest.approx(growing(RESYNC, 16))
    assert managed.result is Result.REFUSED


async def test_what_the_guard_refuses_is_looked_at_ever_less_often_up_to_the_resync() -> None:
    managed = Managed(policy=a_policy(options=(), limits=Limits()))
    await managed.settle(an_endpoint())
    assert await managed.delays(16) == pytest.approx(growing(RESYNC, 16))
    assert managed.result is Result.GUARDED
    assert managed.haproxy.traffic("dyn-10.0.0.1:80")


# ---- where nothing changed


async def test_where_nothing_changed_nothing_is_planned_and_it_is_known_when_that_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    managed = Managed()
    await managed.settle(an_endpoint())
    monkeypatch.delattr("dynsrv.reconcile.reconciler.make_plan")
    before = managed.reconciler.last
    managed.haproxy.advance(30)
    assert await managed.attempt(an_endpoint()) == RESYNC
    last = managed.reconciler.last
    assert before is not None
    assert last is not None
    assert (last.plan, last.observed) == (before.plan, before.observed)
    assert last.seen_at == before.seen_at + 30


async def test_more_than_thousands_of_servers_are_planned_beside_the_event_loop() -> None:
    managed = Managed()
    await managed.settle(*(an_endpoint(number % 250 + 1, port=number) for number in range(1, 2002)))
    assert len(managed.haproxy.backend().servers) == 2001


# ---- what is remembered


async def test_since_when_a_server_drains_is_remembered_from_pass_to_pass() -> None:
    managed = Managed(policy=a_policy(options=(), drain_timeout=10))
    await managed.settle(an_endpoint())
    managed.haproxy.open_session("dyn-10.0.0.1:80")
    await managed.delays(2)
    managed.haproxy.advance(6)
    await managed.attempt()
    assert managed.reconciler.last is not None
    assert [wait.deadline for wait in managed.reconciler.last.plan.waits] == [4]


async def test_a_server_that_somebody_else_changed_is_drift() -> None:
    managed = Managed()
    await managed.settle(an_endpoint())
    managed.haproxy.answer("set server be_app/dyn-10.0.0.1:80 weight 1")
    with capture_logs() as logs:
        await managed.attempt(an_endpoint())
    assert managed.value("dynsrv_drift_total") == 1
    assert any(line["event"] == Event.DRIFT_DETECTED and line["servers"] == ["dyn-10.0.0.1:80"] for line in logs)
    await managed.settle(an_endpoint())
    await managed.attempt(an_endpoint(), an_endpoint(2))
    assert managed.value("dynsrv_drift_total") == 1


async def test_maxconn_is_asked_for_only_where_it_may_differ() -> None:
    managed = Managed()

    def asked() -> int:
        return sum(line.startswith("show stat 3 4") for line in managed.haproxy.journal)

    await managed.settle(an_endpoint())
    before = asked()
    await managed.attempt(an_endpoint())
    assert asked() == before
    managed.policy = a_policy(options=())
    limited = Endpoint("10.0.0.1", 80, maxconn=30)
    await managed.settle(limited)
    assert managed.haproxy.server("dyn-10.0.0.1:80").maxconn == 30
    await managed.settle(an_endpoint())
    assert managed.haproxy.server("dyn-10.0.0.1:80").maxconn == 0


# ---- the loop


async def following(managed: Managed, *snapshots: Snapshot | Exception) -> tuple[Feed, list[asyncio.Task[None]]]:
    feed = Feed(ScriptedSource(*snapshots), backend="be_app", kind="file", metrics=managed.metrics)
    desired = DesiredState(
        [feed], backend="be_app", policy=managed.policy, metrics=managed.metrics, clock=managed.haproxy.clock
    )
    desired.subscribe("lb1", managed.reconciler.wake)
    return feed, [asyncio.create_task(one) for one in (feed.run(), desired.run(), managed.reconciler.run(desired))]


async def stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def converged(managed: Managed, what: str = "count") -> float | None:
    return managed.metrics.registry.get_sample_value(f"dynsrv_convergence_seconds_{what}", {"backend": "be_app"})


async def test_without_a_snapshot_haproxy_is_observed_and_nothing_changed() -> None:
    managed = Managed(
        servers=[FakeServer("web1", address="10.0.0.9"), FakeServer("dyn-x", address="10.0.0.8", admin=1)]
    )
    _, tasks = await following(managed)
    await asyncio.sleep(100)
    assert managed.haproxy.changes == []
    assert managed.reconciler.last is None
    assert managed.reconciler.observed is not None
    assert [one.name for one in managed.reconciler.observed.servers] == ["web1", "dyn-x"]
    assert managed.value("dynsrv_serving_servers") == 1
    await stop(tasks)


async def test_a_change_of_the_source_s_is_acted_upon_at_once() -> None:
    managed = Managed()
    feed, tasks = await following(managed, Snapshot((an_endpoint(),)))
    await asyncio.sleep(10)
    assert managed.haproxy.traffic("dyn-10.0.0.1:80")
    feed.publish(Snapshot((an_endpoint(), an_endpoint(2))))
    await asyncio.sleep(0.01)
    assert managed.haproxy.traffic("dyn-10.0.0.2:80")
    await stop(tasks)


async def test_a_server_that_vanished_is_added_again_at_the_resync() -> None:
    managed = Managed()
    _, tasks = await following(managed, Snapshot((an_endpoint(),)))
    await asyncio.sleep(1)
    managed.haproxy.reload()
    await asyncio.sleep(RESYNC)
    assert managed.haproxy.traffic("dyn-10.0.0.1:80")
    await stop(tasks)


async def test_how_long_a_change_took_is_measured_once_and_only_when_all_serve() -> None:
    managed = Managed(policy=a_policy())
    _, tasks = await following(managed, Snapshot((an_endpoint(),)))
    await asyncio.sleep(5)
    assert not converged(managed)
    managed.haproxy.advance(7)
    managed.haproxy.run_checks()
    await asyncio.sleep(100)
    assert (converged(managed), converged(managed, "sum")) == (1, 7)
    await stop(tasks)


async def test_a_snapshot_that_comes_during_a_pass_is_not_measured_by_that_pass() -> None:
    managed = Managed(policy=a_policy())
    feed, tasks = await following(managed, Snapshot(()))
    await asyncio.sleep(1)
    before = converged(managed) or 0

    def change(line: str) -> None:
        if line.startswith("show servers state"):
            managed.behind.wire.before_line = lambda _: None
            managed.haproxy.advance(1)
            feed.publish(Snapshot((an_endpoint(),)))

    managed.behind.wire.before_line = change
    await asyncio.sleep(RESYNC + 1)
    assert managed.haproxy.changes
    assert converged(managed) == before
    await stop(tasks)


async def test_a_pass_that_a_reload_cut_short_converges_nothing() -> None:
    managed = Managed(policy=a_policy())
    feed, tasks = await following(managed, Snapshot(()))
    await asyncio.sleep(1)
    before = converged(managed) or 0
    managed.behind.wire.before_line = lambda line: (
        managed.haproxy.reload() if line.startswith("enable health") else None
    )
    managed.haproxy.advance(1)
    feed.publish(Snapshot((an_endpoint(),)))
    await asyncio.sleep(0.01)
    assert managed.value("dynsrv_reconcile_total", result="reloaded")
    assert converged(managed) == before
    await stop(tasks)


def test_a_wake_up_is_a_plain_call() -> None:
    wake: Callable[[], None] = Managed().reconciler.wake
    wake()


async def test_a_bug_costs_the_backend_its_pass_and_is_retried_ever_later(monkeypatch: pytest.MonkeyPatch) -> None:
    managed = Managed()
    observe = managed.behind.proxy.observe

    async def fail(*_: object, **__: object) -> None:
        raise IndexError("tuple index out of range")

    monkeypatch.setattr(managed.behind.proxy, "observe", fail)
    with capture_logs() as logs:
        assert await managed.delays(20, an_endpoint()) == pytest.approx(growing(RESYNC, 20))
    assert str(managed.reconciler.failure).startswith("internal error: IndexError: tuple index out of range")
    assert [one["event"] for one in logs] == [Event.INTERNAL_ERROR, Event.RECONCILE_FAILED]
    assert isinstance(logs[0]["exc_info"], IndexError)
    value = managed.metrics.registry.get_sample_value
    assert value("dynsrv_internal_errors_total", {"part": "reconcile"}) == 20
    monkeypatch.setattr(managed.behind.proxy, "observe", observe)
    await managed.settle(an_endpoint())
    assert managed.reconciler.failure is None
    assert managed.haproxy.traffic("dyn-10.0.0.1:80")
