"""What dynsrv asks of Auto Scaling for an instance that waits to end, it repeats until it is granted, and tells once.

The lifecycle actions of these tests are played, as those of `test_ec2_lifecycle.py`.
"""

from __future__ import annotations

import signal

import pytest
import yaml

from dynsrv.logs import Event
from tests.integration.support.aws_faults import Fault
from tests.integration.support.controller import UNGUARDED, Install
from tests.integration.support.ec2_group import COMPLETIONS, HEARTBEATS, LOOKS, EndingGroup
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

# Which HAProxy it is makes no difference to Auto Scaling.
pytestmark = pytest.mark.any_version


@pytest.mark.parametrize("fault", ["throttling", "reset"])
async def test_a_completion_that_fails_is_repeated_until_it_is_granted(
    haproxy: HAProxy, group: EndingGroup, on_ec2: Install, *, fault: Fault
) -> None:
    await group.aws.a_hook(heartbeat=30)
    controller = await group.started(on_ec2, haproxy)
    group.between.only, group.between.fault = COMPLETIONS, fault
    action = await group.hold(group.old)
    await controller.logged(Event.LIFECYCLE_FAILED)
    group.between.fault = None
    await group.is_completed(action)
    await serves(haproxy, [group.new])


async def test_a_heartbeat_that_fails_is_repeated(haproxy: HAProxy, group: EndingGroup, on_ec2: Install) -> None:
    await group.aws.a_hook(heartbeat=30)
    controller = await group.started(on_ec2, haproxy)
    slow = await group.slow(haproxy)
    group.between.only, group.between.fault = HEARTBEATS, "access-denied"
    action = await group.hold(group.old)
    line = await controller.logged(Event.LIFECYCLE_FAILED)
    assert "AWS denied access (AccessDenied)" in line
    await eventually(lambda: len(group.between.asked(HEARTBEATS)) >= 2)
    group.between.fault = None
    await eventually(lambda: action.heartbeats)
    await group.answer(slow)
    await group.is_completed(action)
    assert len(controller.lines(Event.LIFECYCLE_FAILED)) == 1


@pytest.mark.parametrize("fault", ["throttled", "silent"])
async def test_heartbeats_go_on_while_ec2_does_not_answer(
    haproxy: HAProxy, group: EndingGroup, on_ec2: Install, *, fault: Fault
) -> None:
    await group.started(on_ec2, haproxy)
    slow = await group.slow(haproxy)
    action = await group.hold(group.old)
    await eventually(lambda: action.heartbeats)
    group.between.only, group.between.fault = LOOKS, fault
    # For longer than a heartbeat time-out, at the end of which the instance would be gone.
    await eventually(lambda: action.expired or len(action.heartbeats) > 3)
    assert not action.expired
    group.between.fault = None
    await group.answer(slow)
    await group.is_completed(action)


async def test_no_command_takes_part_in_the_end_of_an_instance(
    haproxy: HAProxy, group: EndingGroup, on_ec2: Install
) -> None:
    await group.aws.a_hook(heartbeat=30)
    controller = on_ec2(haproxy, backend={"source": group.source()})
    assert (await controller.run("apply")).code == 0
    await serves(haproxy, [group.old, group.new])
    await group.hold(group.old)
    checked = await controller.run("check", "--live")
    assert checked.code == 0, checked
    assert "its lifecycle hook drain waits for dynsrv, 30 s after each heartbeat" in checked.out
    assert (await controller.run("plan")).code == 2
    assert (await controller.run("apply")).code == 0
    await serves(haproxy, [group.new])
    assert (await controller.run("plan")).code == 0
    assert not group.between.asked(HEARTBEATS)
    assert not group.between.asked(COMPLETIONS)


async def test_a_server_that_was_replaced_before_is_waited_for_as_well(
    haproxy: HAProxy, group: EndingGroup, web_servers: WebServers, on_ec2: Install
) -> None:
    await group.started(on_ec2, haproxy)
    slow = await group.slow(haproxy)
    (another,) = await web_servers(1)
    await group.aws.tag(next(iter(group.instances)), ports=str(another.port))

    async def replaced() -> bool:
        rows = (await haproxy.servers()).values()
        drained = {row.port: row.draining for row in rows}
        return drained == {group.old.port: True, group.new.port: False, another.port: False}

    await eventually(replaced)
    action = await group.hold(group.old)
    await eventually(lambda: len(action.heartbeats) >= 2)
    assert not group.between.asked(COMPLETIONS)
    await group.answer(slow)
    await group.is_completed(action)
    await serves(haproxy, [group.new])


async def test_an_instance_that_has_no_servers_ends_at_once(
    haproxy: HAProxy, group: EndingGroup, on_ec2: Install
) -> None:
    await group.aws.tag(next(iter(group.instances)), ports="none")
    controller = on_ec2(haproxy, backend={"source": group.source()})
    await controller.start()
    await serves(haproxy, [group.new])
    action = await group.hold(group.old)
    await group.is_completed(action)
    assert not action.heartbeats


