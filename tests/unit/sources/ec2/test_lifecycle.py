"""An instance that Auto Scaling is about to end is kept waiting until HAProxy let go of it, and not longer."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.fakes.builders import a_server, an_endpoint
from tests.fakes.ec2 import GROUP, FakeAws, an_instance, refusal
from tests.unit.sources.ec2.asking import a_group
from tests.unit.sources.ec2.stage import Stage, at

LOOK = 6.0
"""Seconds in which AWS is asked again at least once."""
COMPLETE, BEAT = "CompleteLifecycleAction", "RecordLifecycleActionHeartbeat"
THROTTLED = refusal("Throttling", "Rate exceeded")


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn by lot is the middle of what it may be."""
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)


def actions(fake: FakeAws) -> list[str]:
    """What was asked of lifecycle actions, in order."""
    return [one.operation for one in fake.requests(COMPLETE, BEAT)]


# ---- the whole of it


async def test_an_instance_that_waits_to_end_is_drained_and_let_go_when_haproxy_has_no_server_of_it() -> None:
    fake = a_group(1, 2)
    stage = Stage(fake)
    backend = stage.a_backend()
    async with stage.running(backend):
        backend.proxy.busy.add(at(1))
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        assert [str(target.endpoint) for target in (backend.desired.servers or {}).values()] == ["10.0.0.2:80"]
        backend.look(2)
        await asyncio.sleep(60)
        backend.look()
        assert at(1) in backend.proxy.servers
        assert fake.completed == []
        backend.proxy.busy.clear()
        backend.look(2)
        await asyncio.sleep(LOOK)
        assert fake.completed == ["i-1"]
        assert fake.instances["i-1"]["State"]["Name"] == "shutting-down"


async def test_an_action_is_completed_once_however_long_the_instance_is_still_to_be_seen() -> None:
    fake = a_group(1)
    fake.hook("logs", heartbeat=3600)  # somebody else's, so that the instance goes on to wait
    stage = Stage(fake)
    backend = stage.a_backend(hook="drain")
    async with stage.running(backend):
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        backend.look(2)
        await asyncio.sleep(200)
        backend.look(2)
        assert fake.groups[GROUP]["i-1"] == "Terminating:Wait"
    assert actions(fake) == [BEAT, COMPLETE]
    assert {one.keys["LifecycleHookName"] for one in fake.requests(COMPLETE, BEAT)} == {"drain"}


async def test_while_nobody_waits_nothing_is_asked_of_hooks_and_actions() -> None:
    fake = a_group(1)
    fake.put({**fake.instances["i-1"], "InstanceId": "i-2"}, "Terminating:Proceed")
    stage = Stage(fake)
    async with stage.running(stage.a_backend()):
        await asyncio.sleep(100)
        assert {one.operation for one in fake.asked} == {"DescribeAutoScalingGroups", "DescribeInstances"}


async def test_a_dynsrv_that_starts_while_an_instance_waits_goes_on_with_it() -> None:
    fake = a_group(1)
    fake.terminate(1)
    stage = Stage(fake)
    backend = stage.a_backend()
    backend.proxy.servers[at(1)] = a_server(an_endpoint(1))
    backend.proxy.busy.add(at(1))
    async with stage.running(backend):
        await asyncio.sleep(LOOK)
        assert actions(fake) == [BEAT]
        backend.proxy.busy.clear()
        backend.look(2)
        await asyncio.sleep(LOOK)
        assert actions(fake) == [BEAT, COMPLETE]


async def test_each_of_several_instances_is_let_go_when_it_is_its_turn_and_the_hook_is_asked_for_once_each_time() -> (
    None
):
    fake = a_group(1, 2, 3)
    stage = Stage(fake)
    backend = stage.a_backend()
    async with stage.running(backend):
        backend.proxy.busy.add(at(2))
        fake.terminate(1)
        fake.terminate(2)
        await asyncio.sleep(LOOK)
        assert len(fake.requests(BEAT)) == 2
        assert len(fake.requests("DescribeLifecycleHooks")) == 1
        backend.look(2)
        await asyncio.sleep(LOOK)
        assert fake.completed == ["i-1"]
        backend.proxy.busy.clear()
        backend.look(2)
        await asyncio.sleep(LOOK)
    assert fake.completed == ["i-1", "i-2"]


# ---- heartbeats


@pytest.mark.parametrize("heartbeat", [30, 300, 3600])
async def test_the_first_heartbeat_comes_at_once_and_each_next_when_half_of_the_time_is_over(heartbeat: int) -> None:
    fake = FakeAws()
    fake.group(1)
    fake.hook(heartbeat=heartbeat)
    stage = Stage(fake)
    backend = stage.a_backend()
    async with stage.running(backend):
        backend.proxy.busy.add(at(1))
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        backend.look(2)
        await asyncio.sleep(heartbeat * 3)
        assert fake.groups[GROUP]["i-1"] == "Terminating:Wait"
    times = fake.times(BEAT)
    assert times == [5 + turn * heartbeat / 2 for turn in range(len(times))]
    assert len(times) >= 6
    assert fake.times("DescribeLifecycleHooks") == times
    assert fake.completed == []


