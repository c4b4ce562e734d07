"""A reload or restart of HAProxy that dynsrv did not cause is noticed, and the servers are there again at once."""

from __future__ import annotations

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import load
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers


async def _all_serve_again(haproxy: HAProxy, servers: list[WebServer], *, old: int) -> None:
    """Wait until another process has all servers serving."""
    wanted = {server.port for server in servers}

    async def again() -> bool:
        try:
            return await haproxy.pid() != old and await haproxy.ready_ports() == wanted
        except OSError:
            return False

    await eventually(again)


async def test_after_a_reload_what_served_just_before_serves_at_once(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(master_worker=True)
    servers = await web_servers(5)
    # a check that takes long: whoever waited for it would not serve within this test
    slow = {"check": True, "inter": "1s", "rise": 1}
    controller = dynsrv(haproxy, backend={"server": slow, "limits": {}}, resync={"interval": "1h", "probe": "200ms"})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await controller.logged(Event.BACKEND_IN_SYNC)
    old = await haproxy.begin_reload()
    await _all_serve_again(haproxy, servers, old=old)
    line = await controller.logged(Event.HAPROXY_RELOADED)
    assert f"old_pid={old}" in line
    await controller.logged(Event.SERVER_ENABLED, "it was serving before HAProxy was reloaded or restarted")


@pytest.mark.parametrize("way", ["-sf", "SIGUSR2", "SIGKILL"])
async def test_a_reload_under_load_costs_requests_only_until_the_servers_are_back(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, *, way: str
) -> None:
    haproxy = await a_haproxy(master_worker=way == "SIGUSR2")
    servers = await web_servers(5)
    controller = dynsrv(haproxy, backend={"limits": {}}, resync={"interval": "1h", "probe": "200ms"})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await controller.logged(Event.BACKEND_IN_SYNC)
    async with load(haproxy.frontend) as counts:
        await eventually(lambda: counts.sent > 200)
        old = await haproxy.pid()
        match way:
            case "-sf":
                await haproxy.replace()
            case "SIGUSR2":
                await haproxy.begin_reload()
            case _:
                await haproxy.stop(kill=True)
                await haproxy.start()
        await _all_serve_again(haproxy, servers, old=old)
        sent = counts.sent
        await eventually(lambda: counts.sent > sent + 200)  # what was on its way has had its answer
        failed = counts.failed.total()
        await eventually(lambda: counts.sent > sent + 700)
    assert counts.failed.total() == failed  # none after that


async def test_with_the_master_cli_a_reload_is_noticed_without_asking(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(master_worker=True)
    servers = await web_servers(5)
    controller = dynsrv(haproxy, resync={"interval": "1h", "probe": "1h"})
    text = controller.configuration.read_text()
    controller.configuration.write_text(text.replace("- address:", f"- master: {haproxy.master}\n  address:"))
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await controller.logged(Event.BACKEND_IN_SYNC)
    for _ in range(2):
        old = await haproxy.begin_reload()
        await _all_serve_again(haproxy, servers, old=old)


async def test_a_restart_is_noticed_by_the_sockets_file_without_asking(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(5)
    controller = dynsrv(haproxy, resync={"interval": "1h", "probe": "1h"})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await controller.logged(Event.BACKEND_IN_SYNC)
    old = await haproxy.pid()
    await haproxy.stop(kill=True)
    await haproxy.start()
    await _all_serve_again(haproxy, servers, old=old)


async def test_a_change_at_the_moment_of_a_reload_ends_up_in_the_new_process(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(master_worker=True)
    servers = await web_servers(30)
    controller = dynsrv(haproxy, backend={"limits": {}}, resync={"interval": "1h", "probe": "200ms"})
    controller.want(servers[:5])
    await controller.start()
    await serves(haproxy, servers[:5])
    await controller.logged(Event.BACKEND_IN_SYNC)
    for size in (10, 20, 30):
        controller.want(servers[:size])
        if size == 20:  # once not before, but after the change was seen
            await controller.logged("endpoints=20")
        old = await haproxy.begin_reload()
        await _all_serve_again(haproxy, servers[:size], old=old)


async def test_an_old_worker_ends_though_dynsrv_talked_to_it(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(master_worker=True)
    servers = await web_servers(2)
    controller = dynsrv(haproxy)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await controller.logged(Event.BACKEND_IN_SYNC)
    old = await haproxy.pid()
    await haproxy.reload()
    await eventually(lambda: not haproxy.lives(old))  # an idle connection of ours lives for a second
