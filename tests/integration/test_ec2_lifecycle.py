"""With `complete_lifecycle`, Auto Scaling ends an instance when no HAProxy has a server of it any more, and no sooner.

The lifecycle actions of these tests are played (`support/aws_played.py`): the instance ends, and with it its web
server, when its action is completed, or when a heartbeat is late.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import UNGUARDED, Install
from tests.integration.support.ec2_group import COMPLETIONS, HEARTBEATS, EndingGroup
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import BadAnswer, load, request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version

LOST = (BadAnswer, ConnectionError)


async def test_an_instance_ends_when_its_last_request_was_answered_on_the_last_haproxy(
    a_haproxy: StartHAProxy, group: EndingGroup, on_ec2: Install
) -> None:
    first, second = [await a_haproxy(), await a_haproxy()]
    controller = await group.started(on_ec2, first, second)
    async with load(first.frontend, pause=0.01) as counts, load(second.frontend, pause=0.01) as others:
        slow = await group.slow(second)
        action = await group.hold(group.old)
        await serves(first, [group.new])
        await eventually(lambda: len(action.heartbeats) > 2)  # so it waits for longer than a heartbeat time-out
        assert not group.between.asked(COMPLETIONS)
        await group.answer(slow)
        await serves(second, [group.new])
        await group.is_completed(action)
        await group.looked()
        assert len(group.between.asked(COMPLETIONS)) == 1
    assert not counts.failed
    assert not others.failed
    assert len(controller.lines(Event.LIFECYCLE_COMPLETED)) == 1


async def test_without_it_a_request_that_takes_long_is_lost(
    haproxy: HAProxy, group: EndingGroup, on_ec2: Install
) -> None:
    """The positive control of the test above: without it, no lost request would prove nothing."""
    await group.started(on_ec2, haproxy, complete_lifecycle=False)
    slow = await group.slow(haproxy)
    action = await group.hold(group.old)
    await eventually(lambda: action.expired)
    group.new.release()
    lost = [one for one in await asyncio.gather(*slow, return_exceptions=True) if isinstance(one, LOST)]
    assert lost
    assert not group.between.asked(HEARTBEATS)
    assert not group.between.asked(COMPLETIONS)


async def test_an_instance_of_two_backends_ends_when_both_let_go_of_it(
    a_haproxy: StartHAProxy, group: EndingGroup, web_servers: WebServers, on_ec2: Install, *, stack: AsyncExitStack
) -> None:
    socket = Path(stack.enter_context(TemporaryDirectory(prefix="dynsrv-"))) / "api.sock"
    frontend = f"\nfrontend fe_api\n    bind unix@{socket}\n    default_backend be_api\n"
    haproxy = await a_haproxy(extra=f"{frontend}\nbackend be_api\n    balance roundrobin\n")
    old, new = await web_servers(2)  # the second ports of the two instances
    for instance, server in zip(group.instances, (old, new), strict=True):
        await group.aws.tag(instance, api=str(server.port))
    every = {"server": {"check": False}, "limits": UNGUARDED, "drain": {"timeout": "60s"}}
    sources = {"be_app": group.source(), "be_api": group.source(port_tag="api")}
    controller = on_ec2(haproxy, backends=[{"name": name, "source": one, **every} for name, one in sources.items()])
    group.proxies = [haproxy]
    await controller.start()
    await serves(haproxy, [group.old, group.new])
    slow = [asyncio.create_task(request(socket, "/slow", timeout=60)) for _ in range(4)]
    await eventually(lambda: old.slow_running)
    action = await group.hold(group.old)
    await serves(haproxy, [group.new])
    await eventually(lambda: len(action.heartbeats) >= 2)
    assert not group.between.asked(COMPLETIONS)
    for server in (old, new):
        server.release()
    assert {await one for one in slow} == {old.port, new.port}
    await group.is_completed(action)
    assert {row.port for row in (await haproxy.servers("be_api")).values()} == {new.port}


async def test_a_daemon_that_is_killed_goes_on_where_it_was(
    haproxy: HAProxy, group: EndingGroup, on_ec2: Install
) -> None:
    controller = await group.started(on_ec2, haproxy)
    slow = await group.slow(haproxy)
    action = await group.hold(group.old)
    await eventually(lambda: action.heartbeats)
    await controller.stop(signal.SIGKILL)
    await controller.start()
    beats = len(action.heartbeats)
    await eventually(lambda: len(action.heartbeats) > beats + 1)
    assert not group.between.asked(COMPLETIONS)
    await group.answer(slow)
    await group.is_completed(action)
    await serves(haproxy, [group.new])


async def test_a_haproxy_that_does_not_answer_is_waited_for(
    a_haproxy: StartHAProxy, group: EndingGroup, on_ec2: Install
) -> None:
    first, second = [await a_haproxy(), await a_haproxy()]
    controller = await group.started(on_ec2, first, second)
    slow = await group.slow(second)
    await second.freeze()
    action = await group.hold(group.old)
    await serves(first, [group.new])
    await controller.logged(Event.HAPROXY_UNREACHABLE)
    await eventually(lambda: len(action.heartbeats) >= 2)
    assert not group.between.asked(COMPLETIONS)
    second.signal(signal.SIGCONT)
    await group.answer(slow)
    await group.is_completed(action)


async def test_an_instance_that_the_guard_keeps_is_not_ended(
    haproxy: HAProxy, group: EndingGroup, web_servers: WebServers, on_ec2: Install
) -> None:
    backend = {"source": group.source(), "limits": {"max_removed": "100%", "min_ready": 2}}
    controller = on_ec2(haproxy, backend=backend)
    await controller.start()
    await serves(haproxy, [group.old, group.new])
    action = await group.hold(group.old)
    await controller.logged(Event.REMOVAL_BLOCKED)
    await eventually(lambda: len(action.heartbeats) >= 2)
    await serves(haproxy, [group.old, group.new])
    assert not group.between.asked(COMPLETIONS)
    (another,) = await web_servers(1)
    await group.launch(another)
    await group.is_completed(action)
    await serves(haproxy, [group.new, another])
