from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dynsrv.errors import SourceError
from dynsrv.sources.consul.transport import Response
from dynsrv.sources.consul.watch import RESTART_SPREAD
from tests.fakes.consul import Acl, Asked, FakeConsul, Trouble, an_instance
from tests.fakes.follower import following
from tests.unit.sources.consul.watches import LONGEST_WAIT, a_watch, nodes

TWO = (an_instance(1), an_instance(2))

DENIALS = {
    "service": Acl(denied={"service web"}),
    "all services": Acl(services=()),
    "all nodes": Acl(nodes=()),
    "everything": Acl(services=(), nodes=()),
    "unknown token": Acl(known=False),
}


def story(consul: FakeConsul, *, since: float = 0.0) -> list[str]:
    """What was asked, in short: how consistent, whether with an index, and whether the token may."""
    return [
        "may it?" if asked.permissions else f"{asked.consistency}{' from an index' if asked.index else ''}"
        for asked in consul.asked
        if asked.at >= since
    ]


def empty_by_default(asked: Asked, reply: Response) -> Response:
    return replace(reply, body=b"[]") if asked.service and asked.consistency == "default" else reply


@pytest.mark.parametrize("acl", [None, Acl()])
async def test_a_service_without_instances_is_told_when_consul_is_sure_and_the_token_may_read_it(
    acl: Acl | None,
) -> None:
    consul = FakeConsul()
    consul.acl = acl
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
    assert follower.told == [()]
    assert story(consul) == ["consistent", "may it?", "default from an index"]
    assert consul.permissions() == [["service web", "node "]]


@pytest.mark.parametrize("acl", [None, Acl()])
async def test_a_service_that_lost_its_instances_is_told_when_consul_is_sure_and_the_token_may_read_their_nodes(
    acl: Acl | None,
) -> None:
    consul = FakeConsul(*TWO)
    consul.acl = acl
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
        consul.deregister(*TWO)
        await asyncio.sleep(1)
    assert [nodes(told) for told in follower.told] == [["n1", "n2"], []]
    assert story(consul, since=1) == ["consistent", "may it?", "default from an index"]
    assert consul.permissions() == [["service web", "node n1", "node n2"]]


@pytest.mark.parametrize("acl", DENIALS.values(), ids=DENIALS)
async def test_with_a_token_that_may_not_read_a_service_is_never_empty(acl: Acl) -> None:
    consul = FakeConsul(*TWO)
    consul.acl = acl
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
    assert follower.told == []
    assert follower.reason == "acl"


@pytest.mark.parametrize("acl", DENIALS.values(), ids=DENIALS)
@pytest.mark.parametrize("newer", [True, False])
@pytest.mark.parametrize("gone", [True, False])
async def test_a_token_that_may_not_read_any_more_takes_no_instance_away(acl: Acl, *, newer: bool, gone: bool) -> None:
    consul = FakeConsul(*TWO)
    consul.acl = Acl()
    consul.tells_of_filtering = newer
    async with following(a_watch(consul).subscribe, retry=1.0) as follower:
        await asyncio.sleep(1)
        consul.acl = acl
        if gone:
            consul.deregister(*TWO)
        else:
            consul.register(an_instance(3))
        await asyncio.sleep(2 * LONGEST_WAIT)
    assert [nodes(told) for told in follower.told] == [["n1", "n2"]]
    assert follower.errors


async def test_the_error_names_what_the_token_may_not_read_and_the_policy_that_it_needs() -> None:
    consul = FakeConsul(*TWO)
    consul.acl = Acl(denied={"service web", "node n2"})
    watch = a_watch(consul)
    async with following(watch.subscribe) as follower:
        await asyncio.sleep(1)
        assert str(follower.error) == (
            "the token may not read service web; give it (without one: the anonymous token) a policy with "
            'service "web" {policy = "read"} and node_prefix "" {policy = "read"}'
        )
    consul.acl = Acl()
    async with following(watch.subscribe) as follower:
        await asyncio.sleep(1)
        consul.acl = Acl(nodes=("n1",))
        consul.register(an_instance(3))
        await asyncio.sleep(1)
        assert str(follower.error).startswith("the token may not read node n2; ")


