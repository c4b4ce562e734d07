"""A new server gets no request before its check passed; without a check, or if told so, it gets them at once."""

from __future__ import annotations

from contextlib import AsyncExitStack

from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers


async def test_a_server_that_listens_late_gets_no_request_until_its_check_passed(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, stack: AsyncExitStack
) -> None:
    (early,) = await web_servers(1)
    late = await stack.enter_async_context(WebServer())
    controller = dynsrv(haproxy)
    controller.want([early, late])
    await controller.start()
    await eventually(lambda: _waits(haproxy, late))
    answered = [await request(haproxy.frontend) for _ in range(500)]
    assert set(answered) == {early.port}
    assert (await haproxy.servers())[f"dyn-127.0.0.1:{late.port}"].total == 0
    await late.start()
    await serves(haproxy, [early, late])
    assert {await request(haproxy.frontend) for _ in range(4)} == {early.port, late.port}


async def _waits(haproxy: HAProxy, server: WebServer) -> bool:
    """Whether the check of *server* failed at least once, in maintenance, and the other server serves."""
    row = (await haproxy.servers()).get(f"dyn-127.0.0.1:{server.port}")
    return row is not None and row.maintenance and row.check_result == 2 and bool(await haproxy.ready_ports())


async def test_without_a_check_a_server_gets_requests_at_once(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(2)
    controller = dynsrv(haproxy, backend={"server": {"check": False}})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    assert {row.status for row in (await haproxy.servers()).values()} == {"no check"}


async def test_admitted_at_once_a_server_gets_requests_before_its_check_ran(
    a_haproxy: StartHAProxy, dynsrv: Install, web_servers: WebServers
) -> None:
    haproxy = await a_haproxy()
    (server,) = await web_servers(1)
    controller = dynsrv(haproxy, backend={"server": {"check": True, "inter": "1h"}, "admit": "immediately"})
    controller.want([server])
    await controller.start()
    await serves(haproxy, [server])
    assert await request(haproxy.frontend) == server.port


async def test_an_endpoint_that_the_source_wants_drained_gets_no_new_request(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    one, two = await web_servers(2)
    controller = dynsrv(haproxy)
    controller.want([one, {**two.endpoint, "state": "drain"}])
    await controller.start()

    async def drains() -> bool:
        row = (await haproxy.servers()).get(f"dyn-127.0.0.1:{two.port}")
        return row is not None and row.draining and await haproxy.ready_ports() == {one.port}

    await eventually(drains)
    assert {await request(haproxy.frontend) for _ in range(6)} == {one.port}
    finished = await controller.run("status")
    assert finished.code == 0, finished  # as desired
    controller.want([one, two])
    await serves(haproxy, [one, two])
