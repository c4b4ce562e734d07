"""What becomes of an instance that waits to end when AWS refuses or others are faster, and what is logged of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from dynsrv.logs import Event
from dynsrv.sources.ec2.lifecycle import WARN_AFTER
from tests.fakes.ec2 import HEARTBEAT, FakeAws, refusal
from tests.unit.sources.ec2.asking import a_group
from tests.unit.sources.ec2.stage import AtWork, Stage, at

LOOK = 6.0
"""Seconds in which AWS is asked again at least once."""
COMPLETE, BEAT, HOOKS = "CompleteLifecycleAction", "RecordLifecycleActionHeartbeat", "DescribeLifecycleHooks"
THROTTLED = refusal("Throttling", "Rate exceeded")
DENIED = refusal("AccessDenied", "You may not")


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn by lot is the middle of what it may be."""
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)


def of_instances(logs: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [line for line in logs if "instance" in line]


def sentences(logs: list[MutableMapping[str, Any]]) -> list[str]:
    return [line["event"] for line in of_instances(logs)]


async def let_go(backend: AtWork) -> None:
    """Let HAProxy lose its servers of what ends, and AWS be asked again."""
    backend.proxy.busy.clear()
    backend.look(2)
    await asyncio.sleep(LOOK)


async def test_what_happens_to_an_instance_is_logged_with_its_group_and_its_hook() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    backend = stage.a_backend()
    with capture_logs() as logs:
        async with stage.running(backend):
            fake.terminate(1)
            await asyncio.sleep(LOOK)
            await let_go(backend)
    begun, done = of_instances(logs)
    assert begun == {"event": Event.INSTANCE_TERMINATING, "log_level": "info", "instance": "i-1", "group": "web"}
    assert done == {**begun, "event": Event.LIFECYCLE_COMPLETED, "hook": "drain", "waited": 2.0}


# ---- AWS refuses


async def test_a_completion_that_aws_throttles_is_repeated_and_logged_once() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    backend = stage.a_backend()
    with capture_logs() as logs:
        async with stage.running(backend):
            fake.terminate(1)
            await asyncio.sleep(LOOK)
            fake.troubles[COMPLETE] = THROTTLED
            await let_go(backend)
            await asyncio.sleep(20)
            del fake.troubles[COMPLETE]
            await asyncio.sleep(20)
    assert fake.times(COMPLETE) == [7, 12, 17, 22, 27, 32, 37]
    assert fake.completed == ["i-1"]
    assert sentences(logs) == [Event.INSTANCE_TERMINATING, Event.LIFECYCLE_FAILED, Event.LIFECYCLE_COMPLETED]
    assert of_instances(logs)[1] == {
        "event": Event.LIFECYCLE_FAILED,
        "log_level": "warning",
        "instance": "i-1",
        "group": "web",
        "error": f"{COMPLETE} in eu-central-1: AWS throttles the requests (Throttling): Rate exceeded",
    }


async def test_another_refusal_is_logged_and_the_same_again_only_after_it_went_well() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    backend = stage.a_backend()
    with capture_logs() as logs:
        async with stage.running(backend):
            backend.proxy.busy.add(at(1))
            fake.terminate(1)
            for trouble in (THROTTLED, THROTTLED, DENIED, None, THROTTLED):
                fake.troubles = {} if trouble is None else {BEAT: trouble}
                await asyncio.sleep(HEARTBEAT / 2 if trouble is None else LOOK)
    errors = [line["error"].rpartition(": ")[2] for line in of_instances(logs) if "error" in line]
    assert errors == ["Rate exceeded", "You may not", "Rate exceeded"]


async def test_a_hook_that_cannot_be_told_from_another_is_logged_with_what_to_do() -> None:
    fake = a_group(1)
    fake.hook("logs")
    stage = Stage(fake)
    backend = stage.a_backend()
    with capture_logs() as logs:
        async with stage.running(backend):
            fake.terminate(1)
            await asyncio.sleep(30)
    assert sentences(logs) == [Event.INSTANCE_TERMINATING, Event.LIFECYCLE_FAILED]
    assert of_instances(logs)[1]["error"].endswith(
        "several termination lifecycle hooks: drain, logs; name dynsrv's in the key lifecycle_hook"
    )
    assert fake.requests(COMPLETE, BEAT) == []


async def test_what_is_refused_of_one_instance_does_not_hold_up_another() -> None:
    fake = a_group(1, 2)
    fake.group(3, name="api")  # without a hook, but somebody says that it waits
    stage = Stage(fake)
    backend = stage.a_backend(groups=("web", "api"))
    async with stage.running(backend):
        fake.groups["api"]["i-3"] = "Terminating:Wait"
        fake.terminate(2)
        await asyncio.sleep(LOOK)
        await let_go(backend)
    assert fake.completed == ["i-2"]


async def test_snapshots_come_on_while_lifecycle_actions_fail() -> None:
    fake = a_group(1, 2)
    stage = Stage(fake)
    backend = stage.a_backend()
    fake.troubles = {BEAT: THROTTLED, HOOKS: THROTTLED}
    async with stage.running(backend):
        fake.terminate(1)
        await asyncio.sleep(LOOK)
        fake.group(3)
        await asyncio.sleep(LOOK)
        assert backend.feed.failure is None
        assert set(backend.desired.servers or {}) == {at(2), at(3)}


async def test_snapshots_come_on_while_lifecycle_actions_hang() -> None:
    fake = a_group(1, 2)
    fake.group(name="api")
    stage = Stage(fake)
    one, other = stage.a_backend("be_web"), stage.a_backend("be_api", groups=("api",))
    fake.latencies[BEAT] = 1000.0
    async with stage.running(one, other):
        fake.terminate(1)
        fake.terminate(2)
        await asyncio.sleep(LOOK)
        fake.group(3, name="api")
        await asyncio.sleep(30)
        assert set(other.desired.servers or {}) == {at(3)}


# ---- the action is over


async def test_an_action_that_was_over_before_it_could_be_completed_is_logged_and_not_tried_again() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    backend = stage.a_backend()
    with capture_logs() as logs:
        async with stage.running(backend):
            fake.terminate(1)
            await asyncio.sleep(LOOK)
            fake.actions.clear()  # somebody else completed it
            await let_go(backend)
            await asyncio.sleep(HEARTBEAT)
    assert len(fake.requests(COMPLETE)) == 1
    assert sentences(logs) == [Event.INSTANCE_TERMINATING, Event.LIFECYCLE_ALREADY_ENDED]


async def test_an_action_that_is_over_before_haproxy_let_go_is_a_warning_with_the_backends_and_not_tried_again() -> (
    None
):
    fake = a_group(1)
    stage = Stage(fake)
    backend = stage.a_backend()
    with capture_logs() as logs:
        async with stage.running(backend):
            backend.proxy.busy.add(at(1))
            fake.terminate(1)
            await asyncio.sleep(LOOK)
            fake.actions.clear()
            await asyncio.sleep(HEARTBEAT * 2)
            await let_go(backend)
    assert len(fake.requests(BEAT)) == 2
    assert fake.requests(COMPLETE) == []
    assert sentences(logs) == [Event.INSTANCE_TERMINATING, Event.LIFECYCLE_EXPIRED]
    warning = of_instances(logs)[1]
    assert (warning["log_level"], warning["backends"], warning["hook"]) == ("warning", ["be_app"], "drain")


async def test_without_a_heartbeat_auto_scaling_goes_on_and_dynsrv_forgets_the_instance() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    backend = stage.a_backend()
    fake.troubles[BEAT] = DENIED
    with capture_logs() as logs:
        async with stage.running(backend):
            fake.terminate(1)
            await asyncio.sleep(HEARTBEAT + 20)
            fake.asked.clear()
            fake.troubles.clear()
            await asyncio.sleep(100)
            assert fake.groups["web"]["i-1"] == "Terminating:Proceed"
    assert fake.requests(BEAT, COMPLETE, HOOKS) == []
    assert sentences(logs) == [Event.INSTANCE_TERMINATING, Event.LIFECYCLE_FAILED]


# ---- it takes long


async def test_an_instance_that_waits_long_is_told_once_with_the_backends_that_hold_it() -> None:
    fake = a_group(1)
    stage = Stage(fake)
    backends = [stage.a_backend(name) for name in ("be_web", "be_api", "be_free")]
    with capture_logs() as logs:
        async with stage.running(*backends):
            for backend in backends[:2]:
                backend.proxy.busy.add(at(1))
            fake.terminate(1)
            await asyncio.sleep(LOOK)
            for backend in backends:
                backend.look(2)
            await asyncio.sleep(WARN_AFTER - 10)
            assert sentences(logs) == [Event.INSTANCE_TERMINATING]
            await asyncio.sleep(WARN_AFTER)
    assert sentences(logs) == [Event.INSTANCE_TERMINATING, Event.INSTANCE_DRAIN_SLOW]
    warning = of_instances(logs)[1]
    assert (warning["log_level"], warning["backends"]) == ("warning", ["be_api", "be_web"])
    assert WARN_AFTER < warning["waited"] < WARN_AFTER + 10


async def test_a_proxy_that_is_silent_holds_the_instance_and_is_told() -> None:
    fake: FakeAws = a_group(1)
    stage = Stage(fake)
    backend = stage.a_backend(proxies=("lb1", "lb2"))
    with capture_logs() as logs:
        async with stage.running(backend):
            fake.terminate(1)
            await asyncio.sleep(LOOK)
            backend.proxies[0].look(2)
            await asyncio.sleep(WARN_AFTER + 10)
    assert fake.completed == []
    assert sentences(logs) == [Event.INSTANCE_TERMINATING, Event.INSTANCE_DRAIN_SLOW]