async def test_a_consul_that_is_not_sure_that_a_service_is_empty_is_believed_what_it_is_sure_of() -> None:
    consul = FakeConsul(*TWO)
    consul.agent.between = empty_by_default
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
        assert [nodes(told) for told in follower.told] == [["n1", "n2"]]
        consul.register(an_instance(3))
        await asyncio.sleep(1)
        assert [nodes(told) for told in follower.told] == [["n1", "n2"], ["n1", "n2", "n3"]]


@pytest.mark.parametrize("first", [True, False])
async def test_without_most_of_its_servers_consul_is_not_believed_that_a_service_is_empty(*, first: bool) -> None:
    consul = FakeConsul() if first else FakeConsul(*TWO)
    async with following(a_watch(consul).subscribe, retry=5.0) as follower:
        consul.verified = not first
        await asyncio.sleep(1)
        consul.verified = False
        if not first:
            consul.deregister(*TWO)
        await asyncio.sleep(1)
        assert all(follower.told)
        assert follower.reason == "leader"
        consul.verified = True
        await asyncio.sleep(5 + RESTART_SPREAD)
        assert follower.latest == ()


async def test_without_a_leader_a_stale_answer_is_not_believed_that_a_service_is_empty() -> None:
    consul = FakeConsul(*TWO)
    async with following(a_watch(consul, stale=True).subscribe) as follower:
        await asyncio.sleep(1)
        consul.lose_leader()
        consul.register(an_instance(3))
        await asyncio.sleep(1)
        assert nodes(follower.latest) == ["n1", "n2", "n3"]
        assert follower.errors == []
        consul.deregister(*TWO, an_instance(3))
        await asyncio.sleep(1)
    assert nodes(follower.latest) == ["n1", "n2", "n3"]
    assert follower.reason == "leader"


async def test_a_service_that_stays_empty_is_doubted_once() -> None:
    consul = FakeConsul()
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(5 * LONGEST_WAIT)
    assert len(follower.told) > 4
    assert story(consul).count("consistent") == story(consul).count("may it?") == 1


async def test_after_an_outage_an_empty_service_is_doubted_anew() -> None:
    consul = FakeConsul()
    consul.acl = Acl()
    async with following(a_watch(consul).subscribe, retry=1.0) as follower:
        await asyncio.sleep(1)
        consul.agent.fail(Trouble.DOWN)
        await asyncio.sleep(1)
        consul.acl = Acl(nodes=())
        consul.register(an_instance(1))
        consul.agent.fail(None)
        await asyncio.sleep(10)
    assert follower.told == [()]
    assert isinstance(follower.errors[-1], SourceError)
    assert follower.errors[-1].reason == "acl"


async def test_who_could_not_be_asked_about_the_token_has_not_told_that_a_service_is_empty() -> None:
    consul = FakeConsul(*TWO)
    consul.agent.between = lambda asked, reply: Response(502, b"") if asked.permissions else reply
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
        consul.deregister(*TWO)
        await asyncio.sleep(1)
    assert [nodes(told) for told in follower.told] == [["n1", "n2"]]
    assert follower.reason == "server"


async def test_a_node_that_is_not_seen_any_more_is_told_when_the_token_may_read_it() -> None:
    consul = FakeConsul(*TWO)
    consul.acl = Acl()
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
        consul.deregister(an_instance(2))
        await asyncio.sleep(1)
    assert [nodes(told) for told in follower.told] == [["n1", "n2"], ["n1"]]
    assert story(consul, since=1) == ["default", "may it?", "default from an index"]
    assert consul.permissions() == [["service web", "node n2"]]


