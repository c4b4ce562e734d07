"""What becomes of an instance that waits to end when the configuration changes meanwhile."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.fakes.ec2 import GROUP, refusal
from tests.unit.sources.ec2.asking import a_group
from tests.unit.sources.ec2.stage import AtWork, Stage, at

LOOK = 6.0
"""Seconds in which AWS is asked again at least once."""
INSTANCES, GROUPS, COMPLETE = "DescribeInstances", "DescribeAutoScalingGroups", "CompleteLifecycleAction"
FAILURE = refusal("InternalError", status=500)


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn by lot is the middle of what it may be."""
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)


async def let_go(*backends: AtWork) -> None:
    """Let backends lose their servers of what ends, and AWS be asked again."""
    for backend in backends:
        for proxy in backend.proxies:
            proxy.busy.clear()
        backend.look(2)
    await asyncio.sleep(LOOK)


async def test_a_backend_that_is_removed_does_not_hold_the_instance_any_more() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    stays, goes = stage.a_backend("be_web"), stage.a_backend("be_api")
    async with stage.running(stays, goes):
        goes.proxy.busy.add(at(1))
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        await let_go(stays)
        assert fake.completed == []
        await goes.stop()
        await asyncio.sleep(LOOK)
    assert fake.completed == ["i-1"]


async def test_a_backend_that_is_removed_while_an_action_is_asked_for_does_not_hold_it_either() -> None:
    fake = a_group(1)
    fake.latencies["RecordLifecycleActionHeartbeat"] = 20.0
    stage = Stage(fake)
    stays, goes = stage.a_backend("be_web"), stage.a_backend("be_api")
    async with stage.running(stays, goes):
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        await goes.stop()
        await let_go(stays)
        await asyncio.sleep(30)
    assert fake.completed == ["i-1"]


async def test_a_backend_that_is_removed_while_its_looks_fail_does_not_hold_the_instance() -> None:
    fake = a_group(1)
    fake.group(name="api")
    stage = Stage(fake)
    stays, goes = stage.a_backend("be_web"), stage.a_backend("be_api", groups=(GROUP, "api"))
    async with stage.running(stays):
        goes.start()
        await asyncio.sleep(LOOK)
        del fake.groups["api"]
        await asyncio.sleep(20)
        await goes.stop()
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        await let_go(stays)
    assert fake.completed == ["i-1"]


async def test_a_backend_that_is_configured_anew_holds_the_instance_again() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    stays, before = stage.a_backend("be_web"), stage.a_backend("be_api")
    async with stage.running(stays, before):
        before.proxy.busy.add(at(1))
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        before.look(2)
        after = stage.a_backend("be_api", interval=4.0)
        after.proxy.servers, after.proxy.busy = before.proxy.servers, before.proxy.busy
        await before.stop()
        after.start()
        await let_go(stays)
        after.look(2)
        await asyncio.sleep(60)
        assert fake.completed == []
        await let_go(after)
        await after.stop()
    assert fake.completed == ["i-1"]


async def test_a_backend_that_is_configured_anew_while_others_are_about_to_let_go_holds_the_instance() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    before, stays = stage.a_backend("be_api"), stage.a_backend("be_web")
    async with stage.running(before, stays):
        before.proxy.busy.add(at(1))
        fake.latencies["RecordLifecycleActionHeartbeat"] = 3.0
        fake.terminate(1)
        await asyncio.sleep(LOOK)  # be_api asks for a heartbeat, and be_web would be the next
        before.look(2)
        stays.look(2)
        after = stage.a_backend("be_api", interval=4.0)
        after.proxy.servers, after.proxy.busy = before.proxy.servers, before.proxy.busy
        await before.stop()
        after.start()
        await asyncio.sleep(LOOK)
        assert (set(after.proxy.servers), fake.completed) == ({at(1)}, [])
        await after.stop()