async def test_a_heartbeat_that_fails_is_repeated_at_the_next_look() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    backend = stage.a_backend()
    async with stage.running(backend):
        fake.troubles[BEAT] = THROTTLED
        fake.terminate(1)
        await asyncio.sleep(LOOK + 10)
        del fake.troubles[BEAT]
        await asyncio.sleep(60)
    assert fake.times(BEAT) == [5, 10, 15, 20]


async def test_where_haproxy_has_let_go_already_the_first_look_that_sees_the_instance_wait_is_enough() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    backend = stage.a_backend()
    async with stage.running(backend):
        fake.put(fake.instances["i-1"], "Terminating")
        await asyncio.sleep(LOOK)
        backend.look(2)
        fake.latencies["DescribeInstances"] = 0.5
        fake.terminate(1)
        await asyncio.sleep(LOOK)
    assert actions(fake) == [COMPLETE]


# ---- what HAProxy has


async def test_what_haproxy_had_before_the_snapshot_changed_does_not_count() -> None:
    fake = a_group(1, 2)
    stage = Stage(fake)
    backend = stage.a_backend()
    proxy = backend.proxy
    async with stage.running(backend):
        proxy.servers.clear()  # as after a reload
        proxy.begin()
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        proxy.end()  # saw nothing, but wanted i-1, and added it
        await asyncio.sleep(LOOK)
        assert at(1) in proxy.servers
        assert fake.completed == []
        proxy.look(2)
        await asyncio.sleep(LOOK)
    assert fake.completed == ["i-1"]


async def test_every_proxy_of_the_backend_has_to_let_go() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    backend = stage.a_backend(proxies=("lb1", "lb2"))
    one, other = backend.proxies
    async with stage.running(backend):
        other.busy.add(at(1))
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        one.look(2)
        await asyncio.sleep(LOOK)
        assert fake.completed == []  # lb2 was not looked at since
        other.look(2)
        await asyncio.sleep(LOOK)
        assert fake.completed == []  # its server drains
        other.busy.clear()
        other.look(2)
        await asyncio.sleep(LOOK)
    assert fake.completed == ["i-1"]


async def test_every_server_of_the_instance_has_to_go() -> None:
    fake = FakeAws()
    fake.group(1, tags={"ports": "80,81"})
    fake.hook()
    stage = Stage(fake)
    backend = stage.a_backend(port_tag="ports")
    async with stage.running(backend):
        assert set(backend.proxy.servers) == {at(1, 80), at(1, 81)}
        backend.proxy.busy.add(at(1, 81))
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        backend.look(2)
        await asyncio.sleep(LOOK)
        assert (set(backend.proxy.servers), fake.completed) == ({at(1, 81)}, [])
        backend.proxy.busy.clear()
        backend.look(2)
        await asyncio.sleep(LOOK)
    assert fake.completed == ["i-1"]


async def test_a_server_at_the_same_place_that_is_not_dynsrv_s_holds_nobody() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    backend = stage.a_backend()
    async with stage.running(backend):
        backend.proxy.servers[at(1)] = a_server(an_endpoint(1), name="static")
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        backend.look(2)
        await asyncio.sleep(LOOK)
        assert (set(backend.proxy.servers), fake.completed) == ({at(1)}, ["i-1"])


async def test_an_instance_that_begins_to_wait_later_needs_a_new_look_at_haproxy() -> None:
    fake = a_group(1, 2)
    stage = Stage(fake)
    backend = stage.a_backend()
    async with stage.running(backend):
        backend.proxy.busy.update({at(1), at(2)})
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        backend.look(2)
        fake.terminate(2)
        await asyncio.sleep(60)
        assert fake.completed == []
        backend.proxy.busy.clear()
        backend.look(2)
        await asyncio.sleep(LOOK)
    assert sorted(fake.completed) == ["i-1", "i-2"]


async def test_an_instance_that_never_had_a_server_is_let_go_when_haproxy_was_looked_at() -> None:
    fake = FakeAws()
    fake.group(1, tags={"ports": "nonsense"})
    fake.group(2, tags={"ports": "80"})
    fake.hook()
    stage = Stage(fake)
    backend = stage.a_backend(port_tag="ports")
    async with stage.running(backend):
        fake.terminate(1)
        await asyncio.sleep(LOOK)
    assert fake.completed == ["i-1"]
    assert fake.times(COMPLETE) == [5]


async def test_a_server_that_the_instance_has_from_before_its_ports_were_changed_holds_it_too() -> None:
    fake = FakeAws()
    fake.group(1, tags={"ports": "80"})
    fake.hook()
    stage = Stage(fake)
    backend = stage.a_backend(port_tag="ports")
    async with stage.running(backend):
        backend.proxy.busy.add(at(1, 80))
        fake.put(an_instance(1, tags={"ports": "81"}))
        await asyncio.sleep(LOOK)
        backend.look(2)
        assert set(backend.proxy.servers) == {at(1, 80), at(1, 81)}
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        backend.look(2)
        await asyncio.sleep(LOOK)
        assert (set(backend.proxy.servers), fake.completed) == ({at(1, 80)}, [])
