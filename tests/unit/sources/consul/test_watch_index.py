from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from dynsrv.sources.consul.transport import Response
from dynsrv.sources.consul.watch import RESTART_SPREAD
from tests.fakes.consul import NO_LEADER, A, Asked, B, FakeConsul, Trouble, an_instance
from tests.fakes.follower import following
from tests.unit.sources.consul.watches import LONGEST_WAIT, WAIT, a_watch, nodes

RETRY = 1.0


def indexes(consul: FakeConsul) -> list[int]:
    return [asked.index for asked in consul.questions()]


async def test_the_first_question_has_no_index_and_the_next_has_that_of_the_answer() -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
    assert [nodes(told) for told in follower.told] == [["n1"]]
    first, second = consul.questions()
    assert (first.index, first.wait) == (0, 0)
    assert (second.index, second.wait) == (consul.catalog.index, WAIT)


@pytest.mark.parametrize("wait", [1.0, 2.5, 60.0])
async def test_consul_may_keep_a_question_for_as_long_as_configured(wait: float) -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_watch(consul, wait=wait).subscribe):
        await asyncio.sleep(50 * wait)
    assert {asked.wait for asked in consul.questions() if asked.index} == {wait}
    assert 50 / (17 / 16) - 1 <= len(consul.questions()) <= 51


async def test_a_change_is_told_the_moment_that_consul_has_it() -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_watch(consul).subscribe) as follower:
        for host in range(2, 6):
            await asyncio.sleep(10)
            consul.register(an_instance(host))
            assert follower.times[-1] < asyncio.get_running_loop().time()
            await asyncio.sleep(0.001)
            assert len(follower.latest) == host


async def test_each_answer_is_told_and_while_nothing_changed_as_the_same_object() -> None:
    consul = FakeConsul(an_instance(1), an_instance(2))
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(10 * LONGEST_WAIT)
    assert len(follower.told) >= 10
    assert len({id(told) for told in follower.told}) == 1


async def test_what_a_check_prints_is_no_change() -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
        consul.register(an_instance(1, output="HTTP GET: 200 OK, 17 ms"))
        await asyncio.sleep(1)
    assert len(follower.told) == 2
    assert follower.told[0] is follower.told[1]


# ---- an index that went back


async def test_after_a_restore_a_lower_index_is_taken_and_the_question_after_it_has_none() -> None:
    consul = FakeConsul(an_instance(1))
    before = consul.catalog.copy()
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
        consul.register(an_instance(2))
        high = consul.catalog.index
        await asyncio.sleep(1)
        consul.restore(before)
        await asyncio.sleep(LONGEST_WAIT + 1)
    assert [nodes(told) for told in follower.told[:2]] == [["n1"], ["n1", "n2"]]
    assert nodes(follower.latest) == ["n1"]
    assert indexes(consul)[-4:] == [high, 0, 0, before.index]  # doubted, and then begun anew


async def test_a_restored_consul_hides_changes_no_longer_than_one_wait() -> None:
    consul = FakeConsul(an_instance(1))
    before = consul.catalog.copy()
    async with following(a_watch(consul).subscribe) as follower:
        for _ in range(100):
            consul.register(an_instance(2, meta={"version": str(consul.catalog.index)}))
        await asyncio.sleep(1)
        consul.restore(before)
        consul.register(an_instance(3))
        await asyncio.sleep(LONGEST_WAIT + 0.1)
        assert nodes(follower.latest) == ["n1", "n3"]
        consul.register(an_instance(4))
        await asyncio.sleep(0.1)
        assert nodes(follower.latest) == ["n1", "n3", "n4"]


async def test_an_index_of_zero_is_none() -> None:
    consul = FakeConsul(an_instance(1))
    consul.agent.between = lambda _, reply: replace(reply, index=0)
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(10)
    assert set(indexes(consul)) == {0}
    assert len(consul.asked) >= 3
    assert follower.errors == []


# ---- errors


@pytest.mark.parametrize("index", [None, 1, 10**9])
@pytest.mark.parametrize("status", [500, 429, 403])
async def test_the_index_of_an_error_is_never_taken(status: int, index: int | None) -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_watch(consul).subscribe, retry=RETRY) as follower:
        await asyncio.sleep(1)
        consul.agent.fail(Response(status, b"not now", index))
        await asyncio.sleep(10)
        consul.agent.fail(None)
        await asyncio.sleep(10)
    assert len(follower.errors) >= 4
    assert indexes(consul)[:2] == [0, consul.catalog.index]
    assert set(indexes(consul)[2:-1]) == {0}
    assert indexes(consul)[-1] == consul.catalog.index


@pytest.mark.parametrize("trouble", [Trouble.DOWN, Trouble.SILENT, NO_LEADER, Response(200, b"<html>", 99)])
async def test_an_error_ends_the_watch_and_the_next_one_begins_without_an_index(trouble: Trouble | Response) -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_watch(consul).subscribe, retry=RETRY) as follower:
        await asyncio.sleep(1)
        consul.agent.fail(trouble)
        await asyncio.sleep(WAIT * 2)
        assert follower.errors
        assert len(follower.told) == 1
        consul.register(an_instance(2))
        consul.agent.fail(None)
        await asyncio.sleep(RETRY + RESTART_SPREAD + 0.1)
        assert nodes(follower.latest) == ["n1", "n2"]
    assert set(indexes(consul)[2:-1]) == {0}


async def test_a_watch_that_moves_on_to_another_agent_goes_on_and_asks_it_without_an_index() -> None:
    consul = FakeConsul(an_instance(1), addresses=(A, B))
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
        consul.register(an_instance(2))
        await asyncio.sleep(1)
        consul.agents[A].fail(Trouble.DOWN)
        await asyncio.sleep(0.1)
        assert consul.questions()[-1].index == consul.catalog.index
        consul.register(an_instance(3))
        await asyncio.sleep(0.1)
    assert follower.errors == []
    assert next(asked.index for asked in consul.questions() if asked.address == B) == 0
    assert nodes(follower.latest) == ["n1", "n2", "n3"]


async def test_an_answer_without_an_index_is_an_error_that_guesses_at_a_proxy() -> None:
    consul = FakeConsul(an_instance(1))
    consul.agent.between = lambda _, reply: replace(reply, index=None)
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
    assert follower.told == []
    assert (follower.reason, str(follower.error)) == (
        "invalid",
        f"{A}: the response has no X-Consul-Index; does a proxy remove it?",
    )


def cut_off(_: Asked, reply: Response) -> Response:
    return replace(reply, body=reply.body[:-1])


def half_an_instance(_: Asked, reply: Response) -> Response:
    return replace(reply, body=reply.body.replace(b'"Checks"', b'"Chucks"'))


def a_word_for_a_port(_: Asked, reply: Response) -> Response:
    return replace(reply, body=reply.body.replace(b'"Port": 80', b'"Port": "http"'))


@pytest.mark.parametrize("spoilt", [cut_off, half_an_instance, a_word_for_a_port])
async def test_an_answer_of_which_anything_cannot_be_read_tells_nothing(
    spoilt: Callable[[Asked, Response], Response],
) -> None:
    consul = FakeConsul(an_instance(1), an_instance(2))
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
        consul.agent.between = spoilt
        consul.deregister(an_instance(2))
        await asyncio.sleep(1)
    assert [nodes(told) for told in follower.told] == [["n1", "n2"]]
    assert follower.reason == "invalid"