async def test_of_several_hooks_one_has_to_be_named(haproxy: HAProxy, group: EndingGroup, on_ec2: Install) -> None:
    controller = await group.started(on_ec2, haproxy)
    for name in ("drain", "backup"):
        await group.aws.a_hook(name, heartbeat=30)
    action = await group.hold(group.old)
    line = await controller.logged(Event.LIFECYCLE_FAILED)
    assert "the Auto Scaling group web has several termination lifecycle hooks: " in line
    assert "name dynsrv's in the key lifecycle_hook" in line
    await serves(haproxy, [group.new])
    await group.looked(2)
    assert len(controller.lines(Event.LIFECYCLE_FAILED)) == 1
    assert not action.over
    checked = await controller.run("check", "--live")
    assert checked.code == 1, checked
    assert "has several termination lifecycle hooks: " in checked.out

    settings = yaml.safe_load(controller.configuration.read_text())
    settings["backends"][0]["source"]["lifecycle_hook"] = "drain"
    controller.configuration.write_text(yaml.safe_dump(settings))
    controller.signal(signal.SIGHUP)
    await group.is_completed(action)


async def test_a_group_without_a_hook_is_told_as_soon_as_an_instance_waits(
    haproxy: HAProxy, group: EndingGroup, on_ec2: Install
) -> None:
    controller = await group.started(on_ec2, haproxy, lifecycle_hook="other")
    await group.hold(group.old)
    line = await controller.logged(Event.LIFECYCLE_FAILED)
    assert "has no termination lifecycle hook other, only drain; correct the key lifecycle_hook" in line
    await serves(haproxy, [group.new])


async def test_an_action_that_somebody_else_completed_is_let_be(
    haproxy: HAProxy, group: EndingGroup, on_ec2: Install
) -> None:
    await group.aws.a_hook(heartbeat=30)
    controller = await group.started(on_ec2, haproxy)
    group.between.only, group.between.fault = COMPLETIONS, "silent"
    action = await group.hold(group.old)
    await eventually(lambda: group.between.asked(COMPLETIONS))
    action.completions.append(0.0)
    group.between.fault = None  # now it is refused
    await controller.logged(Event.LIFECYCLE_ALREADY_ENDED)
    await group.looked()
    await serves(haproxy, [group.new])
    assert len(group.between.asked(COMPLETIONS)) == 1
    assert not controller.lines(Event.SOURCE_FAILED)


async def test_an_action_that_is_over_before_the_servers_are_gone_is_told(
    haproxy: HAProxy, group: EndingGroup, on_ec2: Install
) -> None:
    await group.aws.a_hook("backup", heartbeat=30)
    controller = await group.started(on_ec2, haproxy, lifecycle_hook="drain")
    slow = await group.slow(haproxy)
    await group.hold(group.old, hook="backup")  # which still waits for another, and that of dynsrv's does not
    line = await controller.logged(Event.LIFECYCLE_EXPIRED)
    assert "backends=['be_app']" in line
    await group.answer(slow)
    await serves(haproxy, [group.new])
    await group.looked()
    assert len(group.between.asked(HEARTBEATS)) == 1
    assert not group.between.asked(COMPLETIONS)


async def test_auto_scaling_that_hangs_keeps_no_new_instance_out(
    haproxy: HAProxy, group: EndingGroup, web_servers: WebServers, on_ec2: Install
) -> None:
    await group.aws.a_hook(heartbeat=30)
    await group.started(on_ec2, haproxy)
    group.between.only, group.between.fault = HEARTBEATS, "silent"
    slow = await group.slow(haproxy)
    action = await group.hold(group.old)
    await eventually(lambda: group.between.asked(HEARTBEATS))
    (another,) = await web_servers(1)
    await group.launch(another)

    async def it_serves() -> bool:
        return another.port in await haproxy.ready_ports()

    await eventually(it_serves, within=10)
    group.between.fault = None
    await group.answer(slow)
    await group.is_completed(action)


async def test_a_new_configuration_forgets_no_instance_that_waits(
    haproxy: HAProxy, group: EndingGroup, on_ec2: Install
) -> None:
    controller = await group.started(on_ec2, haproxy)
    slow = await group.slow(haproxy)
    action = await group.hold(group.old)
    await eventually(lambda: action.heartbeats)
    settings = yaml.safe_load(controller.configuration.read_text())
    settings["backends"][0]["limits"] = {**UNGUARDED, "window": "2m"}
    controller.configuration.write_text(yaml.safe_dump(settings))
    controller.signal(signal.SIGHUP)
    await controller.logged(Event.CONFIGURATION_RELOADED)
    beats = len(action.heartbeats)
    await eventually(lambda: len(action.heartbeats) > beats + 1)
    await group.answer(slow)
    await group.is_completed(action)
