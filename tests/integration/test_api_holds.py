"""Whoever has the token can hold a server, on one proxy or on all, and it stays held until it is released."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.api import TOKEN, Api, done, name_of, results
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.crowd import is_connected
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import load, request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

HELD = "held by an operator: put into {} by hand; set it to ready to release it"


async def _started(
    dynsrv: Install, *proxies: HAProxy, servers: list[WebServer], port: int, folder: Path
) -> tuple[Dynsrv, Api]:
    (folder / "token").write_text(TOKEN)
    controller = dynsrv(
        *proxies,
        web={"listen": f"127.0.0.1:{port}", "token_file": "token"},
        log={"format": "json"},
        resync={"interval": "200ms"},
    )
    controller.want(servers)
    await controller.start()
    for proxy in proxies:
        await serves(proxy, servers)
    await eventually(lambda: len(controller.lines(Event.BACKEND_IN_SYNC)) == len(proxies))
    return controller, Api(port)


def _passes(metrics: str) -> float:
    lines = [line for line in metrics.splitlines() if line.startswith("dynsrv_reconcile_total") and "converged" in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def _some_passes(api: Api) -> None:
    """Wait until there were some more passes, after which everything was as it is wanted."""
    before = _passes((await api.text("/metrics"))[1])

    async def passed() -> bool:
        return _passes((await api.text("/metrics"))[1]) >= before + 3

    await eventually(passed)


@pytest.mark.parametrize("state", ["drain", "maint"])
async def test_a_held_server_gets_no_request_until_it_is_released(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path, state: str
) -> None:
    servers = await web_servers(2)
    controller, api = await _started(dynsrv, haproxy, servers=servers, port=unused_tcp_port, folder=tmp_path)
    held = name_of(servers[0])
    async with load(haproxy.frontend, workers=2, pause=0.005) as counts:
        assert await api.hold(held, state=state) == (200, done("lb1"))
        before = counts.answered[servers[0].port]
        total = counts.answered.total()
        await eventually(lambda: counts.answered.total() > total + 50)
        assert counts.answered[servers[0].port] <= before + 2  # which were under way
        row = (await haproxy.servers())[held]
        assert (row.draining, row.maintenance) == (state == "drain", state == "maint")

        await _some_passes(api)
        told = await api.server(held)
        assert (told["state"], told["waits_for"], told["serving"]) == (state, "operator", False)
        assert told["why"] == HELD.format(state)
        assert (await api.backend())["converged"]
        status = await controller.run("status")
        assert status.code == 0, status
        assert HELD.format(state) in status.out

        assert await api.release(held) == (200, done("lb1"))
        total = counts.answered[servers[0].port]
        await eventually(lambda: counts.answered[servers[0].port] > total + 5)
        await _some_passes(api)
        await serves(haproxy, servers)
        assert (await api.server(held))["why"] == "as desired"
    assert not counts.failed
    assert not controller.lines(Event.DRIFT_DETECTED)


async def test_a_hold_survives_a_restart_of_dynsrv_and_other_changes_go_on(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(3)
    controller, api = await _started(dynsrv, haproxy, servers=servers, port=unused_tcp_port, folder=tmp_path)
    drained, disabled = name_of(servers[0]), name_of(servers[1])
    assert await api.hold(drained) == (200, done("lb1"))
    assert await api.hold(disabled, state="maint") == (200, done("lb1"))
    assert await controller.stop() == 0
    controller.want(servers[:2])
    await controller.start()
    await api.ready()

    async def only_those() -> bool:
        return (await haproxy.servers()).keys() == {drained, disabled}

    await eventually(only_those)
    await _some_passes(api)
    assert (await api.server(drained))["why"] == HELD.format("drain")
    assert (await api.server(disabled))["why"] == HELD.format("maint")
    assert await haproxy.ready_ports() == set()
    for server in (drained, disabled):
        assert await api.release(server) == (200, done("lb1"))
    await serves(haproxy, servers[:2])


@pytest.mark.any_version
async def test_one_proxy_of_two_can_be_meant_or_both(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    one, other = await a_haproxy(), await a_haproxy()
    servers = await web_servers(2)
    _, api = await _started(dynsrv, one, other, servers=servers, port=unused_tcp_port, folder=tmp_path)
    held = name_of(servers[0])
    assert await api.hold(held, proxy="lb2") == (200, done("lb2"))
    await serves(one, servers)
    assert await other.ready_ports() == {servers[1].port}
    already = f"the server {held} is in drain already"
    assert await api.hold(held, proxy="lb2") == (409, {"error": already})
    assert await api.hold(held) == (502, results(("lb1", "done", ""), ("lb2", "refused", already)))
    assert await one.ready_ports() == await other.ready_ports() == {servers[1].port}
    assert await api.release(held, proxy="lb1") == (200, done("lb1"))
    await serves(one, servers)
    not_held = f"the server {held} is not held by an operator"
    assert await api.release(held) == (502, results(("lb1", "refused", not_held), ("lb2", "done", "")))
    await serves(other, servers)
    assert await api.release(held) == (409, {"error": not_held})
    assert await api.hold(held, proxy="lb3") == (404, {"error": "no backend be_app is managed on a proxy lb3"})
    assert await api.hold(held) == (200, done("lb1", "lb2"))
    assert await api.release(held) == (200, done("lb1", "lb2"))

    await other.stop()
    code, answer = await api.hold(held)
    assert (code, [one["outcome"] for one in answer["results"]]) == (502, ["done", "error"])
    assert f"lb2: unix://{other.socket}: " in answer["results"][1]["detail"]
    assert await one.ready_ports() == {servers[1].port}


@pytest.mark.any_version
async def test_what_cannot_be_held_is_refused_with_the_reason(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(2)
    controller, api = await _started(dynsrv, haproxy, servers=servers, port=unused_tcp_port, folder=tmp_path)
    (foreign,) = await web_servers(1)
    await haproxy.do(f"add server be_app/by-hand 127.0.0.1:{foreign.port}")
    await haproxy.do("enable server be_app/by-hand")
    not_ours = {"error": "the server by-hand is not managed by dynsrv"}
    assert await api.hold("by-hand") == (403, not_ours)
    assert await api.release("by-hand") == (403, not_ours)
    assert await api.hold("dyn-none") == (404, {"error": "there is no server dyn-none in the backend be_app"})
    no_backend = {"error": "there is no backend be_none in dynsrv's configuration"}
    assert await api.post("/backends/be_none/servers/dyn-1/hold") == (404, no_backend)

    slow = asyncio.create_task(request(haproxy.frontend, "/slow", timeout=60))
    await eventually(lambda: sum(server.slow_running for server in servers) == 1)
    busy = next(server for server in servers if server.slow_running)
    leaves = name_of(busy)
    controller.want([server for server in servers if server is not busy])

    async def drains() -> bool:
        return (await haproxy.servers())[leaves].draining

    await eventually(drains)
    assert await api.hold(leaves) == (409, {"error": f"the server {leaves} is in drain already"})
    assert await api.release(leaves) == (409, {"error": f"the server {leaves} is not held by an operator"})
    busy.release()
    assert await slow == busy.port


async def test_a_held_server_that_the_source_no_longer_wants_goes(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(2)
    controller, api = await _started(dynsrv, haproxy, servers=servers, port=unused_tcp_port, folder=tmp_path)
    assert await api.hold(name_of(servers[0]), state="maint") == (200, done("lb1"))
    controller.want(servers[1:])
    await serves(haproxy, servers[1:])


@pytest.mark.any_version
async def test_a_hold_whose_client_goes_is_carried_out_all_the_same(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(2)
    controller, api = await _started(dynsrv, haproxy, servers=servers, port=unused_tcp_port, folder=tmp_path)
    held = name_of(servers[0])
    await haproxy.freeze()
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    path = f"/api/v1/backends/be_app/servers/{held}/hold"
    writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    assert await api.answers()
    client = writer.get_extra_info("sockname")
    writer.close()
    await eventually(lambda: not is_connected(api.port, client))
    haproxy.signal(signal.SIGCONT)
    line = json.loads(await controller.logged("held by an operator through the API"))
    assert (line["server"], line["step"]) == (held, "drain")
    assert (await haproxy.servers())[held].draining
