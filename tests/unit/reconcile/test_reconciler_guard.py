"""What the guard knows of the passes before, and until when it is overridden."""

from __future__ import annotations

import pytest

from dynsrv.model import Endpoint
from dynsrv.planning import Limits
from dynsrv.reconcile.result import Result
from tests.fakes.builders import a_policy, an_endpoint
from tests.fakes.managed import RESYNC, Managed


async def test_the_guard_knows_servers_that_began_to_serve_since_the_last_look() -> None:
    managed = Managed(policy=a_policy(limits=Limits()))
    endpoints = [an_endpoint(number) for number in range(1, 11)]
    await managed.attempt(*endpoints)
    managed.haproxy.run_checks()
    await managed.attempt(*endpoints)
    assert await serving_after(managed, 0, *endpoints[:2]) == 5


async def test_as_many_servers_leave_at_once_as_the_limits_allow_and_the_others_when_the_window_has_passed() -> None:
    managed = Managed(policy=a_policy(options=(), limits=Limits(window=60)))
    endpoints = [an_endpoint(number) for number in range(1, 9)]
    await managed.settle(*endpoints)
    managed.haproxy.advance(1000)
    await managed.attempt(*endpoints)
    wanted = endpoints[:1]
    assert await serving_after(managed, 0, *wanted) == 4
    assert managed.result is Result.GUARDED
    assert await serving_after(managed, 59, *wanted) == 4
    assert await managed.attempt(*wanted) == pytest.approx(1)  # the next pass is due when more may leave
    assert await serving_after(managed, 1, *wanted) == 2
    assert await serving_after(managed, 60, *wanted) == 1
    assert await managed.attempt(*wanted) == RESYNC


async def serving_after(managed: Managed, seconds: float, *wanted: Endpoint) -> int:
    """Let time pass, make passes, and return how many servers serve."""
    managed.haproxy.advance(seconds)
    await managed.delays(8, *wanted)
    return sum(server.takes_traffic for server in managed.haproxy.backend().servers)


async def test_the_guard_is_overridden_until_the_time_that_was_given() -> None:
    policy = a_policy(options=(), limits=Limits())
    managed = Managed(policy=policy, override_until=100)
    await managed.settle(an_endpoint())
    managed.haproxy.advance(100)
    await managed.attempt()
    assert managed.result is Result.GUARDED
    overridden = Managed(policy=policy, override_until=100)
    await overridden.settle(an_endpoint())
    await overridden.settle()
    assert overridden.haproxy.backend().servers == []


async def test_an_override_ends_when_its_time_is_over_even_if_the_time_of_day_is_set_back() -> None:
    managed = Managed(policy=a_policy(options=(), limits=Limits()))
    await managed.settle(an_endpoint())
    managed.reconciler.override_guard(seconds=60)
    assert managed.reconciler.override_until > 0
    managed.set_back = 10_000
    managed.haproxy.advance(61)
    await managed.attempt()
    assert managed.result is Result.GUARDED
    assert managed.reconciler.override_until == 0
