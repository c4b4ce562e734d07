from __future__ import annotations

from contextlib import aclosing

import pytest
from botocore.exceptions import NoCredentialsError

from dynsrv.errors import SourceError
from tests.fakes.ec2 import GROUP, FakeAws, an_instance, refusal
from tests.unit.sources.ec2.asking import a_group
from tests.unit.sources.ec2.stage import Stage

CREDENTIALS = "the credentials come from env"


async def inspection(
    fake: FakeAws, *groups: str, hook: str | None = None, completes: bool = False
) -> tuple[list[str], SourceError | None]:
    """Return what is found, and the error at which it ended."""
    source = Stage(fake).a_backend(groups=groups, completes=completes, hook=hook).source
    sentences: list[str] = []
    try:
        async with aclosing(source.inspect()) as found:
            async for sentence in found:
                sentences.append(sentence)  # noqa: PERF401 - those before an error stay
    except SourceError as error:
        return sentences, error
    finally:
        assert (fake.opened, fake.open) == (1, 0)
    return sentences, None


async def test_an_inspection_tells_of_the_credentials_and_of_the_instances_by_their_states() -> None:
    fake = FakeAws(an_instance(1), an_instance(2, state="stopped"), an_instance(3))
    assert await inspection(fake) == ([CREDENTIALS, "EC2 answers: 3 instances: 2 running, 1 stopped"], None)


async def test_one_instance_is_one_instance() -> None:
    assert (await inspection(FakeAws(an_instance(1))))[0][-1] == "EC2 answers: 1 instance: 1 running"


async def test_each_group_is_told_of_with_the_states_of_its_members() -> None:
    fake = a_group(1, 2)
    fake.put(an_instance(3), "Standby")
    fake.group(name="api")
    found, error = await inspection(fake, GROUP, "api")
    assert error is None
    assert found[2:] == [
        "the Auto Scaling group web has 3 instances: 2 InService, 1 Standby",
        "the Auto Scaling group api has 0 instances",
    ]
    assert fake.requests("DescribeLifecycleHooks") == []


async def test_where_lifecycle_actions_are_completed_the_hook_of_each_group_is_told_of() -> None:
    found, error = await inspection(a_group(1), GROUP, completes=True)
    assert error is None
    assert found[2] == "the Auto Scaling group web has 1 instance: 1 InService"
    assert found[3].startswith("its lifecycle hook drain waits for dynsrv, 300 s after each heartbeat")


async def test_an_inspection_does_nothing_to_an_instance_that_waits() -> None:
    fake = a_group(1)
    fake.terminate(1)
    await inspection(fake, GROUP, completes=True)
    assert {one.operation for one in fake.asked} == {
        "credentials",
        "DescribeAutoScalingGroups",
        "DescribeInstances",
        "DescribeLifecycleHooks",
        "close",
    }


async def test_missing_credentials_are_all_that_is_found() -> None:
    fake = FakeAws(an_instance(1))
    fake.troubles["credentials"] = NoCredentialsError()
    found, error = await inspection(fake)
    assert (found, error and error.reason) == ([], "credentials")


async def test_instances_that_may_not_be_asked_for_are_found() -> None:
    fake = FakeAws(an_instance(1))
    fake.troubles["DescribeInstances"] = refusal("UnauthorizedOperation", "You may not.", status=403)
    found, error = await inspection(fake)
    assert (found, error and error.reason) == ([CREDENTIALS], "denied")


async def test_filters_that_nothing_matches_are_found() -> None:
    found, error = await inspection(FakeAws())
    assert found == [CREDENTIALS]
    assert error is not None
    assert (error.reason, str(error)) == ("request", "EC2 has no instance that matches")


async def test_a_group_that_does_not_exist_is_found() -> None:
    found, error = await inspection(FakeAws(an_instance(1)), "green")
    assert found == [CREDENTIALS]
    assert str(error) == "DescribeAutoScalingGroups in eu-central-1: there is no Auto Scaling group green"


@pytest.mark.parametrize(("hooks", "hook"), [([], None), (["a", "b"], None), (["a"], "b")])
async def test_a_hook_that_is_missing_or_not_the_only_one_is_found(hooks: list[str], hook: str | None) -> None:
    fake = FakeAws()
    fake.group(1)
    for name in hooks:
        fake.hook(name)
    found, error = await inspection(fake, GROUP, hook=hook, completes=True)
    assert len(found) == 3
    assert error is not None
    assert error.reason == "request"
    assert "lifecycle hook" in str(error)
