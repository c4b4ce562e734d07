"""An agent on a server's host decides about its weight and state, except when dynsrv takes the server away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, Row, serves
from tests.integration.support.load import load
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers


class Agent:
    """Says *reply* to whoever connects, and counts how often it did."""

    def __init__(self, reply: str) -> None:
        self.reply = reply
        self.asked = 0
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Agent]:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.asked += 1
            writer.write(f"{self.reply}\n".encode())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    @property
    def options(self) -> list[str]:
        return ["agent-check", f"agent-port {self.port}", "agent-inter 50ms"]

    async def is_asked(self) -> None:
        """Wait until HAProxy has heard what it says now."""
        asked = self.asked
        await eventually(lambda: self.asked >= asked + 3)


CHECKS = pytest.mark.parametrize("check", [True, False], ids=["checked", "unchecked"])


async def _started(
    haproxy: HAProxy, server: WebServer, dynsrv: Install, agent: Agent, *, check: bool, weight: int = 100
) -> Dynsrv:
    health = {"check": True, "inter": "100ms", "fall": 1, "rise": 1} if check else {"check": False}
    controller = dynsrv(haproxy, backend={"server": {**health, "options": agent.options}}, resync={"interval": "200ms"})
    controller.want([{**server.endpoint, "weight": weight}])
    await controller.start()
    await serves(haproxy, [server])
    await controller.logged(Event.BACKEND_IN_SYNC)
    return controller


async def _row(haproxy: HAProxy) -> Row:
    (row,) = (await haproxy.servers()).values()
    return row


@CHECKS
async def test_the_weight_and_the_state_that_an_agent_gives_stay_and_are_told_as_its_own(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, stack: AsyncExitStack, *, check: bool
) -> None:
    (server,) = await web_servers(1)
    agent = await stack.enter_async_context(Agent("up 50%").running())
    controller = await _started(haproxy, server, dynsrv, agent, check=check)

    async def has(admin: int, weight: int) -> bool:
        row = await _row(haproxy)
        return (row.admin, row.weight) == (admin, weight)

    for reply, admin, weight, says in (
        ("up 50%", 0, 50, "as desired; its agent gives it weight 50 of 100"),
        ("0%", 0, 0, "its agent gives it weight 0 of 100: it receives no requests"),
        ("drain", 8, 0, "put into drain by its agent, or by hand; it returns when either sets it to ready"),
        ("ready 75%", 0, 75, "as desired; its agent gives it weight 75 of 100"),
        ("maint", 1, 75, "put into maint by its agent, or by hand"),
        ("ready 100%", 0, 100, "as desired"),
    ):
        agent.reply = reply
        await eventually(lambda: has(admin, weight))  # noqa: B023
        await agent.is_asked()
        status = await controller.run("status")
        assert status.code == 0, status
        assert says in " ".join(status.out.split())
        assert await has(admin, weight)  # over several resyncs
    assert not controller.lines(Event.DRIFT_DETECTED)
    assert not controller.lines(Event.SERVER_HELD)
    assert len(controller.lines(Event.SERVER_HELD_BY_AGENT)) == 2


async def test_an_agent_that_says_ready_ends_no_drain_and_no_request_is_lost(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, stack: AsyncExitStack
) -> None:
    stays, goes = servers = await web_servers(2)
    agent = await stack.enter_async_context(Agent("up ready 100%").running())
    check = {"check": True, "inter": "100ms", "fall": 1, "rise": 1}
    controller = dynsrv(haproxy, backend={"server": {**check, "options": agent.options}})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await agent.is_asked()
    for one in servers:
        one.latency = 0.02
    async with load(haproxy.frontend, workers=6) as counts:
        for _ in range(3):
            controller.want([stays])
            await serves(haproxy, [stays])
            came = goes.requests
            await agent.is_asked()
            assert goes.requests == came
            controller.want(servers)
            await serves(haproxy, servers)
    assert not counts.failed
    assert counts.answered[goes.port]
    deleted = len(controller.lines(Event.SERVER_DELETED))
    assert deleted == 3
    assert len(controller.lines(Event.SERVER_DRAINING)) == deleted  # none had to begin again


async def test_another_weight_of_the_source_s_is_what_the_percentages_are_of(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, stack: AsyncExitStack
) -> None:
    (server,) = await web_servers(1)
    agent = await stack.enter_async_context(Agent("up 50%").running())
    controller = await _started(haproxy, server, dynsrv, agent, check=True, weight=100)

    async def weight(wanted: int) -> bool:
        return [row.weight for row in (await haproxy.servers()).values()] == [wanted]

    await eventually(lambda: weight(50))
    controller.want([{**server.endpoint, "weight": 40}])
    await eventually(lambda: weight(20))
    controller.want([{**server.endpoint, "weight": 0}])
    await eventually(lambda: weight(0))
    controller.want([{**server.endpoint, "weight": 40}])
    await eventually(lambda: weight(20))
