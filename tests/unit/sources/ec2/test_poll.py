from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from typing import Any

import pytest

from dynsrv.sources.ec2.aws import Filters
from dynsrv.sources.ec2.poll import FAST_FOR, FAST_INTERVAL, GROUP_TAG, PAUSE_FACTOR, Poll
from tests.fakes.ec2 import GROUP, FakeAws, an_instance, refusal
from tests.fakes.ec2_clients import an_aws
from tests.fakes.follower import following
from tests.unit.sources.ec2.asking import ALL, a_group

INTERVAL = 30.0


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn by lot is the middle of what it may be."""
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)


def a_poll(fake: FakeAws, *groups: str, filters: Filters = ALL, interval: float = INTERVAL) -> Poll:
    return Poll(an_aws(fake), filters=filters, groups=groups, interval=interval)


def pauses(fake: FakeAws, operation: str = "DescribeInstances") -> list[float]:
    """The times between two questions."""
    return [after - before for before, after in pairwise(fake.times(operation))]


async def pauses_of(fake: FakeAws, *, seconds: float = 200, **poll: Any) -> list[float]:
    async with following(a_poll(fake, **poll).subscribe) as follower:
        await asyncio.sleep(seconds)
        assert follower.errors == []
    return pauses(fake)


def a_state(fake: FakeAws, state: str, number: int = 1) -> None:
    """Let an instance be in another state."""
    fake.instances[f"i-{number}"] = an_instance(number, state=state)


# ---- how often


async def test_aws_is_asked_at_once_and_then_at_every_interval() -> None:
    fake = FakeAws(an_instance())
    async with following(a_poll(fake).subscribe) as follower:
        await asyncio.sleep(100)
    assert fake.times("DescribeInstances") == [0, 30, 60, 90]
    assert follower.times == [0, 30, 60, 90]


@pytest.mark.parametrize(("lot", "pause"), [(0, 27.0), (1, 33.0)])
async def test_an_interval_is_more_or_less_a_tenth_so_that_many_do_not_ask_at_once(
    lot: int, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda *bounds: bounds[lot])
    assert await pauses_of(FakeAws(an_instance()), seconds=70) == pytest.approx([pause, pause])


async def test_after_a_change_aws_is_asked_more_often_for_a_minute() -> None:
    fake = FakeAws(an_instance(1))
    async with following(a_poll(fake).subscribe):
        await asyncio.sleep(15)
        fake.instances["i-2"] = an_instance(2)
        await asyncio.sleep(200)
    times = fake.times("DescribeInstances")
    assert times[:2] == [0, 30]
    assert set(pauses(fake)[1:13]) == {FAST_INTERVAL}
    assert times[13] == 30 + FAST_FOR
    assert set(pauses(fake)[13:]) == {INTERVAL}


@pytest.mark.parametrize(
    "after", [an_instance(2), an_instance(1, tags={"weight": "5"}), an_instance(1, state="stopped")]
)
async def test_whatever_changes_of_an_instance_is_a_change(after: dict[str, Any]) -> None:
    fake = FakeAws(an_instance(1))
    async with following(a_poll(fake).subscribe):
        await asyncio.sleep(15)
        fake.instances = {after["InstanceId"]: after}
        await asyncio.sleep(30)
    assert pauses(fake) == [INTERVAL, FAST_INTERVAL, FAST_INTERVAL]


async def test_the_same_in_another_order_is_no_change() -> None:
    fake = FakeAws(an_instance(1), an_instance(2))
    async with following(a_poll(fake).subscribe):
        await asyncio.sleep(15)
        fake.instances = dict(reversed(fake.instances.items()))
        await asyncio.sleep(100)
    assert set(pauses(fake)) == {INTERVAL}


@pytest.mark.parametrize("state", ["pending", "shutting-down", "stopping"])
async def test_while_an_instance_is_on_its_way_aws_is_asked_more_often(state: str) -> None:
    fake = FakeAws(an_instance(1), an_instance(2, state=state))
    assert set(await pauses_of(fake)) == {FAST_INTERVAL}
    fake.asked.clear()
    a_state(fake, "terminated", 2)
    assert set(await pauses_of(fake)) == {INTERVAL}


@pytest.mark.parametrize("state", ["Pending:Wait", "Terminating:Wait", "Terminating:Proceed", "EnteringStandby"])
async def test_while_a_member_of_the_group_is_on_its_way_aws_is_asked_more_often(state: str) -> None:
    fake = a_group(1)
    fake.put(an_instance(2), state)
    async with following(a_poll(fake, GROUP).subscribe):
        await asyncio.sleep(200)
    assert set(pauses(fake)) == {FAST_INTERVAL}


@pytest.mark.parametrize("state", ["running", "stopped", "terminated"])
async def test_an_instance_that_stays_what_it_is_makes_nobody_hurry(state: str) -> None:
    assert set(await pauses_of(FakeAws(an_instance(1, state=state)))) == {INTERVAL}


async def test_a_member_in_standby_makes_nobody_hurry() -> None:
    fake = a_group(1)
    fake.put(an_instance(2), "Standby")
    async with following(a_poll(fake, GROUP).subscribe):
        await asyncio.sleep(200)
    assert set(pauses(fake)) == {INTERVAL}


async def test_an_interval_that_is_shorter_than_that_stays_as_it_is() -> None:
    assert set(await pauses_of(FakeAws(an_instance(1)), interval=2.0)) == {2.0}
    assert set(await pauses_of(FakeAws(an_instance(1, state="pending")), interval=2.0)) == {2.0}


async def test_the_longer_aws_takes_the_longer_is_the_pause_so_that_a_fifth_of_the_time_is_spent_asking() -> None:
    fake = FakeAws(an_instance(state="pending"))
    fake.latency = 3.0
    assert set(await pauses_of(fake)) == {3.0 + PAUSE_FACTOR * 3.0}
    fake.asked.clear()
    fake.latency = 1.0  # five seconds are more than four times that
    assert set(await pauses_of(fake)) == {1.0 + FAST_INTERVAL}


async def test_however_long_aws_takes_a_pause_is_never_longer_than_the_interval() -> None:
    fake = FakeAws(an_instance(state="pending"))
    fake.latency = 20.0
    assert set(await pauses_of(fake)) == {20.0 + INTERVAL}


# ---- what is asked


async def test_groups_are_asked_before_their_instances_and_the_look_is_as_old_as_its_first_question() -> None:
    fake = a_group(1)
    fake.latency = 2.0
    look = await a_poll(fake, GROUP).fetch()
    assert [(one.operation, one.at) for one in fake.asked] == [
        ("DescribeAutoScalingGroups", 0),
        ("DescribeInstances", 2),
    ]
    assert look.requested_at == 0
    assert look.members is not None
    assert (look.members["i-1"].state, [one.id for one in look.instances]) == ("InService", ["i-1"])


async def test_of_a_group_only_its_own_instances_are_asked_for_and_of_those_only_the_ones_that_match() -> None:
    fake = FakeAws(an_instance(9, tags={"app": "web"}))
    fake.group(1, tags={"app": "web"})
    fake.group(2, tags={"app": "api"})
    look = await a_poll(fake, GROUP, filters=(("tag:app", ("web",)),)).fetch()
    assert [one.id for one in look.instances] == ["i-1"]
    assert fake.asked[1].keys["Filters"] == [
        {"Name": "tag:app", "Values": ["web"]},
        {"Name": GROUP_TAG, "Values": [GROUP]},
    ]


async def test_without_a_group_auto_scaling_is_not_asked() -> None:
    fake = FakeAws(an_instance())
    look = await a_poll(fake).fetch()
    assert look.members is None
    assert [one.operation for one in fake.asked] == ["DescribeInstances"]


async def test_a_group_that_cannot_be_asked_for_fails_the_look() -> None:
    fake = a_group(1)
    async with following(a_poll(fake, "green").subscribe) as follower:
        await asyncio.sleep(1)
    assert follower.told == []
    assert "there is no Auto Scaling group green" in str(follower.error)
    assert fake.requests("DescribeInstances") == []


# ---- who follows


async def test_after_failures_the_pause_grows_up_to_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    fake = FakeAws(an_instance())
    fake.troubles["DescribeInstances"] = refusal("RequestLimitExceeded", status=503)
    async with following(a_poll(fake).subscribe, retry=0.001):
        await asyncio.sleep(300)
        found = pauses(fake)
        assert found[:8] == pytest.approx([0.5, 1, 2, 4, 8, 16, INTERVAL, INTERVAL], abs=0.01)
        assert max(found) <= INTERVAL + 0.01
        del fake.troubles["DescribeInstances"]
        await asyncio.sleep(100)
        fake.troubles["DescribeInstances"] = refusal("RequestLimitExceeded", status=503)
        fake.asked.clear()
        await asyncio.sleep(INTERVAL * 1.2)
    assert pauses(fake)[0] == pytest.approx(0.5, abs=0.01)


async def test_the_pause_after_a_failure_is_drawn_by_lot_and_may_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: low)
    fake = FakeAws(an_instance())
    fake.troubles["DescribeInstances"] = refusal("InternalError", status=500)
    async with following(a_poll(fake).subscribe, retry=1.0):
        await asyncio.sleep(10.5)
    assert pauses(fake) == pytest.approx([1.0] * 10)
