from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from dynsrv.errors import SourceError
from dynsrv.sources.consul import responses
from dynsrv.sources.consul.agents import MARGIN, Agents
from dynsrv.sources.consul.requests import Query
from dynsrv.sources.consul.responses import Instance
from dynsrv.sources.consul.transport import Response
from tests.fakes.consul import NO_LEADER, A, Acl, Asked, B, C, FakeConsul, Trouble, an_instance
from tests.unit.sources.consul.watches import nodes, some_agents

WEB = Query("web").instances()
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def cut(_: Asked, reply: Response) -> Response:
    return replace(reply, body=reply.body[:-20])


def a_consul(*addresses: str) -> FakeConsul:
    return FakeConsul(an_instance(1), addresses=addresses or (A, B, C))


async def ask(
    agents: Agents, *, index: int = 0, wait: float = 30.0, query: Query | None = None
) -> tuple[Instance, ...]:
    question = query.instances() if query else WEB
    instances, _ = await agents.request(question, responses.instances, index=index, wait=wait)
    return instances


async def the_error_of(agents: Agents, *, index: int = 0, query: Query | None = None) -> SourceError:
    async with agents.transport:
        with pytest.raises(SourceError) as caught:
            await ask(agents, index=index, query=query)
    return caught.value


def addresses(consul: FakeConsul) -> list[str]:
    return [asked.address for asked in consul.asked]


async def test_the_first_agent_is_asked_as_long_as_it_answers() -> None:
    consul = a_consul()
    agents = some_agents(consul)
    async with consul:
        for _ in range(3):
            assert nodes(await ask(agents)) == ["n1"]
    assert addresses(consul) == [A, A, A]


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Trouble.DOWN, "unreachable"),
        (Trouble.SILENT, "timeout"),
        (NO_LEADER, "leader"),
        (Response(500, b"rpc error making call: No cluster leader", 1), "leader"),
        (Response(500, b"rpc error making call: EOF", 1), "leader"),
        (Response(500, b"No known Consul servers", 1), "leader"),
        (Response(500, b"leadership lost while committing log", 1), "leader"),
        (Response(500, b"runtime error: index out of range", 1), "server"),
        (Response(502, HTML), "server"),
        (Response(503, b""), "server"),
        (Response(429, b"Your IP is issuing too many concurrent connections"), "overloaded"),
        (Response(302, b"", location="/login"), "invalid"),
        (Response(200, HTML, 99), "invalid"),
        (Response(200, b"", 99), "invalid"),
        (Response(200, b"null", 99), "invalid"),
        (Response(200, b"{}", 99), "invalid"),
        (Response(200, b"[{}]", 99), "invalid"),
        (Response(200, b"\xff\xfe\x00", 99), "invalid"),
        (Response(200, b"[" * 100_000, 99), "invalid"),
    ],
)
async def test_whatever_goes_wrong_with_an_agent_the_next_one_is_asked(
    trouble: Trouble | Response, reason: str
) -> None:
    consul = a_consul(A, B)
    consul.agent.fail(trouble)
    agents = some_agents(consul)
    with capture_logs() as logs:
        async with consul:
            assert nodes(await ask(agents)) == ["n1"]
    assert addresses(consul) == [A, B]
    (line,) = logs
    assert (line["log_level"], line["agent"]) == ("warning", B)
    assert A in line["error"]
    consul.agents[B].fail(Trouble.DOWN)
    assert (await the_error_of(some_agents(consul))).reason == reason


async def test_an_answer_that_was_cut_off_is_none() -> None:
    consul = a_consul(A, B)
    consul.agent.between = cut
    agents = some_agents(consul)
    async with consul:
        assert nodes(await ask(agents)) == ["n1"]
    assert addresses(consul) == [A, B]


async def test_an_index_counts_for_the_agent_that_is_asked_first_and_for_no_other() -> None:
    consul = a_consul()
    consul.agents[A].fail(Trouble.DOWN)
    consul.agents[B].fail(Trouble.DOWN)
    agents = some_agents(consul)
    async with consul:
        await asyncio.wait_for(ask(agents, index=consul.catalog.index), 1)
    assert [(asked.address, asked.index, asked.wait) for asked in consul.asked] == [
        (A, consul.catalog.index, 30.0),
        (B, 0, 0.0),
        (C, 0, 0.0),
    ]


async def test_an_agent_that_was_given_up_is_asked_again_when_all_others_have_failed() -> None:
    consul = a_consul()
    agents = some_agents(consul)
    consul.agents[A].fail(Trouble.DOWN)
    async with consul:
        await ask(agents)
        consul.agents[A].fail(None)
        await ask(agents)
        consul.agents[B].fail(Trouble.DOWN)
        await ask(agents)
        consul.agents[C].fail(Trouble.DOWN)
        await ask(agents)
        await ask(agents)
    assert addresses(consul) == [A, B, B, B, C, C, A, A]


