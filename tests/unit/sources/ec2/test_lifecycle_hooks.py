"""Which hook is completed, when a group has several, and how many instances are attended to at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from structlog.testing import capture_logs

from dynsrv.sources.ec2.lifecycle import MAX_CONCURRENT
from tests.fakes.ec2 import HEARTBEAT, FakeAws
from tests.unit.sources.ec2.asking import a_group
from tests.unit.sources.ec2.stage import AtWork, Stage, at

LOOK = 6.0
"""Seconds in which AWS is asked again at least once."""
COMPLETE, BEAT, HOOKS = "CompleteLifecycleAction", "RecordLifecycleActionHeartbeat", "DescribeLifecycleHooks"


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn by lot is the middle of what it may be."""
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)


def asked_of(fake: FakeAws, operation: str) -> dict[str, int]:
    """How often an operation was asked for, by hook."""
    return dict(Counter(one.keys["LifecycleHookName"] for one in fake.requests(operation)))


def two_hooks() -> tuple[FakeAws, Stage, AtWork, AtWork]:
    """Two backends of one group, each with a hook of its own: drain and logs, of which logs waits only half as long."""
    fake = a_group(1)
    fake.hook("logs", heartbeat=HEARTBEAT // 2)
    stage = Stage(fake)
    return fake, stage, stage.a_backend("be_web", hook="drain"), stage.a_backend("be_api", hook="logs")


async def test_each_hook_that_a_backend_names_is_completed_when_all_backends_have_let_go() -> None:
    fake, stage, one, other = two_hooks()
    async with stage.running(one, other):
        other.proxy.busy.add(at(1))
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        one.look(2)
        other.look(2)
        await asyncio.sleep(60)
        assert fake.requests(COMPLETE) == []
        other.proxy.busy.clear()
        other.look(2)
        await asyncio.sleep(60)
    assert asked_of(fake, COMPLETE) == {"drain": 1, "logs": 1}
    assert fake.groups["web"]["i-1"] == "Terminating:Proceed"


async def test_each_hook_gets_its_own_heartbeats() -> None:
    fake, stage, one, other = two_hooks()
    async with stage.running(one, other):
        one.proxy.busy.add(at(1))
        fake.terminate(1)
        await asyncio.sleep(HEARTBEAT * 2 + LOOK)
        assert fake.groups["web"]["i-1"] == "Terminating:Wait"
    assert asked_of(fake, BEAT) == {"drain": 5, "logs": 9}


async def test_a_hook_that_is_over_is_left_alone_while_another_goes_on() -> None:
    fake, stage, one, other = two_hooks()
    with capture_logs() as logs:
        async with stage.running(one, other):
            one.proxy.busy.add(at(1))
            fake.terminate(1)
            await asyncio.sleep(LOOK)
            del fake.actions["i-1"].until["logs"]  # somebody else completed it
            await asyncio.sleep(HEARTBEAT * 2)
            one.proxy.busy.clear()
            one.look(2)
            other.look(2)
            await asyncio.sleep(LOOK)
    assert asked_of(fake, BEAT) == {"drain": 5, "logs": 2}
    assert asked_of(fake, COMPLETE) == {"drain": 1}
    assert [line["hook"] for line in logs if line["log_level"] == "warning" and "hook" in line] == ["logs"]


async def test_a_hook_that_nobody_named_is_not_touched() -> None:
    fake = a_group(1)
    fake.hook("logs")
    stage = Stage(fake)
    backend = stage.a_backend(hook="drain")
    async with stage.running(backend):
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        backend.look(2)
        await asyncio.sleep(LOOK)
        assert set(fake.actions["i-1"].until) == {"logs"}
    assert asked_of(fake, BEAT) | asked_of(fake, COMPLETE) == {"drain": 1}


async def test_a_backend_that_cannot_tell_its_hook_holds_the_instance_though_others_can() -> None:
    fake = a_group(1)
    fake.hook("logs")
    stage = Stage(fake)
    one, other = stage.a_backend("be_web", hook="drain"), stage.a_backend("be_api")
    async with stage.running(one, other):
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        one.look(2)
        other.look(2)
        await asyncio.sleep(LOOK)
    assert fake.requests(COMPLETE) == []


async def test_many_instances_are_attended_to_some_at_once_and_their_hook_is_asked_for_once() -> None:
    count = MAX_CONCURRENT * 2 + 1
    fake = a_group(*range(1, count + 1))
    stage = Stage(fake)
    backend = stage.a_backend()
    async with stage.running(backend):
        fake.latencies |= {HOOKS: 0.1, BEAT: 1.0}
        for number in range(1, count + 1):
            fake.terminate(number)
        await asyncio.sleep(LOOK + 3)
        backend.look(2)
        await asyncio.sleep(LOOK)
    assert Counter(fake.times(BEAT)) == {5.1: MAX_CONCURRENT, 6.1: MAX_CONCURRENT, 7.1: 1}
    assert len(fake.requests(HOOKS)) == 2
    assert len(fake.completed) == count


async def test_what_becomes_known_while_a_question_is_open_counts_for_the_next_one_only() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    backend = stage.a_backend()
    async with stage.running(backend):
        fake.latencies[BEAT] = 20.0
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        backend.look(2)
        await asyncio.sleep(15)
        assert [one.operation for one in fake.requests(BEAT, COMPLETE)] == [BEAT]
        await asyncio.sleep(10)
    assert [one.operation for one in fake.requests(BEAT, COMPLETE)] == [BEAT, COMPLETE]