async def test_nodes_that_the_token_could_not_read_when_a_question_came_are_not_gone_when_it_is_answered() -> None:
    consul = FakeConsul(*TWO)
    consul.acl = Acl()
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
        consul.acl.denied = {"node n2"}
        await asyncio.sleep(LONGEST_WAIT + 5)  # Consul has read the next question's answer, and keeps it
        consul.acl.denied.clear()
        await asyncio.sleep(LONGEST_WAIT)
    assert follower.errors == []
    assert [nodes(told) for told in follower.told] == [["n1", "n2"]] * len(follower.told)
    assert len(follower.told) >= 3


async def test_nodes_that_the_token_may_not_read_any_more_are_not_gone() -> None:
    consul = FakeConsul(*TWO, an_instance(3))
    consul.acl = Acl()
    async with following(a_watch(consul).subscribe, retry=1.0) as follower:
        await asyncio.sleep(1)
        consul.acl.denied = {"node n2", "node n3"}
        consul.deregister(an_instance(1))
        await asyncio.sleep(LONGEST_WAIT)
        assert len(follower.told) == 1
        assert str(follower.errors[0]).startswith("the token may not read node n2, node n3; ")
        consul.acl.denied.clear()
        await asyncio.sleep(2 + RESTART_SPREAD)
        assert nodes(follower.latest) == ["n2", "n3"]


async def test_an_instance_that_leaves_others_on_its_node_raises_no_doubt() -> None:
    second = replace(an_instance(1), id="web-1b", port=81)
    consul = FakeConsul(an_instance(1), second)
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
        consul.deregister(second)
        await asyncio.sleep(1)
    assert [len(told) for told in follower.told] == [2, 1]
    assert consul.permissions() == []


async def test_instances_that_come_or_change_raise_no_doubt() -> None:
    consul = FakeConsul(*TWO)
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
        consul.register(an_instance(1, status="critical"), an_instance(3))
        await asyncio.sleep(1)
    assert len(follower.told) == 2
    assert set(story(consul)) == {"consistent", "default from an index"}


async def test_a_consul_that_says_that_something_was_left_out_is_believed() -> None:
    consul = FakeConsul(*TWO)
    consul.tells_of_filtering = True
    consul.acl = Acl(denied={"node n2"})
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
    assert follower.told == []
    assert follower.reason == "acl"
    assert "X-Consul-Results-Filtered-By-ACLs" in str(follower.error)


@pytest.mark.parametrize("left", [True, False])
async def test_what_was_known_before_an_outage_still_raises_doubts(*, left: bool) -> None:
    consul = FakeConsul(*TWO)
    consul.acl = Acl()
    watch = a_watch(consul)
    async with following(watch.subscribe) as follower:
        await asyncio.sleep(1)
        if not left:
            consul.agent.fail(Trouble.DOWN)
            await asyncio.sleep(1)
            assert follower.reason == "unreachable"
    consul.agent.fail(None)
    consul.acl.denied.add("node n2")
    async with following(watch.subscribe) as follower:
        await asyncio.sleep(1 + RESTART_SPREAD)
        assert follower.told == []
        assert follower.reason == "acl"


@pytest.mark.parametrize("count", [59, 60, 61, 63, 64, 200])
async def test_any_number_of_nodes_may_go_at_once(count: int) -> None:
    many = [an_instance(host) for host in range(1, count + 1)]
    consul = FakeConsul(*many)
    consul.acl = Acl()
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
        consul.deregister(*many)
        await asyncio.sleep(1)
    assert [len(told) for told in follower.told] == [count, 0]
    asked = [one for question in consul.permissions() for one in question]
    assert set(asked) == {"service web", *(f"node n{host}" for host in range(1, count + 1))}


@pytest.mark.parametrize("denied", ["n1", "n99", "n150"])
async def test_each_of_many_nodes_is_asked_about(denied: str) -> None:
    many = [an_instance(host) for host in range(1, 151)]
    consul = FakeConsul(*many)
    consul.acl = Acl()
    async with following(a_watch(consul).subscribe) as follower:
        await asyncio.sleep(1)
        consul.acl.denied.add(f"node {denied}")
        consul.deregister(*many)
        await asyncio.sleep(1)
    assert len(follower.told) == 1
    assert str(follower.error).startswith(f"the token may not read node {denied}; ")
