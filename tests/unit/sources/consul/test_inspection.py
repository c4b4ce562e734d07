from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from dynsrv.errors import SourceError
from dynsrv.sources.consul.endpoints import InstanceMapper
from dynsrv.sources.consul.source import ConsulSource
from tests.fakes.consul import NO_LEADER, A, Acl, B, FakeConsul, Trouble, an_instance
from tests.unit.sources.consul.watches import a_watch


def a_source(consul: FakeConsul, **watch: Any) -> ConsulSource:
    return ConsulSource(a_watch(consul, **watch), InstanceMapper(), backend="be_app")


async def inspection(source: ConsulSource) -> tuple[list[str], SourceError | None]:
    """Return what is found, and the error at which it ended."""
    sentences: list[str] = []
    try:
        async with aclosing(source.inspect()) as found:
            async for sentence in found:
                sentences.append(sentence)  # noqa: PERF401 - those before an error stay
    except SourceError as error:
        return sentences, error
    return sentences, None


async def test_an_inspection_tells_of_the_agent_its_leader_the_token_and_the_service() -> None:
    consul = FakeConsul(an_instance(1), an_instance(2), an_instance(3, status="critical"))
    found, error = await inspection(a_source(consul))
    assert error is None
    assert found == [
        f"{A} answers: Consul 1.8.7, node n0, datacenter dc1",
        "its servers have a leader, 10.0.0.100:8300",
        "ACLs are disabled: everybody may read everything",
        "the service web has 3 instances: 1 critical, 2 passing",
    ]
    assert (consul.entered, consul.at_once) == (0, 0)


async def test_with_acls_a_token_needs_no_more_than_a_watch_needs() -> None:
    consul = FakeConsul(an_instance(1))
    consul.acl = Acl()
    found, error = await inspection(a_source(consul))
    assert error is None
    assert found[0] == f"{A} answers"
    assert found[2] == "the token may read the service web and all nodes"


async def test_an_agent_that_does_not_answer_is_all_that_is_found() -> None:
    consul = FakeConsul(an_instance(1), addresses=(A, B))
    for agent in consul.agents.values():
        agent.fail(Trouble.DOWN)
    found, error = await inspection(a_source(consul))
    assert found == []
    assert error is not None
    assert error.reason == "unreachable"
    assert consul.entered == 0


async def test_the_agent_that_answers_is_the_one_that_is_told_of() -> None:
    consul = FakeConsul(an_instance(1), addresses=(A, B))
    consul.agents[A].fail(Trouble.DOWN)
    found, error = await inspection(a_source(consul))
    assert error is None
    assert found[0] == f"{B} answers: Consul 1.8.7, node n0, datacenter dc1"


async def test_servers_without_a_leader_are_found() -> None:
    consul = FakeConsul(an_instance(1))
    consul.lose_leader()
    found, error = await inspection(a_source(consul))
    assert found == [f"{A} answers: Consul 1.8.7, node n0, datacenter dc1"]
    assert error is not None
    assert (error.reason, str(error)) == (
        "leader",
        f"{A} has no leader; see `consul members`",
    )
    consul.agent.fail(NO_LEADER)
    _, error = await inspection(a_source(consul))
    assert error is not None
    assert error.reason == "leader"


@pytest.mark.parametrize(
    "acl", [Acl(known=False), Acl(services=()), Acl(nodes=()), Acl(nodes=("n1",)), Acl(denied={"service web"})]
)
async def test_a_token_that_may_not_read_the_service_or_any_node_is_found(acl: Acl) -> None:
    consul = FakeConsul(an_instance(1))
    consul.acl = acl
    found, error = await inspection(a_source(consul))
    assert found == [f"{A} answers", "its servers have a leader, 10.0.0.100:8300"]
    assert error is not None
    assert error.reason == "acl"


@pytest.mark.parametrize(
    ("known", "hint"),
    [
        (["webb", "database"], "; did you mean webb?"),
        (["web-1", "web-2", "db"], "; did you mean web-2 or web-1?"),
        (["database"], "; nothing is registered under this name"),
        ([], "; nothing is registered under this name"),
    ],
)
async def test_a_service_that_does_not_exist_is_found_with_names_that_are_near(known: list[str], hint: str) -> None:
    consul = FakeConsul(*(an_instance(number, service=name) for number, name in enumerate(known)))
    found, error = await inspection(a_source(consul))
    assert len(found) == 3
    assert error is not None
    assert (error.reason, str(error)) == ("request", f"the service web has no instance{hint}")
    assert consul.entered == 0


@pytest.mark.parametrize("query", [{"tags": ("green",)}, {"filter": 'Service.Meta.version == "2"'}])
async def test_tags_and_filters_that_no_instance_has_are_found(query: dict[str, Any]) -> None:
    consul = FakeConsul(an_instance(1, tags=("blue",), meta={"version": "1"}))
    _, error = await inspection(a_source(consul, **query))
    assert str(error) == "the service web has no instance that has the tags and matches the filter"
    consul.register(an_instance(2, tags=("blue", "green"), meta={"version": "2"}))
    found, error = await inspection(a_source(consul, **query))
    assert error is None
    assert found[-1] == "the service web has 1 instances: 1 passing"


@pytest.mark.parametrize(
    ("acl", "query", "said"),
    [
        (None, {"datacenter": "dc9"}, "No path to datacenter"),
        (Acl(), {"datacenter": "dc9"}, "No path to datacenter"),
        (None, {"namespace": "team"}, "Namespaces are a Consul Enterprise feature"),
        (Acl(), {"namespace": "team"}, 'unknown field "Namespace"'),
        (Acl(), {"partition": "team"}, 'unknown field "Partition"'),
        (None, {"filter": "x y"}, "Failed to create boolean expression evaluator"),
    ],
)
async def test_what_consul_refuses_is_told_in_its_words(acl: Acl | None, query: dict[str, Any], said: str) -> None:
    consul = FakeConsul(an_instance(1))
    consul.acl = acl
    _, error = await inspection(a_source(consul, **query))
    assert error is not None
    assert error.reason == "request"
    assert said in str(error)
