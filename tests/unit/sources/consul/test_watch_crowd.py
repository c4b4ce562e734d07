from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from dynsrv.sources.consul.agents import CONNECTIONS, MAX_SHORT_RATE, QUEUE_TIMEOUT, SHORT_CONNECTIONS
from dynsrv.sources.consul.requests import Query
from dynsrv.sources.consul.responses import Instance
from dynsrv.sources.consul.watch import RESTART_SPREAD, Watch
from tests.fakes.consul import FakeConsul, Trouble, an_instance
from tests.fakes.follower import Follower, following
from tests.unit.sources.consul.watches import WAIT, some_agents

PROMISED = 3.5
"""Seconds within which a change is seen."""

KEPT = CONNECTIONS - SHORT_CONNECTIONS
"""So many questions can be kept at once."""


def longest_line(watches: int) -> float:
    """Return the seconds for which a question may stand in line, of so many."""
    return max(QUEUE_TIMEOUT, watches / MAX_SHORT_RATE) + 0.25


Crowd = list[Follower[tuple[Instance, ...]]]


@asynccontextmanager
async def a_crowd(consul: FakeConsul, watches: int) -> AsyncIterator[Crowd]:
    """So many services, each with a watch of its own and an instance, and one who follows it."""
    agents = some_agents(consul)
    for number in range(watches):
        consul.register(an_instance(1, service=f"service{number}"))
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                following(Watch(agents, Query(f"service{number}"), wait=WAIT).subscribe, retry=number % 10 + 0.1)
            )
            for number in range(watches)
        ]


def the_longest_line(consul: FakeConsul, crowd: Crowd, *, since: float = 0.0) -> float:
    """Return for how long one has waited at most, after an answer or before a new beginning, until it was asked."""
    now = asyncio.get_running_loop().time()
    asked: dict[str | None, list[float]] = {}
    for question in consul.questions():
        asked.setdefault(question.service, []).append(question.at)
    lines = [0.0]
    for number, follower in enumerate(crowd):
        questions = [*asked[f"service{number}"], now]
        begun = [*follower.times, *(error + number % 10 + 0.1 for error in follower.error_times)]
        lines += [questions[bisect_left(questions, at)] - at for at in begun if since <= at <= now]
    return max(lines)


@pytest.fixture(autouse=True)
def the_same_lots() -> None:
    random.seed(1)


@pytest.mark.parametrize("watches", [1, KEPT, KEPT + 1, KEPT + 20, CONNECTIONS, 200, 400])
async def test_nobody_stands_in_line_for_longer_than_promised(watches: int) -> None:
    consul = FakeConsul()
    async with a_crowd(consul, watches) as crowd:
        await asyncio.sleep(40)
        assert the_longest_line(consul, crowd) < longest_line(watches)
    assert consul.most_at_once <= CONNECTIONS


@pytest.mark.parametrize("watches", [1, KEPT])
async def test_while_there_are_connections_for_all_nobody_stands_in_line(watches: int) -> None:
    consul = FakeConsul()
    async with a_crowd(consul, watches) as crowd:
        await asyncio.sleep(40)
        assert the_longest_line(consul, crowd, since=1) < 0.01


async def test_after_an_outage_nobody_stands_in_line_for_longer_than_promised() -> None:
    consul = FakeConsul()
    async with a_crowd(consul, 200) as crowd:
        await asyncio.sleep(10)
        consul.agent.fail(Trouble.DOWN)
        await asyncio.sleep(20)
        consul.agent.fail(None)
        await asyncio.sleep(20)
        assert the_longest_line(consul, crowd, since=30) < RESTART_SPREAD + longest_line(200)


async def test_all_see_a_change_in_time() -> None:
    consul = FakeConsul()
    async with a_crowd(consul, 200) as crowd:
        for round_, after in enumerate((PROMISED, 0.0, 1.3, 10.7)):
            await asyncio.sleep(after)
            for number in range(0, 200, 3):
                consul.register(an_instance(2 + round_, service=f"service{number}"))
            await asyncio.sleep(PROMISED)
            assert {len(follower.latest) for follower in crowd[::3]} == {2 + round_}
            assert {len(follower.latest) for number, follower in enumerate(crowd) if number % 3} == {1}
        assert not any(follower.errors for follower in crowd)


async def test_of_a_crowd_each_asks_every_two_seconds_at_most() -> None:
    consul = FakeConsul()
    async with a_crowd(consul, 200):
        await asyncio.sleep(10)
        before = len(consul.asked)
        await asyncio.sleep(20)
    assert len(consul.asked) - before < 20 * 200 / QUEUE_TIMEOUT
