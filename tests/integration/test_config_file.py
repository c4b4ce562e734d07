"""HAProxy's own configuration is kept current: whoever reloads or restarts HAProxy finds the servers in place."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.integration.support.config_files import MARKED, keeping, kept_ports
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import load
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers


async def in_place(haproxy: HAProxy, servers: list[WebServer]) -> None:
    """Wait until *servers* serve, and the file has exactly them."""
    await serves(haproxy, servers)
    ports = {server.port for server in servers}
    await eventually(lambda: kept_ports(haproxy.configuration) == ports, within=5)


async def restart(haproxy: HAProxy, way: str) -> None:
    match way:
        case "-sf":
            await haproxy.replace()
        case "SIGUSR2":
            await haproxy.reload()
        case _:
            await haproxy.stop(kill=True)
            await haproxy.start()


@pytest.mark.parametrize("way", ["-sf", "SIGUSR2", "SIGKILL"])
async def test_without_dynsrv_a_new_process_has_the_servers_that_the_old_one_had(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, way: str
) -> None:
    haproxy = await a_haproxy(backend=MARKED, master_worker=way == "SIGUSR2")
    servers = await web_servers(4)
    controller = dynsrv(haproxy, proxies=keeping(haproxy))
    controller.want([{**servers[0].endpoint, "weight": 7, "name": "one"}, *servers[1:]])
    await controller.start()
    await in_place(haproxy, servers)
    before = await haproxy.servers()
    await controller.stop(signal.SIGKILL)
    async with load(haproxy.frontend) as counts:
        await eventually(lambda: counts.sent > 100)
        await restart(haproxy, way)
        sent = counts.sent
        await eventually(lambda: counts.sent > sent + 200)
    failed = {what: number for what, number in counts.failed.items() if "503" in what}
    assert not failed
    if way != "SIGKILL":  # which cuts connections
        assert not counts.failed
    after = await haproxy.servers()
    assert {name: (row.id, row.port, row.weight) for name, row in after.items()} == {
        name: (row.id, row.port, row.weight) for name, row in before.items()
    }
    plan = await controller.run("plan")
    assert plan.code == 0, plan


async def test_a_server_is_taken_out_of_the_file_before_its_drain_begins(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(backend=MARKED)
    servers = await web_servers(3)
    controller = dynsrv(haproxy, proxies=keeping(haproxy))
    controller.want(servers)
    await controller.start()
    await in_place(haproxy, servers)
    for left in (servers[:2], servers, servers[:1]):
        controller.want(left)
        ports = {server.port for server in left}

        async def done(ports: set[int] = ports) -> bool:
            ready = await haproxy.ready_ports()  # first: what is in the file afterwards was in it then, or less was
            named = kept_ports(haproxy.configuration)
            live = {row.port for row in (await haproxy.servers()).values()}
            assert named <= ready | ports, "the file has a server that no longer serves"
            return ready == named == live == ports

        await eventually(done, within=10)


async def test_a_hold_is_one_again_after_a_reload(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(backend=MARKED, master_worker=True)
    servers = await web_servers(3)
    controller = dynsrv(haproxy, proxies=keeping(haproxy), resync={"interval": "300ms"})
    controller.want(servers)
    await controller.start()
    await in_place(haproxy, servers)
    held = f"dyn-127.0.0.1:{servers[0].port}"
    await haproxy.do(f"set server be_app/{held} state maint")
    await eventually(lambda: kept_ports(haproxy.configuration, disabled=True) == {servers[0].port}, within=5)
    requests = servers[0].requests
    async with load(haproxy.frontend) as counts:
        for _ in range(3):
            await haproxy.reload()
            enough = counts.sent + 50
            await eventually(lambda enough=enough: counts.sent > enough)  # type: ignore[misc]
            assert (await haproxy.servers())[held].maintenance
    assert not counts.failed
    assert servers[0].requests == requests
    await haproxy.do(f"set server be_app/{held} state ready")
    await in_place(haproxy, servers)


async def test_nothing_is_written_where_nothing_changed_and_the_last_change_is_written_before_the_end(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(backend=MARKED)
    servers = await web_servers(3)
    controller = dynsrv(haproxy, proxies=keeping(haproxy), resync={"interval": "100ms"})
    controller.want(servers[:2])
    await controller.start()
    await in_place(haproxy, servers[:2])
    inode = haproxy.configuration.stat().st_ino
    await asyncio.sleep(1.5)  # some passes, and a second for another write
    assert haproxy.configuration.stat().st_ino == inode
    controller.want(servers)
    await serves(haproxy, servers)
    assert await controller.stop() == 0
    assert kept_ports(haproxy.configuration) == {server.port for server in servers}


@pytest.mark.any_version
async def test_dynsrv_apply_keeps_the_file_too(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(backend=MARKED)
    servers = await web_servers(3)
    controller = dynsrv(haproxy, proxies=keeping(haproxy))
    for wanted in (servers, servers[:1]):
        controller.want(wanted)
        assert (await controller.run("apply")).code == 0
        assert kept_ports(haproxy.configuration) == {server.port for server in wanted}
        await serves(haproxy, wanted)


async def test_a_server_whose_check_fails_is_not_in_the_file_unless_none_serves(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, dead: WebServer
) -> None:
    haproxy = await a_haproxy(backend=MARKED)
    (server,) = await web_servers(1)
    controller = dynsrv(haproxy, proxies=keeping(haproxy))
    controller.want([dead])
    await controller.start()
    await eventually(lambda: kept_ports(haproxy.configuration) == {dead.port}, within=5)
    controller.want([dead, server])
    await eventually(lambda: kept_ports(haproxy.configuration) == {server.port}, within=5)
    await server.stop()
    await eventually(lambda: kept_ports(haproxy.configuration) == {server.port, dead.port}, within=5)
