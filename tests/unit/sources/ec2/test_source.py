from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import Any

import pytest

from dynsrv.errors import SourceError
from dynsrv.model import EndpointState, Snapshot
from dynsrv.sources.ec2.endpoints import InstanceMapper
from dynsrv.sources.ec2.poll import Poll
from dynsrv.sources.ec2.source import Ec2Source
from tests.fakes.ec2 import GROUP, FakeAws, an_instance
from tests.fakes.ec2_clients import an_aws
from tests.fakes.follower import following
from tests.unit.sources.ec2.asking import ALL, a_group
from tests.unit.sources.ec2.stage import Stage

ACTIONS = ("DescribeLifecycleHooks", "RecordLifecycleActionHeartbeat", "CompleteLifecycleAction")


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn by lot is the middle of what it may be."""
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)


def a_poll(fake: FakeAws, *groups: str) -> Poll:
    return Poll(an_aws(fake), filters=ALL, groups=groups, interval=30.0)


def a_source(fake: FakeAws, *groups: str, **reading: Any) -> Ec2Source:
    usual: dict[str, Any] = {} if "port_tag" in reading else {"port": 80}
    return Ec2Source(a_poll(fake, *groups), InstanceMapper(**usual, **reading), backend="be_app")


def endpoints(snapshot: Snapshot) -> list[str]:
    return list(map(str, snapshot.endpoints))


async def test_a_source_tells_what_aws_says_now_and_then_after_each_of_its_answers() -> None:
    fake = FakeAws(an_instance(1))
    async with following(a_source(fake).watch) as follower:
        await asyncio.sleep(15)
        fake.instances["i-2"] = an_instance(2)
        await asyncio.sleep(17)
    assert follower.times == [0, 30]
    assert [endpoints(one) for one in follower.told] == [["10.0.0.1:80"], ["10.0.0.1:80", "10.0.0.2:80"]]


async def test_nothing_new_makes_equal_snapshots_in_whatever_order_aws_answers() -> None:
    fake = FakeAws(*map(an_instance, range(1, 5)))
    async with following(a_source(fake).watch) as follower:
        await asyncio.sleep(15)
        fake.instances = dict(reversed(fake.instances.items()))
        await asyncio.sleep(17)
    one, other = follower.told
    assert one == other


async def test_a_group_scaled_to_nothing_is_a_snapshot() -> None:
    async with following(a_source(a_group(), GROUP).watch) as follower:
        await asyncio.sleep(1)
    assert follower.told == [Snapshot(())]


async def test_without_lifecycle_actions_an_instance_that_ends_is_kept_in_drain() -> None:
    fake = a_group(1, 2)
    async with following(a_source(fake, GROUP).watch) as follower:
        await asyncio.sleep(1)
        fake.terminate(2)
        await asyncio.sleep(30)
    assert [one.state for one in follower.latest.endpoints] == [EndpointState.READY, EndpointState.DRAIN]
    assert fake.requests(*ACTIONS) == []


# ---- what cannot be used


async def test_what_cannot_be_used_is_told_with_what_can() -> None:
    fake = FakeAws(an_instance(1, tags={"ports": "80"}), an_instance(2))
    async with following(a_source(fake, port_tag="ports").watch) as follower:
        await asyncio.sleep(1)
    assert endpoints(follower.latest) == ["10.0.0.1:80"]
    assert follower.latest.notes == ("i-2 is ignored: it has no tag ports",)


async def test_a_fleet_of_which_nothing_can_be_used_is_not_one_without_instances() -> None:
    fake = FakeAws(*map(an_instance, range(1, 6)))
    async with following(a_source(fake, port_tag="ports").watch) as follower:
        await asyncio.sleep(1)
    assert follower.told == []
    first_three = "; ".join(f"i-{number} is ignored: it has no tag ports" for number in (1, 2, 3))
    assert (follower.reason, str(follower.error)) == ("invalid", f"no instance can be used: {first_three}")


async def test_what_one_backend_cannot_use_does_not_concern_another_of_the_same_poll() -> None:
    fake = FakeAws(an_instance(1))
    poll = a_poll(fake)
    good = Ec2Source(poll, InstanceMapper(port=80), backend="be_app")
    bad = Ec2Source(poll, InstanceMapper(port_tag="ports"), backend="be_api")
    async with following(good.watch) as follower, following(bad.watch) as other:
        await asyncio.sleep(50)
    assert follower.times == [0, 30]
    assert isinstance(other.error, SourceError)


# ---- who only wants to know


async def test_who_takes_one_snapshot_and_goes_does_nothing_to_an_instance_that_waits() -> None:
    fake = a_group(1)
    fake.terminate(1)
    source = Stage(fake).a_backend().source
    async with aclosing(source.watch()) as snapshots:
        assert await anext(snapshots) == Snapshot(())
        source.observed([])
    await asyncio.sleep(0.1)
    assert fake.requests(*ACTIONS) == []
    assert (fake.opened, fake.open) == (1, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_source_has_its_say_in_what_others_complete_from_when_it_is_made_until_it_is_closed() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    backend, other = stage.a_backend("be_web"), stage.a_backend("be_api")
    async with stage.running(backend):
        fake.terminate(1)
        await asyncio.sleep(6)
        backend.look(2)
        await asyncio.sleep(60)
        assert fake.completed == []
        other.source.close()
        await asyncio.sleep(6)
    assert fake.completed == ["i-1"]


async def test_a_source_that_nobody_has_any_more_has_no_say() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    backend, other = stage.a_backend("be_web"), stage.a_backend("be_api")
    async with stage.running(backend):
        fake.terminate(1)
        await asyncio.sleep(6)
        backend.look(2)
        del other
        await asyncio.sleep(6)
    assert fake.completed == ["i-1"]


async def test_a_source_that_is_closed_asks_nothing_more_of_lifecycle_actions() -> None:
    fake = a_group(1)
    fake.terminate(1)
    fake.latencies["DescribeLifecycleHooks"] = 20.0
    stage = Stage(fake)
    async with stage.running(stage.a_backend()):
        await asyncio.sleep(10)
        assert fake.open == 1
    await asyncio.sleep(60)
    assert [one.operation for one in fake.requests(*ACTIONS)] == ["DescribeLifecycleHooks"]
    assert (fake.opened, fake.open) == (1, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_haproxy_has_may_be_told_of_a_source_without_lifecycle_actions() -> None:
    fake = a_group(1)
    fake.terminate(1)
    source = a_source(fake, GROUP)
    async with following(source.watch):
        await asyncio.sleep(1)
        source.observed(iter(()))
        await asyncio.sleep(50)
    assert fake.requests(*ACTIONS) == []
