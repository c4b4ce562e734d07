from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dynsrv.errors import SourceError
from dynsrv.sources.consul import responses
from dynsrv.sources.consul.agents import BRIEF_WAIT, MANY_BLOCKING, QUEUE_TIMEOUT, Agents
from dynsrv.sources.consul.requests import Query
from tests.fakes.consul import FakeConsul, Trouble, an_instance
from tests.unit.sources.consul.watches import nodes, some_agents

WEB = Query("web").instances()


async def ask(agents: Agents, *, index: int = 0, wait: float = 30.0) -> list[str]:
    instances, _ = await agents.request(WEB, responses.instances, index=index, wait=wait)
    return nodes(instances)


async def test_no_more_questions_than_connections_are_kept_and_the_others_are_answered_at_once() -> None:
    consul = FakeConsul(an_instance(1))
    agents = some_agents(consul, blocking=3, short=2)
    done: list[tuple[int, float]] = []

    async def one(number: int) -> None:
        await ask(agents, index=consul.catalog.index, wait=10)
        done.append((number, asyncio.get_running_loop().time()))

    async with consul:
        await asyncio.gather(*(one(number) for number in range(9)))
    assert consul.most_at_once <= 3 + 2
    assert sorted(number for number, _ in done[:6]) == [3, 4, 5, 6, 7, 8]
    assert all(QUEUE_TIMEOUT <= time < QUEUE_TIMEOUT + 0.5 for _, time in done[:6])
    assert all(time >= 10 for _, time in done[6:])
    assert sum(asked.index > 0 for asked in consul.asked) == 3


async def test_who_stands_in_line_gets_the_connection_that_is_free_first() -> None:
    consul = FakeConsul(an_instance(1))
    agents = some_agents(consul, blocking=1, short=1)
    async with consul:
        first = asyncio.create_task(ask(agents, index=consul.catalog.index, wait=1))
        await asyncio.sleep(0.5)
        await ask(agents, index=consul.catalog.index, wait=10)
        await first
    assert asyncio.get_running_loop().time() > 10
    assert all(asked.index for asked in consul.asked)


async def a_question_that_fails(agents: Agents, consul: FakeConsul) -> None:
    consul.agent.fail(Trouble.DOWN)
    with pytest.raises(SourceError):
        await ask(agents)
    consul.agent.fail(None)


async def a_question_that_nobody_waits_for(agents: Agents, consul: FakeConsul) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(agents, index=consul.catalog.index), 1)


async def a_question_that_nobody_waits_for_in_line(agents: Agents, consul: FakeConsul) -> None:
    first = asyncio.create_task(ask(agents, index=consul.catalog.index, wait=5))
    await asyncio.sleep(1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(agents, index=consul.catalog.index), QUEUE_TIMEOUT / 2)
    await first


@pytest.mark.parametrize(
    "end", [a_question_that_fails, a_question_that_nobody_waits_for, a_question_that_nobody_waits_for_in_line]
)
async def test_a_connection_is_free_again_however_its_question_ended(
    end: Callable[[Agents, FakeConsul], Coroutine[Any, Any, None]],
) -> None:
    consul = FakeConsul(an_instance(1))
    agents = some_agents(consul, blocking=1, short=1)
    async with consul:
        for _ in range(2):
            await end(agents, consul)
            assert await asyncio.wait_for(ask(agents), 1) == ["n1"]


async def test_many_questions_are_kept_only_briefly_so_that_a_restart_finds_connections() -> None:
    consul = FakeConsul(an_instance(1))
    agents = some_agents(consul)
    async with consul:
        await asyncio.gather(*(ask(agents, index=consul.catalog.index, wait=30) for _ in range(MANY_BLOCKING + 5)))
    waits = [asked.wait for asked in consul.asked]
    assert waits == [30] * MANY_BLOCKING + [BRIEF_WAIT] * 5
