"""A plan that would take away too much is refused for what it takes away, told, and let through only by an operator."""

from __future__ import annotations

import datetime
import json

import aiohttp
import pytest
import yaml

from dynsrv.logs import Event
from tests.integration.support.controller import Dynsrv, Install
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
async def test_a_list_that_lost_most_of_its_servers_adds_what_is_new_and_takes_nothing_away(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, unused_tcp_port: int
) -> None:
    *old, new = servers = await web_servers(11)
    controller = await _serving(haproxy, old, dynsrv, web={"listen": f"127.0.0.1:{unused_tcp_port}"})
    controller.want([old[0], new])
    await controller.logged(Event.REMOVAL_BLOCKED)
    await serves(haproxy, servers)
    planned = (await controller.run("plan", "--json")).json["backends"][0]
    assert [refusal["rule"] for refusal in planned["refusals"]] == ["max_removed"]
    assert "9 of 11 serving servers would be removed" in planned["refusals"][0]["reason"]
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{unused_tcp_port}/readyz") as answer:
            assert answer.status == 200
            assert "degraded: backend be_app on lb1: guard: 9 of 11" in await answer.text()
        async with session.get(f"http://127.0.0.1:{unused_tcp_port}/metrics") as answer:
            assert 'dynsrv_guard_refusals_total{backend="be_app",rule="max_removed"}' in await answer.text()
    controller.want(servers[:6])  # half of it may go
    await serves(haproxy, servers[:6])


@pytest.mark.any_version
async def test_a_restart_of_dynsrv_does_not_let_a_bad_list_through(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(10)
    controller = await _serving(haproxy, servers, dynsrv)
    assert await controller.stop() == 0
    controller.want(servers[:1])
    await controller.start()
    await controller.logged(Event.REMOVAL_BLOCKED)
    await serves(haproxy, servers)


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
        settings["backends"][0]["limits"] = {"override_until": until.isoformat()}
        controller.configuration.write_text(json.dumps(settings))
        controller.want(servers[:1])
        assert (await controller.run("apply")).code == (1 if left == 4 else 0)
        await serves(haproxy, servers[:left])


@pytest.mark.any_version
async def test_a_source_that_flaps_loses_no_server_and_no_request(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(6)
    controller = await _serving(haproxy, servers, dynsrv)
    begun = (await haproxy.servers()).keys()
    async with load(haproxy.frontend, workers=4) as counts:
        for second in range(FLAPPING_SECONDS):
            controller.want(([], servers, servers[:1], servers)[second % 4])

            def looked(second: int = second) -> bool:
                wanted = (0, 6, 1, 6)[second % 4]
                return controller.log.read_text().count(f"endpoints={wanted}") > second // 4

            await eventually(looked)
    assert not counts.failed
    assert (await haproxy.servers()).keys() == begun
    await serves(haproxy, servers)
    assert not controller.lines(Event.SERVER_DRAINING)
