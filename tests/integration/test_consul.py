"""An instance that registers in Consul is a server of HAProxy; one that deregisters goes, and no request is lost."""

from __future__ import annotations

import asyncio

import pytest

from dynsrv.logs import Event
from tests.integration.support.consul import Consul
from tests.integration.support.controller import UNGUARDED, Install, from_consul, register
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.load import load, request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version


async def test_a_registered_instance_serves_and_a_deregistered_one_goes_without_losing_a_request(
    haproxy: HAProxy, consul: Consul, web_servers: WebServers, dynsrv: Install
) -> None:
    old, new = await web_servers(2)
    controller = dynsrv(haproxy, backend={"source": from_consul(consul.url), "drain": {"timeout": "60s"}})
    await register(consul, old)
    await controller.start()
    await serves(haproxy, [old])
    async with load(haproxy.frontend) as counts:
        await eventually(lambda: counts.answered[old.port] > 100)
        await register(consul, new)
        await eventually(lambda: counts.answered[new.port] > 100)
        await serves(haproxy, [old, new])
        # Of several, one is answered by the server that is to go.
        slow = [asyncio.create_task(request(haproxy.frontend, "/slow", timeout=60)) for _ in range(4)]
        await eventually(lambda: old.slow_running)
        await consul.deregister(f"web-{old.port}")

        async def drains() -> bool:
            rows = (await haproxy.servers()).values()
            assert {row.port: row.draining for row in rows} == {old.port: True, new.port: False}
            return True

        await eventually(drains)
        answered = counts.answered.total()
        await eventually(lambda: counts.answered.total() > answered + 100)
        await drains()  # for as long as a session is left
        for server in (old, new):
            server.release()
        await serves(haproxy, [new])
        assert {await one for one in slow} == {old.port, new.port}
    assert not counts.failed
    await controller.logged(Event.SERVER_DELETED)
    assert len(controller.lines(Event.SERVER_DELETED)) == 1
    await consul.deregister(f"web-{new.port}")
    await serves(haproxy, [])


async def test_a_registration_is_a_server_without_waiting_for_the_next_look(
    haproxy: HAProxy, consul: Consul, dynsrv: Install
) -> None:
    controller = dynsrv(
        haproxy,
        backend={"source": from_consul(consul.url), "server": {"check": False}, "limits": UNGUARDED},
        resync={"interval": "1h"},
    )
    await controller.start()
    await controller.logged(Event.FIRST_ENDPOINTS_RECEIVED)

    async def has(ports: set[int]) -> None:
        async def exactly() -> bool:
            rows = (await haproxy.servers()).values()
            return {row.port for row in rows if row.ready and row.weight == 100} == ports and len(rows) == len(ports)

        await eventually(exactly)

    for port in range(20_000, 20_010):
        await consul.register("web", address="127.0.0.1", port=port, status=None)
        await has(set(range(20_000, port + 1)))
    for port in range(20_000, 20_010):
        await consul.deregister(f"web-{port}")
        await has(set(range(port + 1, 20_010)))
