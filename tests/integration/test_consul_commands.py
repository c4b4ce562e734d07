"""The commands ask Consul themselves: what `check --live` tells, and what `apply` does without a daemon."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.integration.support.consul import Consul, StartConsul, binary
from tests.integration.support.controller import Dynsrv, Finished, Install, from_consul, register
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.load import load
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version

UNKNOWN = "00000000-0000-4000-8000-000000000000"
READ_SERVICES = 'service_prefix "" { policy = "read" }'
READ_NODES = 'node_prefix "" { policy = "read" }'
NO_HOST_NAME = "expected an IPv4 or IPv6 address: HAProxy resolves no host name of a server added at runtime"
ENTERPRISE = 'Bad request: Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature'
POLICY = 'service "web" {policy = "read"} and node_prefix "" {policy = "read"}'
NEEDED = f"give it (without one: the anonymous token) a policy with {POLICY}"


async def _check(dynsrv: Install, haproxy: HAProxy, **sources: Mapping[str, object]) -> dict[str, list[str]]:
    """Return what `check --live` says of each source, and that it fails if anything is bad."""
    backends = [{"name": name, "source": source} for name, source in sources.items()]
    checked: Finished = await dynsrv(haproxy, backends=backends).run("check", "--live")
    found = defaultdict(list)
    for line in checked.out.splitlines():
        verdict, what, *words = line.split()
        if what == "source":
            found[words[1]].append(f"{verdict}: {' '.join(words[3:])}")
    assert checked.code == (1 if "bad" in checked.out else 0), checked
    return found


async def test_check_live_tells_what_it_finds_of_consul(
    haproxy: HAProxy, a_consul: StartConsul, web_servers: WebServers, dynsrv: Install
) -> None:
    consul = await a_consul(acl=True)
    one, *_ = servers = await web_servers(3)
    await register(consul, *servers)
    await consul.set_status(f"web-{one.port}", "warning")
    rules = READ_SERVICES + READ_NODES + 'agent_prefix "" { policy = "read" }'
    token = await consul.a_token(await consul.a_policy("dynsrv", rules))
    await eventually(lambda: _has(consul, {"passing": 2, "warning": 1}))
    found = await _check(dynsrv, haproxy, be_app=from_consul(consul.url, token=token))
    assert found["be_app"] == [
        f"good: {consul.url} answers: Consul 1.8.7, node consul, datacenter dc1",
        f"good: its servers have a leader, 127.0.0.1:{consul.ports['server']}",
        "good: the token may read the service web and all nodes",
        "good: the service web has 3 instances: 2 passing, 1 warning",
        "good: 3 endpoints",
    ]


async def _has(consul: Consul, counts: dict[str, int]) -> bool:
    instances = (await consul.health("web")).json
    return counts == Counter(max(check["Status"] for check in one["Checks"]) for one in instances)


async def test_check_live_tells_what_is_wrong_and_what_to_do(
    haproxy: HAProxy, a_consul: StartConsul, dynsrv: Install, stack: AsyncExitStack
) -> None:
    consul, gone, closed = await a_consul(), await a_consul(), await a_consul(acl=True)
    await gone.kill()
    for one in (consul, closed):
        for service in ("web", "web-api", "mail"):
            await one.register(service, address="127.0.0.1", port=80)
    await consul.register("mail", address="mail.example", port=25)
    await eventually(lambda: _has(consul, {"passing": 1}))
    await eventually(lambda: _has(closed, {"passing": 1}))
    leaderless = Consul(durable=True, extra={"bootstrap_expect": 3})
    stack.push_async_callback(leaderless.close)
    await leaderless.launch()
    await eventually(lambda: _answers(leaderless))
    services = await closed.a_token(await closed.a_policy("services", READ_SERVICES))
    nodes = await closed.a_token(await closed.a_policy("nodes", READ_NODES))
    enough = await closed.a_token("services", "nodes")
    found = await _check(
        dynsrv,
        haproxy,
        down=from_consul(gone.url),
        one_of_two=from_consul([gone.url, consul.url]),
        none=from_consul(f"unix://{haproxy.socket}.none"),
        leader=from_consul(leaderless.url),
        near=from_consul(consul.url, service="webb"),
        far=from_consul(consul.url, service="zzz"),
        tags=from_consul(consul.url, tags=["https"]),
        note=from_consul(consul.url, service="mail"),
        datacenter=from_consul(consul.url, datacenter="dc9"),
        filter=from_consul(consul.url, filter="no such thing"),
        namespace=from_consul(consul.url, namespace="team"),
        other=from_consul(f"unix://{haproxy.frontend}"),
        file=from_consul(consul.url, token_file="no-token"),
        unknown=from_consul(closed.url, token=UNKNOWN),
        anonymous=from_consul(closed.url),
        services=from_consul(closed.url, token=services),
        nodes=from_consul(closed.url, token=nodes),
        enough=from_consul(closed.url, token=enough),
    )
    told = {name: sentences[-1] for name, sentences in found.items()}
    assert told.pop("file").endswith("/no-token: there is no such file; write it, or correct the path")
    assert told.pop("filter").startswith(
        f"bad: {consul.url} rejected the request: Failed to create boolean expression evaluator: "
    )
    assert told.pop("namespace").endswith("rejected the request (400): " + ENTERPRISE)
    assert told == {
        "down": f"bad: cannot connect to {gone.url}: Connection refused",
        "one_of_two": "good: 1 endpoints",
        "none": f"bad: cannot connect to unix://{haproxy.socket}.none: No such file or directory",
        "leader": f"bad: {leaderless.url} has no leader; see `consul members`",
        "near": "bad: the service webb has no instance; did you mean web?",
        "far": "bad: the service zzz has no instance; nothing is registered under this name",
        "tags": "bad: the service web has no instance that has the tags and matches the filter",
        "note": f'bad: mail-25 on consul is ignored: found "mail.example" and port 25, {NO_HOST_NAME}',
        "datacenter": f"bad: {consul.url} rejected the request: No path to datacenter",
        "other": f"bad: unix://{haproxy.frontend} failed (503): <html><body><h1>503 Service Unavailable</h1>",
        "unknown": f"bad: {closed.url} denied access: ACL not found; Consul does not know the token",
        "anonymous": f"bad: the token may not read service web, any node; {NEEDED}",
        "services": f"bad: the token may not read any node; {NEEDED}",
        "nodes": f"bad: the token may not read service web; {NEEDED}",
        "enough": "good: 1 endpoints",
    }
    for name in ("unknown", "anonymous", "services", "nodes", "enough"):
        assert found[name][0] == f"good: {closed.url} answers"  # its version is not for everybody to know


async def _answers(consul: Consul) -> bool:
    try:
        return (await consul.ask("/v1/status/leader")).status == 200
    except OSError:
        return False


async def test_plan_and_apply_ask_consul_themselves(
    haproxy: HAProxy, consul: Consul, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(3)
    await register(consul, *servers[:2])
    controller = dynsrv(haproxy, backend={"source": from_consul(consul.url)})
    planned = await controller.run("plan", "--json")
    assert planned.code == 2, planned
    (backend,) = planned.json["backends"]
    assert {step["port"] for step in backend["steps"] if step["step"] == "add"} == {one.port for one in servers[:2]}
    assert await haproxy.servers() == {}
    await _applied(controller)
    await serves(haproxy, servers[:2])

    await register(consul, servers[2])
    await consul.deregister(f"web-{servers[0].port}")
    await _applied(controller)
    await serves(haproxy, servers[1:])
    assert (await controller.run("plan")).code == 0

    await consul.kill()
    for command in ("plan", "apply"):
        failed = await controller.run(command)
        assert failed.code == 1, failed
        assert f"cannot connect to {consul.url}: Connection refused" in failed.out
    await serves(haproxy, servers[1:])


async def test_two_applies_at_once_do_no_harm(
    haproxy: HAProxy, consul: Consul, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(8)
    await register(consul, *servers[:4])
    controller = dynsrv(haproxy, backend={"source": from_consul(consul.url)})
    await _applied(controller)
    await serves(haproxy, servers[:4])
    async with load(haproxy.frontend) as counts:
        await register(consul, *servers[4:])
        for server in servers[:4]:
            await consul.deregister(f"web-{server.port}")
        applied = await asyncio.gather(*(controller.run("apply") for _ in range(3)))
        await serves(haproxy, servers[4:])
    assert {one.code for one in applied} == {0}, applied
    assert counts.sent > 0
    assert not counts.failed


async def test_consul_watch_applies_what_changed(
    haproxy: HAProxy, consul: Consul, web_servers: WebServers, dynsrv: Install, *, stack: AsyncExitStack
) -> None:
    controller = dynsrv(haproxy, backend={"source": from_consul(consul.url)})
    where = ["-http-addr", consul.url, "-type=service", "-service=web"]
    await stack.enter_async_context(_running(controller, str(binary()), "watch", *where, *_handler(controller)))
    await _follows(consul, haproxy, web_servers)
    await _over(controller)


async def test_a_watch_of_the_agent_applies_what_changed(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, stack: AsyncExitStack
) -> None:
    consul = Consul()
    controller = dynsrv(haproxy, backend={"source": from_consul(consul.url)})
    watch = {"type": "service", "service": "web", "passingonly": False, "handler_type": "script"}
    consul.configure({"watches": [{**watch, "args": _handler(controller)}]})
    await stack.enter_async_context(consul)
    await _follows(consul, haproxy, web_servers)
    await _over(controller)


async def _follows(consul: Consul, haproxy: HAProxy, web_servers: WebServers) -> None:
    servers = await web_servers(3)
    await register(consul, *servers[:2])

    async def first() -> bool:
        return await haproxy.ready_ports() == {server.port for server in servers[:2]}

    # A watch of the agent that met no leader yet asks again after 5 s, then after 20 s more.
    await eventually(first, within=60)
    await consul.set_status(f"web-{servers[0].port}", "critical")
    await serves(haproxy, servers[1:2])
    await register(consul, servers[2])
    await serves(haproxy, servers[1:])


async def _over(controller: Dynsrv) -> None:
    """Wait until no handler runs, and let none run any more."""
    holds = await asyncio.create_subprocess_exec("flock", _lock(controller), "rm", str(controller.configuration))
    assert await holds.wait() == 0


def _lock(controller: Dynsrv) -> str:
    return str(controller.folder / "lock")


def _handler(controller: Dynsrv) -> list[str]:
    """Return the recipe of docs/consul.md."""
    return ["flock", _lock(controller), *controller.command("apply", "--backend", "be_app")]


async def _applied(controller: Dynsrv) -> None:
    applied = await controller.run("apply")
    assert applied.code == 0, applied
    assert "be_app on lb1: in sync after" in applied.out


@asynccontextmanager
async def _running(controller: Dynsrv, *command: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(*command, env=controller.environment)
    try:
        yield
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
