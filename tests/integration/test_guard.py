"""No plan takes away more than the limits allow: the rest waits, is told, and goes at once if an operator says so."""

from __future__ import annotations

import asyncio
import datetime
import json

import aiohttp
import pytest
import yaml

from dynsrv.logs import Event
from tests.integration.support.controller import FAST_CHECK, Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import load, request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

DEFAULTS: dict[str, dict[str, object]] = {"limits": {}}
FLAPPING_SECONDS = 20


async def _serving(haproxy: HAProxy, servers: list[WebServer], dynsrv: Install, **settings: object) -> Dynsrv:
    controller = dynsrv(haproxy, **{"backend": DEFAULTS, **settings})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    return controller


@pytest.mark.any_version
async def test_an_empty_list_keeps_every_server_until_an_operator_forces_it(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(3)
    controller = await _serving(haproxy, servers, dynsrv)
    controller.want([])
    await controller.logged(Event.REMOVAL_BLOCKED)
    assert "limits.on_empty: keep" in controller.log.read_text()
    await serves(haproxy, servers)
    status = await controller.run("status")
    assert status.code == 2, status
    assert "guard: the source lists no servers: keeping the 3 that are serving (limits.on_empty: keep)" in status.out
    applied = await controller.run("apply")
    assert applied.code == 1, applied
    assert "guard: the source lists no servers" in applied.out
    await serves(haproxy, servers)
    assert await controller.stop() == 0
    forced = await controller.run("apply", "--force")
    assert forced.code == 0, forced
    assert await haproxy.servers() == {}


@pytest.mark.any_version
async def test_plan_and_apply_respect_what_the_guard_of_the_running_daemon_blocks(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, unused_tcp_port: int
) -> None:
    servers = await web_servers(4)
    limits = {"limits": {"max_removed": 1, "window": "1h"}}
    web = {"listen": f"127.0.0.1:{unused_tcp_port}"}
    controller = await _serving(haproxy, servers, dynsrv, backend=limits, web=web)
    controller.want(servers[1:])
    await serves(haproxy, servers[1:])
    controller.want(servers[2:])  # a second removal within the window, of which only the daemon knows
    await controller.logged(Event.REMOVAL_BLOCKED)
    planned = await controller.run("plan")
    assert planned.code == 2, planned
    assert "limits.max_removed" in planned.out
    assert "drain" not in [word for line in planned.out.splitlines() for word in line.split()[:1]]
    assert "not known" not in planned.out
    status = await controller.run("status")
    assert "limits.max_removed" in status.out
    applied = await controller.run("apply")
    assert applied.code == 1, applied
    assert "guard of the running daemon: " in applied.out
    assert "limits.max_removed" in applied.out
    await serves(haproxy, servers[1:])
    assert await controller.stop() == 0
    alone = await controller.run("plan")
    assert alone.code == 2, alone
    assert "What the guard removed within its window is not known: no daemon could be asked at 127.0.0.1:" in alone.out


@pytest.mark.any_version
async def test_of_a_list_that_lost_most_of_its_servers_what_is_new_is_added_and_no_more_goes_than_the_limits_allow(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, unused_tcp_port: int
) -> None:
    *old, new = await web_servers(11)
    controller = await _serving(haproxy, old, dynsrv, web={"listen": f"127.0.0.1:{unused_tcp_port}"})
    controller.want([old[0], new])
    line = await controller.logged(Event.REMOVAL_BLOCKED)
    assert "9 of 11 serving servers would be removed: 6 now, 3 in 60 s at the earliest: at most 5 of 10 may" in line
    await eventually(lambda: _deleted(controller, 6))
    left = await haproxy.ready_ports()
    assert len(left) == 5
    assert left >= {old[0].port, new.port}
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{unused_tcp_port}/readyz") as answer:
            assert answer.status == 200
            told = await answer.text()
            assert (
                "degraded: backend be_app on lb1: guard: 3 of 5 serving servers would be removed: 0 now, 3 in" in told
            )
        async with session.get(f"http://127.0.0.1:{unused_tcp_port}/metrics") as answer:
            text = await answer.text()
            assert 'dynsrv_guard_refusals_total{backend="be_app",rule="max_removed"}' in text
            assert 'dynsrv_guarded_servers{backend="be_app",proxy="lb1",rule="max_removed"} 3.0' in text
    assert await haproxy.ready_ports() == left
    controller.want([*old, new])
    await serves(haproxy, [*old, new])


def _deleted(controller: Dynsrv, number: int) -> bool:
    return len(controller.lines(Event.SERVER_DELETED)) == number


@pytest.mark.any_version
async def test_after_a_restart_of_dynsrv_no_more_goes_at_once_than_the_limits_allow(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(10)
    controller = await _serving(haproxy, servers, dynsrv)
    assert await controller.stop() == 0
    controller.want(servers[:1])
    await controller.start()
    await controller.logged(Event.REMOVAL_BLOCKED)
    await eventually(lambda: _deleted(controller, 5))
    assert len(await haproxy.ready_ports()) == 5


async def test_a_scale_in_beyond_the_limit_takes_first_what_stops_and_the_rest_when_the_window_has_passed(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(5)
    stays, down, stops, *others = servers
    first, second = sorted(others, key=lambda server: server.port)
    controller = dynsrv(haproxy, backend={"limits": {"max_removed": 1, "window": "3s"}, "server": FAST_CHECK})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await down.stop()

    async def is_down() -> bool:
        return down.port not in await haproxy.ready_ports()

    await eventually(is_down)
    clock = asyncio.get_running_loop().time
    async with load(haproxy.frontend, workers=2, pause=0.01) as counts:
        controller.want([stays, {**stops.endpoint, "state": "drain"}])
        begun = clock()
        await eventually(lambda: _ready(haproxy, stays, first, second))
        assert clock() - begun < 3
        assert "3 of 4 serving servers would be removed: 1 now, 2 in 3 s" in await controller.logged(
            Event.REMOVAL_BLOCKED
        )
        await stops.stop()  # its process ends: it gets no requests any more
        await eventually(lambda: _ready(haproxy, stays, second))
        assert clock() - begun >= 2.9
        await eventually(lambda: _ready(haproxy, stays))
        assert clock() - begun >= 5.9
    assert not counts.failed


async def _ready(haproxy: HAProxy, *servers: WebServer) -> bool:
    return await haproxy.ready_ports() == {server.port for server in servers}


async def test_servers_that_haproxy_sees_down_may_go(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(4)
    controller = await _serving(haproxy, servers, dynsrv)
    for server in servers[1:]:
        await server.stop()

    async def down() -> bool:
        return await haproxy.ready_ports() == {servers[0].port}

    await eventually(down)
    controller.want(servers[:1])
    await serves(haproxy, servers[:1])
    assert not controller.lines(Event.REMOVAL_BLOCKED)


async def test_a_static_backup_server_does_not_stand_in_for_the_last_server(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    sorry, only = await web_servers(2)
    haproxy = await a_haproxy(backend=f"balance roundrobin\nserver sorry 127.0.0.1:{sorry.port} backup")
    controller = dynsrv(haproxy, backend={"limits": {"max_removed": "100%", "min_ready": 1}})
    controller.want([only])
    await controller.start()
    await serves(haproxy, [sorry, only])
    controller.want([{**only.endpoint, "weight": 0}])
    await controller.logged(Event.REMOVAL_BLOCKED)
    assert "fewer than limits.min_ready: 1" in controller.log.read_text()
    assert {await request(haproxy.frontend) for _ in range(10)} == {only.port}


async def test_servers_and_backup_servers_are_judged_apart(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    *active, third, fourth = servers = await web_servers(4)
    backups = [{**one.endpoint, "options": ["backup"]} for one in (third, fourth)]
    controller = dynsrv(haproxy, backend={"limits": {"window": "1s"}})
    controller.want([*active, *backups])
    await controller.start()
    await serves(haproxy, servers)
    controller.want(backups)  # two of four, but all that get requests
    await controller.logged(Event.REMOVAL_BLOCKED)
    assert {await request(haproxy.frontend) for _ in range(10)} & {one.port for one in active}
    controller.want([*active, *backups[1:]])  # half of the backup servers
    await serves(haproxy, [*active, fourth])
    controller.want(active)  # the last one may go while others serve
    await serves(haproxy, active)


@pytest.mark.any_version
async def test_an_override_lets_everything_through_until_it_expires(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(4)
    controller = await _serving(haproxy, servers, dynsrv)
    assert await controller.stop() == 0
    settings = yaml.safe_load(controller.configuration.read_text())
    now = datetime.datetime.now(datetime.UTC)
    for until, left in ((now - datetime.timedelta(hours=1), 4), (now + datetime.timedelta(hours=1), 1)):
        settings["backends"][0]["limits"] = {"max_removed": 0, "override_until": until.isoformat()}
        controller.configuration.write_text(json.dumps(settings))
        controller.want(servers[:1])
        assert (await controller.run("apply")).code == (1 if left == 4 else 0)
        await serves(haproxy, servers[:left])


@pytest.mark.any_version
async def test_a_source_that_flaps_loses_no_request_and_never_more_servers_than_the_limits_allow(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(6)
    controller = await _serving(haproxy, servers, dynsrv)
    fewest = 6
    async with load(haproxy.frontend, workers=4) as counts:
        for second in range(FLAPPING_SECONDS):
            controller.want(([], servers, servers[:1], servers)[second % 4])

            async def looked(second: int = second) -> bool:
                nonlocal fewest
                fewest = min(fewest, len(await haproxy.ready_ports()))
                wanted = (0, 6, 1, 6)[second % 4]
                return controller.log.read_text().count(f"endpoints={wanted}") > second // 4

            await eventually(looked)
    assert not counts.failed
    assert fewest >= 3
    await serves(haproxy, servers)
