"""Whatever becomes of Consul's agents and servers, the servers in HAProxy stay, and are followed again soon after."""

from __future__ import annotations

import pytest

from dynsrv.logs import Event
from tests.integration.support.consul import Cluster, Consul, StartConsul
from tests.integration.support.consul_faults import FaultyConsul
from tests.integration.support.consul_stage import ConsulStage
from tests.integration.support.controller import Install, from_consul
from tests.integration.support.haproxy import HAProxy, StartHAProxy
from tests.integration.support.outage import BACKEND, backends
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version

SERVICE = 'service "web" { policy = "read" }'
NODES = 'node_prefix "" { policy = "read" }'
ALLOWED = f"{SERVICE} {NODES}"
ANONYMOUS = "00000000-0000-0000-0000-000000000002"
"""Of the token that those have who show none."""


async def answers(consul: Consul) -> bool:
    """Return whether Consul tells about the service, be it what is long past."""
    try:
        answer = await consul.health("web")
    except (OSError, EOFError):
        return False
    if answer.status == 200:
        print(f"{consul} answers with {len(answer.json)} instances and the index {answer.index}")
    return answer.status == 200


async def test_an_agent_that_ends_and_comes_back_with_its_data_changes_nothing(
    haproxy: HAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install
) -> None:
    consul = await a_consul(durable=True)
    source = from_consul(consul.url)
    stage = ConsulStage(haproxy, dynsrv, await web_servers(4), consul, sources={BACKEND: source}, by_agent=True)
    async with stage:
        for what, end in (("SIGKILL", consul.kill), ("SIGTERM", consul.terminate)):
            outage = await stage.outage()
            await end()
            await outage.is_told("unreachable")
            await consul.start()
            await outage.ends(what, sentences=5)


async def test_a_consul_that_lost_its_data_keeps_the_servers_until_they_are_registered_again(
    haproxy: HAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install
) -> None:
    consul = await a_consul(durable=True)
    source = from_consul(consul.url)
    async with ConsulStage(
        haproxy, dynsrv, await web_servers(4), consul, sources={BACKEND: source}, limits={}
    ) as stage:
        await stage.change()
        await stage.serves()
        await stage.change()
        await stage.serves()
        index = (await consul.health("web")).index
        outage = await stage.outage()
        await consul.kill()
        await outage.is_told("unreachable")
        consul.wipe()
        await consul.start()
        await stage.controller.logged(Event.REMOVAL_BLOCKED)
        assert "degraded: backend be_app on lb1: guard: " in await stage.get("/readyz")
        await outage.changes_nothing()
        await stage.register(stage.servers)
        assert (await consul.health("web")).index < index
        await outage.ends("data wiped", sentences=4)


async def test_a_consul_that_was_put_back_to_older_data_is_followed(
    haproxy: HAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install
) -> None:
    consul = await a_consul(durable=True)
    source = from_consul(consul.url)
    async with ConsulStage(haproxy, dynsrv, await web_servers(4), consul, sources={BACKEND: source}) as stage:
        await consul.kill()
        copy = consul.copy_data()
        await consul.start()
        for _ in range(2):
            await stage.change()
            await stage.serves()
        index = (await consul.health("web")).index
        outage = await stage.outage()
        await consul.kill()
        await outage.is_told("unreachable")
        consul.restore(copy)
        await consul.start()
        assert (await consul.health("web")).index < index
        await outage.ends("older data", sentences=4)


async def test_an_agent_that_hangs_is_asked_again_when_it_goes_on(
    haproxy: HAProxy, consul: Consul, web_servers: WebServers, dynsrv: Install
) -> None:
    source = from_consul(consul.url, wait="1s")
    async with ConsulStage(haproxy, dynsrv, await web_servers(4), consul, sources={BACKEND: source}) as stage:
        outage = await stage.outage()
        await consul.freeze()
        await outage.is_told("timeout", attempts=1)
        consul.thaw()
        await outage.ends("SIGSTOP, SIGCONT")


async def test_a_consul_that_reads_its_log_again_is_not_believed_before_it_is_done(
    haproxy: HAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install
) -> None:
    consul = await a_consul(durable=True)
    for generation in range(6):
        gone = [("127.0.0.1", 1000 + 400 * (generation % 2) + number) for number in range(400)]
        await consul.register_many("web", gone)
        await consul.deregister_many("web", gone)

    async with FaultyConsul(consul.url) as between:
        sources = {BACKEND: from_consul(between.url)}
        async with ConsulStage(haproxy, dynsrv, await web_servers(4), consul, sources=sources) as stage:
            outage = await stage.outage()
            await consul.kill()
            await outage.is_told("unreachable")
            # What dynsrv asks is kept back until Consul has a leader that has not caught up.
            between.fault = "silent"
            asked = len(between.requests)
            await eventually(lambda: len(between.requests) > asked)
            await consul.launch()
            await eventually(lambda: answers(consul))
            between.fault = None
            await eventually(lambda: outage.said(Event.SOURCE_RECOVERED, BACKEND))
            await outage.ends("a long log", sentences=4)


