from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from dynsrv.logs import Event
from dynsrv.sources.consul.transport import Response
from tests.fakes.consul import NO_LEADER, A, Acl, B, FakeConsul, Trouble, an_instance
from tests.fakes.consul_words import NOT_VERIFIED
from tests.fakes.follower import following
from tests.unit.sources.consul.watches import LONGEST_WAIT, a_watch, nodes


def consistencies(consul: FakeConsul) -> list[str]:
    return [asked.consistency for asked in consul.questions()]


async def test_a_follower_that_lags_behind_takes_nothing_back() -> None:
    consul = FakeConsul(an_instance(1), addresses=(A, B))
    consul.agents[B].lag()
    async with following(a_watch(consul, stale=True).subscribe) as follower:
        await asyncio.sleep(1)
        consul.register(an_instance(2))
        await asyncio.sleep(1)
        consul.agents[A].fail(Trouble.DOWN)
        await asyncio.sleep(3 * LONGEST_WAIT)
        assert {tuple(nodes(told)) for told in follower.told} == {("n1",), ("n1", "n2")}
        assert nodes(follower.told[0]) == ["n1"]
        assert all(nodes(told) == ["n1", "n2"] for told in follower.told[1:])
        consul.agents[B].catch_up()
        consul.register(an_instance(3))
        await asyncio.sleep(1)
        assert nodes(follower.latest) == ["n1", "n2", "n3"]
    assert follower.errors == []
    assert consistencies(consul)[3:6] == ["stale", "consistent", "stale"]


async def test_a_follower_that_lags_behind_after_an_outage_takes_nothing_back() -> None:
    consul = FakeConsul(an_instance(1))
    before = consul.catalog.copy()
    async with following(a_watch(consul, stale=True).subscribe, retry=1.0) as follower:
        await asyncio.sleep(1)
        consul.register(an_instance(2))
        await asyncio.sleep(1)
        consul.agent.fail(Trouble.DOWN)
        await asyncio.sleep(1)
        consul.agent.behind = before
        consul.agent.fail(None)
        await asyncio.sleep(5)
    assert [nodes(told) for told in follower.told[:2]] == [["n1"], ["n1", "n2"]]
    assert all(nodes(told) == ["n1", "n2"] for told in follower.told[2:])
    assert len(follower.told) > 2


async def test_what_went_back_for_everybody_is_told_with_stale_too() -> None:
    consul = FakeConsul(an_instance(1))
    before = consul.catalog.copy()
    async with following(a_watch(consul, stale=True).subscribe) as follower:
        await asyncio.sleep(1)
        consul.register(an_instance(2))
        await asyncio.sleep(1)
        consul.restore(before)
        await asyncio.sleep(LONGEST_WAIT + 1)
        assert nodes(follower.latest) == ["n1"]
        assert consistencies(consul).count("consistent") == 2  # the first question, and a doubt
        await asyncio.sleep(5 * LONGEST_WAIT)
    assert consistencies(consul).count("consistent") == 2


async def test_without_stale_the_first_answer_is_consistent_and_the_others_are_the_leaders() -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_watch(consul).subscribe):
        await asyncio.sleep(1)
        consul.register(an_instance(3))
        await asyncio.sleep(1)
    assert consistencies(consul) == ["consistent", "default", "default"]


async def test_an_older_answer_of_a_leader_that_has_not_caught_up_takes_nothing_back() -> None:
    consul = FakeConsul(an_instance(1))
    before = consul.catalog.copy()
    async with following(a_watch(consul).subscribe, retry=1.0) as follower:
        await asyncio.sleep(1)
        consul.register(an_instance(2))
        await asyncio.sleep(1)
        consul.agent.fail(Trouble.DOWN)
        await asyncio.sleep(1)
        consul.not_caught_up = before
        consul.agent.fail(None)
        await asyncio.sleep(5)
    assert all(nodes(told) == ["n1", "n2"] for told in follower.told[1:])
    assert len(follower.told) > 2


@pytest.mark.parametrize("trouble", [NO_LEADER, NOT_VERIFIED])
async def test_with_stale_and_without_a_leader_a_watch_begins_with_what_any_server_knows(trouble: Response) -> None:
    consul = FakeConsul(an_instance(1))
    if trouble is NO_LEADER:
        consul.lose_leader()
    consul.verified = False
    async with following(a_watch(consul, stale=True).subscribe) as follower:
        await asyncio.sleep(1)
        consul.register(an_instance(2))
        await asyncio.sleep(1)
    assert [nodes(told) for told in follower.told] == [["n1"], ["n1", "n2"]]
    assert consistencies(consul) == ["consistent", "stale", "stale", "stale"]


@pytest.mark.parametrize("lagging", [True, False])
async def test_with_stale_and_without_a_leader_no_service_is_empty_at_first(*, lagging: bool) -> None:
    consul = FakeConsul()
    if lagging:
        consul.agent.lag()
        consul.register(an_instance(1))
    consul.lose_leader()
    async with following(a_watch(consul, stale=True).subscribe) as follower:
        await asyncio.sleep(1)
    assert follower.told == []
    assert follower.reason == "leader"


@pytest.mark.parametrize("leader", [True, False])
async def test_without_stale_a_watch_does_not_begin_with_what_nobody_is_sure_of(*, leader: bool) -> None:
    consul = FakeConsul(an_instance(1))
    consul.leader, consul.verified = leader, False
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
    assert follower.told == []
    assert follower.reason == "leader"


async def test_with_stale_and_a_token_that_is_unknown_no_other_server_is_asked() -> None:
    consul = FakeConsul(an_instance(1))
    consul.acl = Acl(known=False)
    async with following(a_watch(consul, stale=True).subscribe) as follower:
        await asyncio.sleep(1)
    assert follower.reason == "acl"
    assert consistencies(consul) == ["consistent"]


async def test_that_consul_corrected_itself_is_logged() -> None:
    consul = FakeConsul(an_instance(1), an_instance(2))
    before = consul.catalog.copy()
    with capture_logs() as logs:
        async with following(a_watch(consul).subscribe):
            await asyncio.sleep(1)
            consul.register(an_instance(3))
            await asyncio.sleep(1)
            consul.not_caught_up = before
            await asyncio.sleep(2 * LONGEST_WAIT)
    corrected = [line for line in logs if line["event"] == Event.CONSUL_ANSWER_CORRECTED]
    assert corrected
    assert all((line["service"], line["instances"]) == ("web", 3) for line in corrected)


async def test_that_consul_was_restored_is_no_correction() -> None:
    consul = FakeConsul(an_instance(1))
    before = consul.catalog.copy()
    with capture_logs() as logs:
        async with following(a_watch(consul).subscribe):
            await asyncio.sleep(1)
            consul.register(an_instance(2))
            await asyncio.sleep(1)
            consul.restore(before)
            await asyncio.sleep(2 * LONGEST_WAIT)
    assert logs == []
