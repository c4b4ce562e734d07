"""Clients that stick to a server go on coming while it drains: none of their requests is lost when it goes."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import BadAnswer, load, request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

STICKY = "balance roundrobin\nstick-table type string len 32 size 1k\nstick on url_param(client)"
CLIENTS = 24
SECONDS = 0.1
TIMEOUT = 1.0


async def _sticky(
    a_haproxy: StartHAProxy, servers: list[WebServer], dynsrv: Install, *, limits: dict[str, object] | None = None
) -> tuple[HAProxy, Dynsrv]:
    haproxy = await a_haproxy(backend=STICKY)
    controller = dynsrv(haproxy, backend={"drain": {"timeout": f"{TIMEOUT}s"}})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    return haproxy, controller


async def test_a_server_goes_without_losing_a_request_of_clients_that_stick_to_it(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, stack: AsyncExitStack
) -> None:
    servers = await web_servers(2)
    for server in servers:
        server.latency = SECONDS
    haproxy, controller = await _sticky(a_haproxy, servers, dynsrv)
    loads = [
        await stack.enter_async_context(load(haproxy.frontend, workers=1, path=f"/?client={number}"))
        for number in range(CLIENTS)
    ]
    for removals in range(1, 4):
        await eventually(lambda: all(one.sent >= 10 for one in loads))
        await serves(haproxy, servers)
        leaving = servers[removals % 2]
        came = leaving.requests
        controller.want([one for one in servers if one is not leaving])
        await eventually(lambda: len(controller.lines(Event.SERVER_DELETED)) == removals)  # noqa: B023
        assert leaving.requests > came + CLIENTS  # they stuck to it in its drain
        controller.want(servers)
    lost = sum((one.failed for one in loads), start=type(loads[0].failed)())
    assert not lost
    assert not controller.lines(Event.SESSIONS_CLOSED)


async def test_a_session_that_begins_in_a_drain_has_as_much_time_as_one_that_began_before(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    (server,) = await web_servers(1)
    haproxy, controller = await _sticky(a_haproxy, [server], dynsrv)
    await request(haproxy.frontend, "/?client=1")
    before = asyncio.create_task(request(haproxy.frontend, "/slow?client=2", timeout=60))
    await eventually(lambda: server.slow_running == 1)
    controller.want([])
    await controller.logged(Event.SERVER_DRAINING)
    await asyncio.sleep(TIMEOUT / 2)
    began = time.monotonic()
    late = asyncio.create_task(request(haproxy.frontend, "/slow?client=1", timeout=60))
    await eventually(lambda: server.slow_running == 2)
    with pytest.raises((BadAnswer, OSError)):
        await late
    lasted = time.monotonic() - began
    assert TIMEOUT <= lasted < 3 * TIMEOUT
    with pytest.raises((BadAnswer, OSError)):
        await before
    await serves(haproxy, [])
