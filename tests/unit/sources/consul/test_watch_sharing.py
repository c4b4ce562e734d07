from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from dynsrv.sources.consul.requests import Query
from dynsrv.sources.consul.transport import Response
from dynsrv.sources.consul.watch import RESTART_SPREAD, Watch
from tests.fakes.consul import Asked, FakeConsul, Trouble, an_instance
from tests.fakes.follower import following
from tests.unit.sources.consul.watches import WAIT, a_watch, some_agents


def a_bug(_: Asked, reply: Response) -> Response:
    raise ZeroDivisionError


async def test_who_comes_before_the_first_answer_waits_for_it() -> None:
    consul = FakeConsul(an_instance(1))
    consul.latency = 2.0
    watch = a_watch(consul)
    async with following(watch.subscribe) as first:
        await asyncio.sleep(1)
        async with following(watch.subscribe) as second:
            await asyncio.sleep(2)
            assert second.times == first.times == [2]


async def test_what_a_watch_knew_that_failed_is_not_told_to_who_comes_later() -> None:
    consul = FakeConsul(an_instance(1))
    watch = a_watch(consul)
    async with following(watch.subscribe) as first:
        await asyncio.sleep(1)
        consul.agent.fail(Trouble.DOWN)
        await asyncio.sleep(1)
        assert first.reason == "unreachable"
        consul.agent.fail(Trouble.SILENT)
        async with following(watch.subscribe) as late, following(watch.subscribe) as latest:
            await asyncio.sleep(60)
            assert late.told == latest.told == []
            assert late.reason == latest.reason == "timeout"


async def test_who_comes_while_a_watch_fails_is_told_so() -> None:
    consul = FakeConsul(an_instance(1))
    watch = a_watch(consul)
    async with following(watch.subscribe) as first:
        await asyncio.sleep(1)
        consul.agent.fail(Trouble.SILENT)
        consul.register(an_instance(2))
        await asyncio.sleep(1)
        async with following(watch.subscribe) as late:
            await asyncio.sleep(60)
    assert first.reason == late.reason == "timeout"
    assert late.told in ([], first.told)


async def test_after_an_error_the_first_who_comes_back_asks_again_for_all() -> None:
    consul = FakeConsul(an_instance(1))
    watch = a_watch(consul)
    async with following(watch.subscribe, retry=1.0) as one, following(watch.subscribe, retry=3.0) as two:
        await asyncio.sleep(1)
        consul.agent.fail(Trouble.DOWN)
        await asyncio.sleep(0.5)
        consul.agent.fail(None)
        await asyncio.sleep(5)
    assert len(one.told) == len(two.told) == 2
    assert two.times[1] == two.error_times[0] + 3.0
    assert [asked.index for asked in consul.questions()] == [0, consul.catalog.index] * 2


async def test_watches_that_failed_together_do_not_begin_again_at_once() -> None:
    consul = FakeConsul(an_instance(1))
    agents = some_agents(consul)
    watches = [Watch(agents, Query("web"), wait=WAIT) for _ in range(50)]
    async with AsyncExitStack() as stack:
        for watch in watches:
            await stack.enter_async_context(following(watch.subscribe, retry=0.1))
        await asyncio.sleep(1)
        consul.agent.fail(Trouble.DOWN)
        await asyncio.sleep(0.05)
        consul.agent.fail(None)
        await asyncio.sleep(3)
    begun = [asked.at for asked in consul.questions(since=1) if not asked.index]
    assert len(begun) == 50
    assert max(begun) - min(begun) > RESTART_SPREAD / 2
    assert max(begun) < 1 + 0.1 + RESTART_SPREAD + 0.1


async def test_who_follows_without_a_failure_just_before_begins_at_once() -> None:
    consul = FakeConsul(an_instance(1))
    watch = a_watch(consul)
    async with following(watch.subscribe, retry=1.0) as follower:
        consul.agent.fail(Trouble.DOWN)
        await asyncio.sleep(0.5)
        consul.agent.fail(None)
        await asyncio.sleep(5)
        assert len(follower.errors) == 1
    for _ in range(3):
        began = asyncio.get_running_loop().time()
        async with following(watch.subscribe) as follower:
            await asyncio.sleep(1)
            assert follower.times == [began + consul.latency]


async def test_a_bug_is_no_failure_of_consul_and_reaches_all_as_it_is() -> None:
    consul = FakeConsul(an_instance(1))
    watch = a_watch(consul)
    async with following(watch.subscribe) as one, following(watch.subscribe) as two:
        await asyncio.sleep(1)
        consul.agent.between = a_bug
        consul.register(an_instance(2))
        await asyncio.sleep(1)
    assert isinstance(one.error, ZeroDivisionError)
    assert isinstance(two.error, ZeroDivisionError)
    assert len(one.told) == len(two.told) == 1


# ---- who leaves


@pytest.mark.parametrize("after", [0, 0.001, 0.002, 0.01])
async def test_who_leaves_at_any_time_leaves_nothing_behind(after: float) -> None:
    consul = FakeConsul()  # so that there are doubts, too
    watch = a_watch(consul)
    for turns in range(10):
        async with following(watch.subscribe):
            await asyncio.sleep(after)
            for _ in range(turns):
                await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert (consul.entered, consul.at_once) == (0, 0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
    async with following(watch.subscribe) as follower:
        await asyncio.sleep(1)
    assert follower.told == [()]