async def test_without_a_leader_or_a_quorum_the_servers_stay(
    a_haproxy: StartHAProxy, cluster: Cluster, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(extra=backends("be_stale", "be_all"))
    leader, (follower, other) = await cluster.leader(), await cluster.followers()
    sources = {
        BACKEND: from_consul(follower.url, wait="1s"),
        "be_stale": from_consul(follower.url, wait="1s", stale=True),
        "be_all": from_consul([leader.url, follower.url, other.url], wait="1s"),
    }
    blind = [BACKEND, "be_all"]
    async with ConsulStage(haproxy, dynsrv, await web_servers(4), follower, sources=sources) as stage:
        outage = await stage.outage(seen_by=blind)
        await leader.kill()
        await outage.is_told("server", "leader", "unreachable", attempts=1)
        await cluster.leader()
        await outage.ends("leader killed", sentences=4)

        outage = await stage.outage(seen_by=blind)
        await other.kill()
        await outage.is_told("server", "leader", "unreachable")
        await cluster.start()
        await outage.ends("quorum lost", sentences=6)


async def test_more_connections_than_consul_takes_are_asked_for_until_it_takes_them(
    a_haproxy: StartHAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(extra=backends("be_1", "be_2", "be_3"))
    consul = await a_consul(durable=True)
    # each has a question of its own
    sources = {name: from_consul(consul.url, wait=f"1{n}s") for n, name in enumerate((BACKEND, "be_1", "be_2", "be_3"))}
    async with ConsulStage(haproxy, dynsrv, await web_servers(4), consul, sources=sources) as stage:
        outage = await stage.outage()
        await consul.terminate()
        await outage.is_told("unreachable", attempts=1)
        consul.configure({"limits": {"http_max_conns_per_client": 2}})
        await consul.launch()

        async def two_are_refused() -> bool:
            refused = [line for line in outage.lines if "limits.http_max_conns_per_client" in line.get("error", "")]
            return len(refused) >= 2 and len(await stage.followed()) == 2

        await eventually(two_are_refused)
        consul.configure({})
        consul.reload()
        await eventually(lambda: answers(consul))
        # They share the connections that there are, so that now this one fails and now that.
        await outage.ends("too few connections", sentences=4, times=20)


async def test_whatever_a_token_may_not_read_is_told_and_takes_no_server_away(
    a_consul: StartConsul, haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    consul = await a_consul(acl=True)
    policy = await consul.a_policy("web", ALLOWED)
    token = await consul.a_token(policy)
    source = from_consul(consul.url, token=token, wait="1s")
    async with ConsulStage(haproxy, dynsrv, await web_servers(4), consul, sources={BACKEND: source}) as stage:
        await consul.register_many("web", [("127.0.0.1", stage.servers[0].port)], node="another")
        for rules in (NODES, SERVICE + 'node "elsewhere" { policy = "read" }', 'agent_prefix "" { policy = "read" }'):
            outage = await stage.outage()
            await consul.a_policy(policy, rules)
            await outage.is_told("acl")
            await consul.a_policy(policy, ALLOWED)
            await outage.ends(rules)
        outage = await stage.outage()
        await consul.delete_token(token)
        await outage.is_told("acl")
        await consul.a_token(policy, secret=token)
        await outage.ends("token deleted")


async def test_nodes_that_nobody_may_read_any_more_take_no_server_away(
    a_haproxy: StartHAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(extra=backends("be_anonymous"))
    consul = await a_consul(acl=True)
    policy = await consul.a_policy("web", ALLOWED)
    token = await consul.a_token(policy)
    await consul.do(f"/v1/acl/token/{ANONYMOUS}", {"Policies": [{"Name": policy}]})
    anonymous = from_consul(consul.url, wait="1s")
    sources = {BACKEND: {**anonymous, "token": token}, "be_anonymous": anonymous}
    async with ConsulStage(haproxy, dynsrv, await web_servers(4), consul, sources=sources) as stage:
        outage = await stage.outage()
        await consul.a_policy(policy, SERVICE)
        await outage.is_told("acl")
        await consul.a_policy(policy, ALLOWED)
        await outage.ends("no node:read")
