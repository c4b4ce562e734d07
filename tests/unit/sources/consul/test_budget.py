from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import pytest

from dynsrv.errors import SourceError
from dynsrv.sources.consul import answers
from dynsrv.sources.consul.agents import CONNECTIONS, Agents, Budget
from dynsrv.sources.consul.questions import Query
from tests.fakes.consul import FakeConsul, Trouble, an_instance
from tests.unit.sources.consul.following import nodes, some_agents

WEB = Query("web").instances()


async def ask(agents: Agents, *, index: int = 0, wait: float = 30.0) -> list[str]:
    instances, _ = await agents.ask(WEB, answers.instances, index=index, wait=wait)
    return nodes(instances)


async def test_no_more_questions_than_connections_are_on_their_way_and_first_come_is_first_served() -> None:
    consul = FakeConsul(an_instance(1))
    agents = some_agents(consul, connections=3)
    done: list[int] = []

    async def one(number: int) -> None:
        await ask(agents, index=consul.catalog.index, wait=10)
        done.append(number)

    async with consul:
        questions = []
        for number in range(9):
            questions.append(asyncio.create_task(one(number)))
            await asyncio.sleep(1)
        await asyncio.gather(*questions)
    assert consul.most_at_once == 3
    assert done == list(range(9))


async def test_to_stand_in_line_is_no_time_out() -> None:
    consul = FakeConsul(an_instance(1))
    agents = some_agents(consul, connections=1)
    async with consul:
        await asyncio.gather(*(ask(agents, index=consul.catalog.index, wait=30) for _ in range(4)))
    assert asyncio.get_running_loop().time() > 4 * 30


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
        await asyncio.wait_for(ask(agents), 1)
    await first


@pytest.mark.parametrize(
    "end", [a_question_that_fails, a_question_that_nobody_waits_for, a_question_that_nobody_waits_for_in_line]
)
async def test_a_connection_is_free_again_however_its_question_ended(
    end: Callable[[Agents, FakeConsul], Coroutine[Any, Any, None]],
) -> None:
    consul = FakeConsul(an_instance(1))
    agents = some_agents(consul, connections=1)
    async with consul:
        for _ in range(2):
            await end(agents, consul)
            assert await asyncio.wait_for(ask(agents), 1) == ["n1"]


class Asker:
    """One who asks again and again."""


def a_budget(askers: Collection[Asker], *, connections: int = CONNECTIONS) -> Budget:
    budget = Budget(connections)
    for asker in askers:
        budget.watches.add(asker)
    return budget


def so_many(count: int) -> list[Asker]:
    return [Asker() for _ in range(count)]


@pytest.mark.parametrize("watches", [1, CONNECTIONS - 1, CONNECTIONS])
def test_while_there_are_connections_for_all_a_watch_may_keep_its_own(watches: int) -> None:
    askers = so_many(watches)
    budget = a_budget(askers)
    assert (budget.turn(30.0), budget.turn(1.0)) == (30.0, 1.0)


@pytest.mark.parametrize("watches", [CONNECTIONS + 1, CONNECTIONS + 16, 2 * CONNECTIONS, 2000])
def test_beyond_that_they_take_turns_of_a_second_at_least_and_of_the_wait_at_most(watches: int) -> None:
    askers = so_many(watches)
    budget = a_budget(askers)
    assert all(1.0 <= budget.turn(30.0) <= 30.0 for _ in range(1000))
    assert all(budget.turn(1.0) == 1.0 for _ in range(1000))


def test_the_more_watches_the_shorter_are_their_turns() -> None:
    askers = so_many(2 * CONNECTIONS)
    means = []
    for watches in (CONNECTIONS, CONNECTIONS + 16, CONNECTIONS + 64, 2 * CONNECTIONS):
        budget = a_budget(askers[:watches])
        means.append(sum(budget.turn(30.0) for _ in range(1000)) / 1000)
    assert means == pytest.approx([30.0, 8.0, 2.0, 1.0], rel=0.1)


def test_turns_do_not_end_at_once_for_all_who_began_at_once() -> None:
    askers = so_many(CONNECTIONS + 16)
    budget = a_budget(askers)
    turns = sorted(budget.turn(30.0) for _ in range(CONNECTIONS))
    assert turns[CONNECTIONS // 4] < 0.75 * turns[3 * CONNECTIONS // 4]


def test_a_watch_that_nobody_has_any_more_needs_no_turn() -> None:
    askers = so_many(2)
    budget = a_budget(askers, connections=1)
    assert budget.turn(30.0) < 30.0
    askers.pop()
    gc.collect()
    assert budget.turn(30.0) == 30.0