async def test_many_questions_that_fail_at_once_move_on_by_one_agent_only() -> None:
    consul = a_consul()
    agents = some_agents(consul)
    async with consul:
        questions = [asyncio.create_task(ask(agents, index=consul.catalog.index)) for _ in range(5)]
        await asyncio.sleep(1)
        consul.agents[A].fail(Trouble.DOWN)
        await asyncio.gather(*questions)
    assert addresses(consul) == [A] * 5 + [B] * 5
    assert agents.address == B


async def test_questions_that_fail_one_after_the_other_move_on_by_one_agent_only() -> None:
    consul = a_consul()
    agents = some_agents(consul)
    consul.agents[A].fail(Trouble.SILENT)
    async with consul:
        questions = []
        for _ in range(5):
            questions.append(asyncio.create_task(ask(agents)))
            await asyncio.sleep(1)
        await asyncio.gather(*questions)
    assert addresses(consul) == [A] * 5 + [B] * 5
    assert agents.address == B


async def test_when_all_agents_fail_one_error_names_each() -> None:
    consul = a_consul()
    consul.agents[A].fail(Trouble.SILENT)
    consul.agents[B].fail(NO_LEADER)
    consul.agents[C].fail(Trouble.DOWN)
    error = await the_error_of(some_agents(consul))
    assert type(error) is SourceError
    assert str(error) == (
        f"{A} did not respond in time; {B} cannot reach the leader of the Consul servers (500); "
        f"cannot connect to {C}: Connection refused"
    )
    assert addresses(consul) == [A, B, C]


@pytest.mark.parametrize(
    ("troubles", "reason"),
    [
        ((Trouble.SILENT, NO_LEADER, Trouble.DOWN), "timeout"),
        ((Trouble.DOWN, NO_LEADER, Trouble.SILENT), "leader"),
        ((Trouble.DOWN, Trouble.DOWN, Response(502, b"")), "server"),
        ((Trouble.DOWN, Trouble.DOWN, Trouble.DOWN), "unreachable"),
    ],
)
async def test_the_reason_is_that_of_the_first_agent_that_could_be_reached(
    troubles: tuple[Trouble | Response, ...], reason: str
) -> None:
    consul = a_consul()
    for agent, trouble in zip(consul.agents.values(), troubles, strict=True):
        agent.fail(trouble)
    assert (await the_error_of(some_agents(consul))).reason == reason


async def test_after_all_have_failed_the_first_is_asked_again() -> None:
    consul = a_consul()
    for agent in consul.agents.values():
        agent.fail(Trouble.DOWN)
    agents = some_agents(consul)
    await the_error_of(agents)
    await the_error_of(agents)
    assert addresses(consul) == [A, B, C, A, B, C]


@pytest.mark.parametrize(
    ("query", "reason", "said"),
    [
        (Query("web", namespace="team"), "request", "rejected the request (400): Bad request: Invalid query parameter"),
        (Query("web", datacenter="dc9"), "request", "rejected the request: No path to datacenter"),
        (Query("web", filter="x y"), "request", "rejected the request: Failed to create boolean expression evaluator"),
    ],
)
async def test_a_wrong_question_is_not_asked_of_another_agent(query: Query, reason: str, said: str) -> None:
    consul = a_consul()
    error = await the_error_of(some_agents(consul), query=query)
    assert error.reason == reason
    assert str(error).startswith(f"{A} {said}")
    assert addresses(consul) == [A]


async def test_a_token_that_is_refused_is_not_shown_to_another_agent() -> None:
    consul = a_consul()
    consul.acl = Acl(known=False)
    agents = some_agents(consul)
    error = await the_error_of(agents)
    assert (error.reason, str(error)) == (
        "acl",
        f"{A} denied access: ACL not found; Consul does not know the token",
    )
    assert addresses(consul) == [A]
    assert agents.address == A


async def test_what_an_agent_says_is_shortened_to_what_is_fit_for_a_log() -> None:
    consul = a_consul(A)
    consul.agent.fail(Response(502, b"\x1b[31mbad " + b"x" * 10_000 + b"\nmore"))
    text = str(await the_error_of(some_agents(consul)))
    assert text.isprintable()
    assert text.startswith(f"{A} failed (502):  [31mbad xxx")
    assert len(text) < 400
    consul.agent.fail(Response(502, b" \n"))
    assert str(await the_error_of(some_agents(consul))) == f"{A} failed (502): no message"


@pytest.mark.parametrize(("index", "seconds"), [(0, MARGIN), (11, 30 * 17 / 16 + MARGIN)])
async def test_an_agent_has_as_long_as_consul_may_wait_and_a_margin(index: int, seconds: float) -> None:
    consul = a_consul(A)
    consul.agent.fail(Trouble.SILENT)
    clock = asyncio.get_running_loop().time
    error = await the_error_of(some_agents(consul), index=index)
    assert clock() == pytest.approx(seconds)
    assert str(error) == f"{A} did not respond in time"


async def test_consul_is_told_in_milliseconds_how_long_it_may_wait() -> None:
    consul = a_consul(A)
    async with consul:
        await ask(some_agents(consul), index=consul.catalog.index, wait=1.5)
    assert consul.asked[0].params == (("index", str(consul.catalog.index)), ("wait", "1500ms"))
