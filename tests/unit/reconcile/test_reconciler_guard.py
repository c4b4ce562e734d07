"""What the guard knows of the passes before, and until when it is overridden."""

from __future__ import annotations

from dynsrv.planning import Limits
from dynsrv.reconcile.result import Result
from tests.fakes.builders import a_policy, an_endpoint
from tests.fakes.managed import Managed


async def test_the_guard_knows_servers_that_began_to_serve_since_the_last_look() -> None:
    managed = Managed(policy=a_policy(limits=Limits()))
    endpoints = [an_endpoint(number) for number in range(1, 11)]
    await managed.attempt(*endpoints)
    managed.haproxy.run_checks()
    await managed.attempt(*endpoints)
    await managed.attempt(*endpoints[:2])
    assert managed.result is Result.GUARDED
    assert all(managed.haproxy.traffic(f"dyn-{endpoint.address}:80") for endpoint in endpoints)


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
