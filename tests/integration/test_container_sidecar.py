"""dynsrv in a container beside HAProxy's, with a volume for the socket between them and no rights besides."""

from __future__ import annotations

import asyncio

import pytest

from dynsrv.logs import Event
from tests.integration.support.containers import HAPROXY, Engine, docker
from tests.integration.support.haproxy import serves
from tests.integration.support.load import load, request
from tests.integration.support.waiting import eventually

pytestmark = pytest.mark.any_version

SOCKET = "/run/haproxy/admin.sock"
IN_THE_VOLUME = f"\nglobal\n    stats socket {SOCKET} mode 660 level admin\n"
PROXIES = [{"name": "lb1", "address": f"unix://{SOCKET}"}]


async def test_a_sidecar_of_another_user_without_rights_and_with_nothing_to_write_to_keeps_the_servers(
    engine: Engine, version: str
) -> None:
    volume = engine.a_volume()
    haproxy = await engine.haproxy(version, extra=IN_THE_VOLUME, volumes={volume: "/run/haproxy"})
    beside = (f"--volume={volume}:/run/haproxy", f"--group-add={HAPROXY}")
    controller = engine.dynsrv(*beside, proxies=PROXIES, resync={"interval": "1h", "probe": "200ms"})
    servers = await engine.web_servers(3)
    controller.want(servers[:2])
    await controller.start()
    await serves(haproxy, servers[:2])
    process = controller.process_status()
    assert "\nUid:\t65532\t65532\t65532\t65532\n" in process
    assert "\nCapEff:\t0000000000000000\n" in process
    assert "\nCapBnd:\t0000000000000000\n" in process
    assert "\nNoNewPrivs:\t1\n" in process
    assert docker("inspect", "--format={{.HostConfig.ReadonlyRootfs}}", controller.name) == "true"
    async with load(haproxy.frontend) as counts:
        await eventually(lambda: counts.sent > 200)
        controller.want(servers)
        await serves(haproxy, servers)
        await eventually(lambda: counts.answered[servers[2].port] > 100)
        controller.want(servers[1:])
        await serves(haproxy, servers[1:])
        sent = counts.sent
        await eventually(lambda: counts.sent > sent + 200)
    assert not counts.failed
    await controller.logged(Event.BACKEND_IN_SYNC)
    await haproxy.reload()
    await controller.logged(Event.HAPROXY_RELOADED)
    await serves(haproxy, servers[1:])
    assert await controller.stop() == 0


async def test_without_the_group_of_the_socket_dynsrv_says_what_is_missing(engine: Engine, version: str) -> None:
    volume = engine.a_volume()
    await engine.haproxy(version, extra=IN_THE_VOLUME, volumes={volume: "/run/haproxy"})
    controller = engine.dynsrv(f"--volume={volume}:/run/haproxy", proxies=PROXIES)
    controller.want([])
    finished = await controller.run("check", "--live")
    assert finished.code == 1
    assert f"unix://{SOCKET}: permission denied for uid 65532" in finished.out


async def test_the_load_sees_what_a_rude_removal_in_a_container_loses(engine: Engine, version: str) -> None:
    """The positive control of these tests: without it, zero failures would prove nothing."""
    haproxy = await engine.haproxy(version)
    old, new = await engine.web_servers(2)
    for server in (old, new):
        await haproxy.do(f"add server be_app/s{server.port} {server.host}:{server.port}")
        await haproxy.do(f"enable server be_app/s{server.port}")
    async with load(haproxy.frontend) as counts:
        await eventually(lambda: counts.answered[old.port] > 50)
        slow = asyncio.gather(*(request(haproxy.frontend, "/slow") for _ in range(8)), return_exceptions=True)
        await eventually(lambda: old.slow_running > 0)
        await haproxy.do(f"set server be_app/s{old.port} state maint")
        await haproxy.do(f"shutdown sessions server be_app/s{old.port}")
        new.release()
        lost = [one for one in await slow if isinstance(one, Exception)]
    assert lost
