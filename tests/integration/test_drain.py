"""No request is lost when a server goes: it drains, and is deleted when nothing uses it any more."""

from __future__ import annotations

import asyncio
import time

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import BadAnswer, request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers


async def _a_slow_request(haproxy: HAProxy, server: WebServer) -> asyncio.Task[int]:
    """Start a request that *server*, the only one, answers when it is released."""
    task = asyncio.create_task(request(haproxy.frontend, "/slow", timeout=60))
    await eventually(lambda: server.slow_running == 1)
    return task


async def _drains(haproxy: HAProxy, server: WebServer) -> None:
    async def state() -> bool:
        return (await haproxy.servers())[f"dyn-127.0.0.1:{server.port}"].draining

    await eventually(state)


async def _started(
    haproxy: HAProxy, server: WebServer, dynsrv: Install, *, drain: dict[str, str]
) -> tuple[Dynsrv, asyncio.Task[int]]:
    controller = dynsrv(haproxy, backend={"drain": drain})
    controller.want([server])
    await controller.start()
    await serves(haproxy, [server])
    return controller, await _a_slow_request(haproxy, server)


async def test_a_running_request_is_answered_before_its_server_is_deleted(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    old, new = await web_servers(2)
    controller, slow = await _started(haproxy, old, dynsrv, drain={"timeout": "60s"})
    controller.want([new])
    await _drains(haproxy, old)
    await eventually(lambda: _only_ready(haproxy, new))
    assert {await request(haproxy.frontend) for _ in range(20)} == {new.port}
    assert not slow.done()
    old.release()
    assert await slow == old.port
    await serves(haproxy, [new])


async def _only_ready(haproxy: HAProxy, server: WebServer) -> bool:
    return await haproxy.ready_ports() == {server.port}


async def test_an_endpoint_that_returns_during_its_drain_is_put_back_instead_of_added_again(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    (server,) = await web_servers(1)
    controller, slow = await _started(haproxy, server, dynsrv, drain={"timeout": "60s"})
    before = (await haproxy.servers())[f"dyn-127.0.0.1:{server.port}"]
    controller.want([])
    await _drains(haproxy, server)
    controller.want([server])
    await serves(haproxy, [server])
    after = (await haproxy.servers())[before.name]
    assert after.id == before.id
    assert after.total >= before.total > 0  # the same server: its counters went on
    server.release()
    assert await slow == server.port


async def test_at_the_deadline_what_is_left_is_closed(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    (server,) = await web_servers(1)
    controller, slow = await _started(haproxy, server, dynsrv, drain={"timeout": "500ms", "on_timeout": "close"})
    controller.want([])
    await serves(haproxy, [])
    with pytest.raises((BadAnswer, ConnectionError)):
        await slow
    await controller.logged(Event.SESSIONS_CLOSED)


async def test_no_session_is_closed_before_the_time_of_the_drain_is_over(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    """Whenever within a second of HAProxy's it begins: 2.6 counts the age of a drain in whole seconds."""
    servers = await web_servers(7)
    controller = dynsrv(haproxy, backend={"drain": {"timeout": "1s"}})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    slow = [asyncio.create_task(_closed_at(haproxy)) for _ in servers]
    await eventually(lambda: all(server.slow_running == 1 for server in servers))
    removed_at = []
    for number in range(1, len(servers) + 1):
        removed_at.append(time.monotonic())
        controller.want(servers[number:])
        await asyncio.sleep(0.17)  # six of them make a second
    closed_at = sorted(await asyncio.gather(*slow))
    assert min(closed - removed for removed, closed in zip(removed_at, closed_at, strict=True)) >= 1


async def _closed_at(haproxy: HAProxy) -> float:
    """Send a request that nobody answers, and return when it was cut."""
    with pytest.raises((BadAnswer, OSError)):
        await request(haproxy.frontend, "/slow", timeout=60)
    return time.monotonic()


async def test_with_then_wait_what_is_left_after_the_deadline_may_end(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    (server,) = await web_servers(1)
    controller, slow = await _started(haproxy, server, dynsrv, drain={"timeout": "300ms", "on_timeout": "wait"})
    controller.want([])

    async def refused() -> bool:
        row = (await haproxy.servers())[f"dyn-127.0.0.1:{server.port}"]
        return row.maintenance and row.sessions == 1

    await eventually(refused)
    server.release()
    assert await slow == server.port
    await serves(haproxy, [])


async def test_a_deletion_that_haproxy_refuses_for_idle_connections_is_tried_until_it_succeeds(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(2)
    options = ["pool-max-conn -1", "pool-purge-delay 60s"]
    controller = dynsrv(haproxy, backend={"server": {"check": True, "inter": "100ms", "rise": 1, "options": options}})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await asyncio.gather(*(request(haproxy.frontend) for _ in range(60)))  # leaves idle connections to both
    controller.want([])
    await serves(haproxy, [])
    assert not controller.lines(Event.COMMAND_REJECTED)  # it was to be expected


async def test_a_stop_in_the_middle_of_a_drain_loses_nothing_and_the_next_start_goes_on(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    old, new = await web_servers(2)
    controller, slow = await _started(haproxy, old, dynsrv, drain={"timeout": "60s"})
    controller.want([new])
    await _drains(haproxy, old)
    await eventually(lambda: _only_ready(haproxy, new))
    assert await controller.stop() == 0  # and does not wait for it
    await _drains(haproxy, old)
    await controller.start()
    await controller.logged(Event.HAPROXY_CONNECTED)
    await _drains(haproxy, old)
    assert not slow.done()
    old.release()
    assert await slow == old.port
    await serves(haproxy, [new])


@pytest.mark.parametrize("version", ["2.6", "3.0", "3.2"])  # 3.3 and later refuse to start
async def test_a_drain_ends_with_the_last_session_though_a_frontend_has_the_backends_name(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    names = "\nfrontend be_api\n    default_backend be_api\nbackend be_api\n    balance roundrobin\n"
    haproxy = await a_haproxy(extra=names)
    servers = await web_servers(2)
    controller = dynsrv(haproxy, backend={"name": "be_api", "drain": {"timeout": "60s"}})
    controller.want(servers)
    await controller.start()
    await eventually(lambda: len(controller.lines(Event.SERVER_ENABLED)) == 2)
    controller.want(servers[1:])
    await controller.logged(Event.SERVER_DELETED, within=20)
