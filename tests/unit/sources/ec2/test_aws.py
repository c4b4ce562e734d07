from __future__ import annotations

import asyncio
from typing import Any

from botocore.exceptions import EndpointConnectionError

from dynsrv.sources.ec2.aws import PAGE, TIMEOUT
from dynsrv.sources.ec2.responses import Member
from tests.fakes.ec2 import GROUP, FakeAws, an_instance, refusal
from tests.fakes.ec2_clients import an_aws
from tests.unit.sources.ec2.asking import ALL, a_group, error_of
from tests.unit.sources.ec2.parsing import complaints

# ---- instances


async def test_instances_of_all_pages_are_one_answer() -> None:
    fake = FakeAws(*(an_instance(number) for number in range(250)))
    found = await an_aws(fake).instances(ALL)
    assert [one.id for one in found] == [f"i-{number}" for number in range(250)]
    assert len(fake.requests("DescribeInstances")) == 3


async def test_filters_are_ec2_s_own_and_all_must_match() -> None:
    web, api = an_instance(1, tags={"app": "web"}), an_instance(2, tags={"app": "api"})
    fake = FakeAws(web, api, an_instance(3, tags={"app": "web"}, state="stopped"))
    filters = (("instance-state-name", ("running",)), ("tag:app", ("web", "db")))
    assert [one.id for one in await an_aws(fake).instances(filters)] == ["i-1"]


async def test_a_filter_that_ec2_does_not_know_is_told_in_its_words() -> None:
    error = await error_of(an_aws(FakeAws()).instances((("app", ("web",)),)))
    where = "DescribeInstances in eu-central-1"
    sentence = "AWS rejected the request (InvalidParameterValue): The filter 'app' is invalid"
    assert (error.reason, str(error)) == ("request", f"{where}: {sentence}")


async def test_a_page_that_fails_fails_the_whole() -> None:
    fake = FakeAws(*(an_instance(number) for number in range(250)))
    fake.troubles["DescribeInstances"] = refusal("RequestLimitExceeded", "Request limit exceeded.", status=503)
    error = await error_of(an_aws(fake).instances(ALL))
    assert (error.reason, str(error)) == (
        "throttled",
        "DescribeInstances in eu-central-1: AWS throttles the requests (RequestLimitExceeded): Request limit exceeded.",
    )
    assert [one.keys["page"] for one in fake.asked] == [1, 2, 3]


async def test_all_pages_together_are_waited_for_a_minute() -> None:
    fake = FakeAws(*(an_instance(number) for number in range(250)))
    fake.latency = TIMEOUT / 3 - 1
    assert len(await an_aws(fake).instances(ALL)) == 250
    fake.latency = TIMEOUT / 3 + 1
    error = await error_of(an_aws(fake).instances(ALL))
    assert (error.reason, str(error)) == ("timeout", "DescribeInstances in eu-central-1: AWS did not respond in time")


async def test_where_no_region_is_configured_it_is_the_default() -> None:
    fake = FakeAws()
    fake.troubles["DescribeInstances"] = EndpointConnectionError(endpoint_url="https://x")
    error = await error_of(an_aws(fake, region=None).instances(ALL))
    assert error.reason == "unreachable"
    assert str(error).startswith("DescribeInstances in the default region: ")


# ---- groups


async def test_members_are_found_by_their_ids_over_all_groups_and_pages() -> None:
    fake = a_group(1, 2)
    fake.group(3, name="api")
    fake.terminate(2)
    fake.page = 1
    assert await an_aws(fake).members([GROUP, "api"]) == {
        "i-1": Member("web", "InService"),
        "i-2": Member("web", "Terminating:Wait"),
        "i-3": Member("api", "InService"),
    }
    assert len(fake.asked) == 2


async def test_a_group_without_instances_has_none() -> None:
    assert await an_aws(a_group()).members([GROUP]) == {}


async def test_a_group_that_does_not_exist_is_an_error_and_not_one_without_instances() -> None:
    error = await error_of(an_aws(a_group(1)).members(["green", GROUP, "blue"]))
    assert (error.reason, str(error)) == (
        "request",
        "DescribeAutoScalingGroups in eu-central-1: there is no Auto Scaling group blue, green",
    )


# ---- who uses it


async def test_clients_are_made_for_the_first_question_and_closed_once_by_the_last_user() -> None:
    fake = FakeAws(an_instance())
    aws = an_aws(fake)
    async with aws:
        async with aws:
            assert fake.opened == 0
            await aws.instances(ALL)
            await aws.credentials()
            assert (fake.opened, fake.open) == (1, 1)
        assert fake.open == 1
        await aws.instances(ALL)
    assert (fake.opened, fake.open) == (1, 0)
    assert fake.asked[-1].operation == "close"


async def test_who_asked_nothing_has_nothing_to_close() -> None:
    fake = FakeAws()
    async with an_aws(fake):
        pass
    assert (fake.opened, fake.asked) == (0, [])


async def test_who_comes_back_gets_new_clients() -> None:
    fake = FakeAws()
    aws = an_aws(fake)
    for turn in (1, 2):
        async with aws:
            await aws.instances(ALL)
        assert (fake.opened, fake.open) == (turn, 0)


async def test_who_comes_while_the_clients_are_being_closed_gets_others() -> None:
    fake = FakeAws()
    fake.latencies["close"] = 5.0
    aws = an_aws(fake)

    async def use() -> None:
        async with aws:
            await aws.instances(ALL)

    first = asyncio.create_task(use())
    await asyncio.sleep(1)
    await use()
    await first
    assert (fake.opened, fake.open) == (2, 0)


async def test_after_an_error_the_clients_are_closed_as_well() -> None:
    fake = FakeAws()
    fake.troubles["DescribeInstances"] = refusal("InternalError", status=500)
    aws = an_aws(fake)

    async def use() -> None:
        async with aws:
            await aws.instances(ALL)

    assert (await error_of(use())).reason == "server"
    assert (fake.opened, fake.open) == (1, 0)


async def test_who_is_cancelled_cancels_the_question_and_closes_the_clients() -> None:
    fake = FakeAws()
    fake.latencies |= {"DescribeInstances": 1000.0, "close": 5.0}
    aws = an_aws(fake)

    async def use() -> None:
        async with aws:
            await aws.instances(ALL)

    using = asyncio.create_task(use())
    await asyncio.sleep(1)
    using.cancel()
    await asyncio.wait([using])
    assert using.cancelled()
    assert fake.open == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_credentials_are_told_in_botocore_s_words() -> None:
    assert await an_aws(FakeAws()).credentials() == "env"


async def test_every_question_is_one_that_botocore_s_own_model_takes() -> None:
    fake = a_group(1)
    aws = an_aws(fake)
    await aws.instances((("tag:app", ("web", "api")),))
    await aws.members([GROUP])
    fake.terminate(1)
    hook = await aws.hook(GROUP, None)
    await aws.heartbeat(hook, "i-1")
    await aws.complete(hook, "i-1")
    sizes: dict[str, dict[str, Any]] = {
        "DescribeInstances": {"MaxResults": PAGE},
        "DescribeAutoScalingGroups": {"MaxRecords": PAGE},
    }
    assert len(fake.asked) == 5
    for one in fake.asked:
        keys = {key: value for key, value in one.keys.items() if key not in {"page", "pages"}}
        assert complaints(one.operation, keys | sizes.get(one.operation, {})) == ""
