"""An instance may serve several backends: it is let go when none of them has a server of it any more."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from dynsrv.sources.ec2.settings import Ec2SourceSettings
from dynsrv.sources.ec2.source import Ec2Source
from dynsrv.sources.source import SharedResources, SourceContext
from tests.fakes.ec2 import GROUP, FakeAws, refusal
from tests.fakes.ec2_clients import REGION
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


@pytest.mark.parametrize("interval", [5.0, 3.0])
async def test_every_backend_of_the_group_has_to_let_go_whether_they_share_a_poll_or_not(interval: float) -> None:
    fake = a_group(1)
    stage = Stage(fake)
    one, other = stage.a_backend("be_web"), stage.a_backend("be_api", interval=interval, port=81)
    async with stage.running(one, other):
        other.proxy.busy.add(at(1, 81))
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        await let_go(one)
        other.look(2)
        await asyncio.sleep(60)
        assert fake.completed == []
        await let_go(other)
    assert fake.completed == ["i-1"]


async def test_a_backend_that_has_not_looked_yet_since_the_instance_waits_holds_it() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    quick, slow = stage.a_backend("be_web"), stage.a_backend("be_api", interval=100.0)
    async with stage.running(quick, slow):
        await asyncio.sleep(100)
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        await let_go(quick)
        await asyncio.sleep(60)
        slow.look(2)
        assert at(1) in slow.proxy.servers
        assert fake.completed == []
        await asyncio.sleep(40)
        await let_go(slow)
    assert fake.completed == ["i-1"]


async def test_a_look_that_began_before_another_backend_saw_the_instance_wait_does_not_count() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    one, other = stage.a_backend("be_web", interval=30.0), stage.a_backend("be_api", interval=34.0)
    async with stage.running(one, other):
        await asyncio.sleep(20)
        fake.latencies[INSTANCES] = 10.0  # from 30 to 40, and from 34 to 44
        await asyncio.sleep(12)
        fake.terminate(1)  # behind the back of be_web
        await asyncio.sleep(13)
        assert fake.times(GROUPS)[2:] == [30.0, 34.0]
        other.look(2)
        one.look(2)
        assert (set(one.proxy.servers), set(other.proxy.servers)) == ({at(1)}, set())
        await asyncio.sleep(60)
        assert fake.completed == []
        await let_go(one)
        await asyncio.sleep(60)
    assert fake.completed == ["i-1"]


async def test_a_backend_whose_look_fails_holds_the_instance_until_it_looks_again() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    good, failing = stage.a_backend("be_web"), stage.a_backend("be_api", groups=(GROUP, "api"))
    fake.group(name="api")
    async with stage.running(good, failing):
        members = fake.groups.pop("api")
        await asyncio.sleep(LOOK)
        assert failing.feed.failure is not None
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        await let_go(good, failing)
        await asyncio.sleep(60)
        assert fake.completed == []
        fake.groups["api"] = members
        await asyncio.sleep(20)
        await let_go(failing)
    assert fake.completed == ["i-1"]


async def test_a_backend_that_cannot_use_what_it_sees_holds_the_instance() -> None:
    fake = FakeAws()
    fake.group(1, tags={"ports": "80"})
    fake.group(2, tags={"ports": "nonsense"})
    fake.hook()
    stage = Stage(fake)
    good, bad = stage.a_backend("be_web"), stage.a_backend("be_api", port_tag="ports")
    async with stage.running(good, bad):
        fake.terminate(1)
        await asyncio.sleep(20)
        assert bad.feed.failure is not None
        await let_go(good, bad)
        assert at(1) in bad.proxy.servers
        assert fake.completed == []


async def test_a_backend_that_never_looked_holds_the_instance() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    good, never = stage.a_backend("be_web"), stage.a_backend("be_api", groups=(GROUP, "api"))
    async with stage.running(good, never):
        assert never.desired.servers is None
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        await let_go(good)
        await asyncio.sleep(60)
        assert fake.completed == []


async def test_a_backend_of_another_group_holds_nobody() -> None:
    fake = a_group(1)
    fake.group(2, name="api")
    stage = Stage(fake)
    one, other = stage.a_backend("be_web"), stage.a_backend("be_api", groups=("api",))
    async with stage.running(one, other):
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        await let_go(one)
    assert fake.completed == ["i-1"]


async def test_a_backend_whose_filters_do_not_match_the_instance_does_not_hold_it() -> None:
    fake = FakeAws()
    fake.group(1, tags={"app": "web"})
    fake.group(2, tags={"app": "api"})
    fake.hook()
    stage = Stage(fake)
    one = stage.a_backend("be_web", filters=(("tag:app", ("web",)),))
    other = stage.a_backend("be_api", filters=(("tag:app", ("api",)),))
    async with stage.running(one, other):
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        await let_go(one)
        await asyncio.sleep(LOOK)
    assert fake.completed == ["i-1"]


async def test_several_backends_that_attend_at_once_complete_once_and_beat_once() -> None:
    fake = a_group(1)
    fake.latency = 0.5
    stage = Stage(fake)
    backends = [stage.a_backend(f"be_{number}") for number in range(5)]
    async with stage.running(*backends):
        await asyncio.sleep(5)
        for backend in backends:
            backend.look(2)
        fake.terminate(1)
        await asyncio.sleep(15)
        await let_go(*backends)
        await asyncio.sleep(20)
    assert [one.operation for one in fake.requests(COMPLETE, "RecordLifecycleActionHeartbeat")] == [
        "RecordLifecycleActionHeartbeat",
        COMPLETE,
    ]


# ---- as it is configured


async def test_backends_of_one_hook_wait_for_each_other_whether_they_name_it_or_not() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    shared = SharedResources()
    shared.get(stage.aws.account, lambda: stage.aws)
    assert stage.aws.account.region == REGION

    def configured(name: str, **keys: Any) -> AtWork:
        usual = {"kind": "ec2", "region": REGION, "auto_scaling_group": GROUP, "port": 80, "interval": "5s"}
        settings = Ec2SourceSettings.model_validate({**usual, "complete_lifecycle": True, **keys})
        source = settings.create(SourceContext(name, Path("/etc"), shared))
        assert isinstance(source, Ec2Source)
        return AtWork(name, source, ["lb1"])

    one, other = configured("be_web"), configured("be_api", lifecycle_hook="drain")
    async with stage.running(one, other):
        other.proxy.busy.add(at(1))
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        await let_go(one)
        assert fake.completed == []
        await let_go(other)
    assert fake.completed == ["i-1"]
