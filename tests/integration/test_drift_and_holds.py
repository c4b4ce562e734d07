"""What somebody changes by hand is set right, and counted; but a server that an operator took out stays out."""

from __future__ import annotations

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

RESYNC = {"interval": "200ms"}
HELD = "held by an operator: put into {} by hand; set it to ready to release it"


@pytest.mark.parametrize("check", [True, False])
async def test_a_server_that_an_operator_took_out_stays_out_until_it_is_set_ready(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, check: bool
) -> None:
    servers = await web_servers(4)
    server = {"check": True, "inter": "100ms", "rise": 1} if check else {"check": False}
    controller = dynsrv(haproxy, backend={"server": server}, resync=RESYNC)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await controller.logged(Event.BACKEND_IN_SYNC)
    taken_out = {state: f"dyn-127.0.0.1:{one.port}" for state, one in zip(("maint", "drain"), servers, strict=False)}
    for state, name in taken_out.items():
        await haproxy.do(f"set server be_app/{name} state {state}")
    await eventually(lambda: len(controller.lines(Event.SERVER_HELD)) == 2)
    for state, name in taken_out.items():
        assert len(controller.lines(Event.SERVER_HELD, HELD.format(state), name)) == 1

    assert await controller.stop() == 0
    await controller.start()  # HAProxy itself knows it, and so it survives a restart of dynsrv
    await eventually(lambda: len(controller.lines(Event.SERVER_HELD)) == 4)
    controller.want(servers[:3])  # other changes go on
    await eventually(lambda: _gone(haproxy, servers[3].port))
    assert await haproxy.ready_ports() == {servers[2].port}
    status = await controller.run("status")
    assert status.code == 0, status
    for state, name in taken_out.items():
        assert HELD.format(state) in status.out
        await haproxy.do(f"set server be_app/{name} state ready")
    await serves(haproxy, servers[:3])
    assert not controller.lines(Event.DRIFT_DETECTED)


async def _gone(haproxy: HAProxy, port: int) -> bool:
    return port not in {row.port for row in (await haproxy.servers()).values()}


async def test_a_deletion_by_hand_is_healed_within_one_resync_and_told_as_drift(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(2)
    controller = dynsrv(haproxy, resync={"interval": "1s"})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await controller.logged(Event.BACKEND_IN_SYNC)
    name = f"dyn-127.0.0.1:{servers[0].port}"
    await haproxy.do(f"set server be_app/{name} state maint")
    await haproxy.do(f"del server be_app/{name}")
    line = await controller.logged(Event.DRIFT_DETECTED, within=5)
    assert name in line
    await serves(haproxy, servers)
    assert not controller.lines(Event.SERVER_HELD)


async def test_a_server_added_by_hand_with_our_prefix_is_taken_away_as_drift(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    wanted, other = await web_servers(2)
    controller = dynsrv(haproxy, resync=RESYNC)
    controller.want([wanted])
    await controller.start()
    await serves(haproxy, [wanted])
    await controller.logged(Event.BACKEND_IN_SYNC)
    await haproxy.do(f"add server be_app/dyn-by-hand 127.0.0.1:{other.port}")
    await haproxy.do("enable server be_app/dyn-by-hand")
    await controller.logged(Event.DRIFT_DETECTED)
    await serves(haproxy, [wanted])


async def test_a_check_that_somebody_disabled_is_enabled_again(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    (server,) = await web_servers(1)
    controller = dynsrv(haproxy, resync=RESYNC)
    controller.want([server])
    await controller.start()
    await serves(haproxy, [server])
    await controller.logged(Event.BACKEND_IN_SYNC)
    await haproxy.do(f"disable health be_app/dyn-127.0.0.1:{server.port}")
    await controller.logged(Event.DRIFT_DETECTED)
    await server.stop()

    async def down() -> bool:
        return not await haproxy.ready_ports()

    await eventually(down)


async def test_a_server_that_follows_another_one_into_maintenance_is_held_by_nobody(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    tracked, *servers = await web_servers(3)
    extra = f"\nbackend be_tracked\n    server app 127.0.0.1:{tracked.port} check inter 100ms\n"
    haproxy = await a_haproxy(extra=extra)
    server = {"check": False, "options": ["track be_tracked/app"]}
    controller = dynsrv(haproxy, backend={"server": server}, resync=RESYNC)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await haproxy.do("set server be_tracked/app state maint")
    await eventually(lambda: _nobody_serves(haproxy))
    status = await controller.run("status")
    assert "HAProxy reports it as down; it receives no new requests" in " ".join(status.out.split())
    controller.want(servers[1:])  # it can be removed like any other
    await eventually(lambda: _gone(haproxy, servers[0].port))
    await haproxy.do("set server be_tracked/app state ready")
    await serves(haproxy, servers[1:])
    assert not controller.lines(Event.SERVER_HELD)
    assert not controller.lines(Event.DRIFT_DETECTED)


async def _nobody_serves(haproxy: HAProxy) -> bool:
    return not await haproxy.ready_ports()
