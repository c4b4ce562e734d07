from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from tests.fakes.consul import FakeConsul, an_instance
from tests.fakes.follower import following
from tests.unit.sources.consul.watches import LONGEST_WAIT, WAIT, a_watch, nodes


@asynccontextmanager
async def every(seconds: float, act: Callable[[], None]) -> AsyncIterator[None]:
    """Do something again and again for as long as the block lasts."""

    async def run() -> None:
        while True:
            await asyncio.sleep(seconds)
            act()

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def another_version_of(host: int, consul: FakeConsul) -> Callable[[], None]:
    return lambda: consul.register(an_instance(host, meta={"version": str(consul.catalog.index)}))


def another_registration(consul: FakeConsul) -> Callable[[], None]:
    return lambda: consul.register(an_instance(9, service="other", meta={"version": str(consul.catalog.index)}))


def another_output(consul: FakeConsul) -> Callable[[], None]:
    return lambda: consul.register(an_instance(1, output=f"at {consul.catalog.index}"))


# ---- woken for nothing


async def test_a_service_that_does_not_exist_is_not_asked_for_at_each_registration_of_others() -> None:
    consul = FakeConsul(an_instance(9, service="other"))
    async with following(a_watch(consul).subscribe) as follower, every(0.1, another_registration(consul)):
        await asyncio.sleep(20)
        before = len(consul.asked)
        await asyncio.sleep(600)
        assert 600 / 2.5 < len(consul.asked) - before < 600
    assert before < 35
    assert not any(follower.told)


@pytest.mark.parametrize("after", [0.5, 3.3, 60.0, 61.7])
async def test_a_service_that_is_registered_at_last_is_seen_within_two_and_a_half_seconds(after: float) -> None:
    consul = FakeConsul(an_instance(9, service="other"))
    async with following(a_watch(consul).subscribe) as follower, every(0.1, another_registration(consul)):
        await asyncio.sleep(after)
        consul.register(an_instance(1))
        await asyncio.sleep(2.5)
        assert nodes(follower.latest) == ["n1"]


async def test_a_service_whose_checks_print_all_the_time_is_asked_for_every_second_or_two() -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_watch(consul).subscribe) as follower, every(0.01, another_output(consul)):
        await asyncio.sleep(600)
        assert len(consul.asked) < 600
        consul.register(an_instance(2))
        await asyncio.sleep(2.5)
        assert nodes(follower.latest) == ["n1", "n2"]


async def test_an_index_that_does_not_block_is_asked_for_every_second_or_two_in_the_long_run() -> None:
    consul = FakeConsul(an_instance(1))
    consul.agent.ignores_index = True
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(20)
        before = len(consul.asked)
        await asyncio.sleep(2000)
        assert 2000 / 2 <= len(consul.asked) - before < 2000 / 1.3
        consul.register(an_instance(2))
        await asyncio.sleep(2.5)
        assert nodes(follower.latest) == ["n1", "n2"]
    assert before < 35


@pytest.mark.parametrize(("lot", "longest"), [(min, 1.0), (max, 2.0)])
async def test_pauses_grow_to_two_seconds_and_are_drawn_by_lot_since_others_are_woken_by_the_same(
    monkeypatch: pytest.MonkeyPatch, lot: Callable[[float, float], float], longest: float
) -> None:
    monkeypatch.setattr(random, "uniform", lot)
    consul = FakeConsul(an_instance(1))
    consul.latency = 0
    consul.agent.ignores_index = True
    async with following(a_watch(consul).subscribe):
        await asyncio.sleep(30)
    times = [asked.at for asked in consul.asked]
    pauses = [after - before for before, after in pairwise(times)]
    expected = [0.02, *(longest * share for share in (0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1, 1))]
    assert pauses[:10] == pytest.approx(expected)


async def test_who_was_woken_for_nothing_and_then_by_a_change_is_impatient_again() -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_watch(consul).subscribe) as follower, every(0.01, another_output(consul)):
        await asyncio.sleep(30)
        assert len(consul.questions(since=20)) < 15
        consul.register(an_instance(2))
        await asyncio.sleep(2.5)
        seen = next(time for time, told in zip(follower.times, follower.told, strict=True) if len(told) == 2)
        assert len([asked for asked in consul.asked if seen <= asked.at < seen + 0.4]) >= 4


async def test_who_was_woken_for_nothing_and_then_not_for_long_is_impatient_again() -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_watch(consul).subscribe) as follower:
        async with every(0.01, another_output(consul)):
            await asyncio.sleep(30)
        await asyncio.sleep(3 * LONGEST_WAIT)
        assert consul.asked[-1].at == pytest.approx(follower.times[-1], abs=0.005)


async def test_a_question_that_was_kept_for_long_is_followed_at_once_by_the_next() -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(20 * LONGEST_WAIT)
    answered = follower.times[1:-1]
    asked = [one.at for one in consul.questions()][2:]
    assert len(answered) > 15
    assert all(0 <= after - before < 0.005 for before, after in zip(answered, asked, strict=False))


# ---- changes all the time


async def test_a_service_that_changes_all_the_time_is_asked_for_fifty_times_a_second_at_most() -> None:
    consul = FakeConsul(an_instance(1))
    consul.latency = 0.0001
    async with following(a_watch(consul).subscribe) as follower, every(0.001, another_version_of(1, consul)):
        await asyncio.sleep(10)
    assert 300 < len(consul.asked) <= 501
    assert len({id(told) for told in follower.told}) > 300


async def test_a_service_that_comes_and_goes_all_the_time_is_asked_for_fifty_times_a_second_at_most() -> None:
    consul = FakeConsul(an_instance(1))
    consul.latency = 0.0001

    def come_or_go() -> None:
        (consul.deregister if consul.catalog.of("web") else consul.register)(an_instance(1))

    async with following(a_watch(consul).subscribe) as follower, every(0.0033, come_or_go):
        await asyncio.sleep(10)
    assert {len(told) for told in follower.told} == {0, 1}
    assert sum(asked.consistency == "default" for asked in consul.questions()) <= 501


@pytest.mark.parametrize("takes", [0.1, 1.0, 5.0])
async def test_an_answer_that_takes_long_to_read_is_not_read_for_more_than_half_of_the_time(takes: float) -> None:
    consul = FakeConsul(an_instance(1))
    consul.body_takes = takes
    async with following(a_watch(consul, wait=60.0).subscribe), every(0.05, another_version_of(1, consul)):
        await asyncio.sleep(200 * takes)
    assert 70 <= len(consul.asked) <= 101


@pytest.mark.parametrize("pause", [0.1, 2.5])
async def test_an_answer_without_news_is_not_read_for_more_than_half_of_the_time(pause: float) -> None:
    consul = FakeConsul(an_instance(1))
    consul.body_takes = 5.0
    async with following(a_watch(consul, wait=60.0).subscribe), every(pause, another_output(consul)):
        await asyncio.sleep(1000)
    assert len(consul.asked) <= 101


async def test_writes_that_have_nothing_to_do_with_services_wake_nobody() -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_watch(consul).subscribe), every(0.1, consul.write):
        await asyncio.sleep(10 * WAIT)
    assert len(consul.asked) <= 11
