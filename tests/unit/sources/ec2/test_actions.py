"""Hooks and lifecycle actions, as they are asked of Auto Scaling."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dynsrv.sources.ec2.aws import Aws
from dynsrv.sources.ec2.responses import Hook
from tests.fakes.ec2 import GROUP, HEARTBEAT, FakeAws, refusal
from tests.fakes.ec2_clients import an_aws
from tests.unit.sources.ec2.asking import a_group, error_of


async def the_hook(aws: Aws, name: str | None = None) -> Hook:
    return await aws.hook(GROUP, name)


# ---- hooks


async def test_the_only_hook_at_termination_is_the_one_that_is_meant() -> None:
    fake = a_group(1)
    fake.hook("start", transition="autoscaling:EC2_INSTANCE_LAUNCHING")
    fake.hook("other", group="api")
    hook = await the_hook(an_aws(fake))
    assert (hook.name, hook.group, hook.heartbeat) == ("drain", GROUP, HEARTBEAT)


async def test_of_several_hooks_the_one_that_is_named_is_meant() -> None:
    fake = a_group(1)
    fake.hook("logs", heartbeat=60)
    assert (await the_hook(an_aws(fake), "logs")).heartbeat == 60


HOOKS: list[tuple[list[str], str | None, str]] = [
    ([], None, "has no termination lifecycle hook; add one, or remove complete_lifecycle"),
    ([], "drain", "has no termination lifecycle hook; add one, or remove complete_lifecycle"),
    (["a", "b"], None, "has several termination lifecycle hooks: a, b; name dynsrv's in the key lifecycle_hook"),
    (["a", "b"], "c", "has no termination lifecycle hook c, only a, b; correct the key lifecycle_hook"),
    (["a"], "start", "has no termination lifecycle hook start, only a; correct the key lifecycle_hook"),
]


@pytest.mark.parametrize(("names", "name", "problem"), HOOKS)
async def test_where_no_hook_can_be_meant_it_is_told_what_to_do(
    names: list[str], name: str | None, problem: str
) -> None:
    fake = FakeAws()
    fake.group(1)
    fake.hook("start", transition="autoscaling:EC2_INSTANCE_LAUNCHING")
    for one in names:
        fake.hook(one)
    error = await error_of(the_hook(an_aws(fake), name))
    assert error.reason == "request"
    assert str(error) == f"DescribeLifecycleHooks in eu-central-1: the Auto Scaling group web {problem}"


async def test_the_hooks_of_a_group_that_does_not_exist_are_refused() -> None:
    assert (await error_of(the_hook(an_aws(FakeAws())))).reason == "request"


# ---- lifecycle actions


async def test_a_heartbeat_makes_auto_scaling_wait_as_long_again() -> None:
    fake = a_group(1)
    aws = an_aws(fake)
    fake.terminate(1)
    for _ in range(3):
        await asyncio.sleep(HEARTBEAT - 1)
        assert await aws.heartbeat(await the_hook(aws), "i-1")
    await asyncio.sleep(HEARTBEAT + 1)
    assert not await aws.heartbeat(await the_hook(aws), "i-1")


async def test_a_completion_lets_auto_scaling_go_on() -> None:
    fake = a_group(1)
    aws = an_aws(fake)
    fake.terminate(1)
    hook = await the_hook(aws)
    assert await aws.complete(hook, "i-1")
    assert fake.completed == ["i-1"]
    assert (await aws.members([GROUP]))["i-1"].state == "Terminating:Proceed"
    assert fake.requests("CompleteLifecycleAction")[0].keys["LifecycleActionResult"] == "CONTINUE"
    assert not await aws.complete(hook, "i-1")


@pytest.mark.parametrize("act", [Aws.heartbeat, Aws.complete])
async def test_an_action_that_is_over_is_no_error(act: Callable[[Aws, Hook, str], Awaitable[bool]]) -> None:
    aws = an_aws(a_group(1))
    assert not await act(aws, await the_hook(aws), "i-1")


@pytest.mark.parametrize("act", [Aws.heartbeat, Aws.complete])
@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (refusal("Throttling", "Rate exceeded"), "throttled"),
        (refusal("AccessDenied", "No active Lifecycle Action for you"), "denied"),
        (refusal("ValidationError", "1 validation error detected"), "request"),
    ],
    ids=str,
)
async def test_any_other_refusal_of_an_action_is_an_error(
    act: Callable[[Aws, Hook, str], Awaitable[bool]], trouble: Exception, reason: str
) -> None:
    fake = a_group(1)
    aws = an_aws(fake)
    fake.terminate(1)
    fake.troubles = {"RecordLifecycleActionHeartbeat": trouble, "CompleteLifecycleAction": trouble}
    assert (await error_of(act(aws, await the_hook(aws), "i-1"))).reason == reason
