"""Whoever has the token can override the guard for a while, and let HAProxy be looked at again at once."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.api import TOKEN, Api, done, name_of
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

pytestmark = pytest.mark.any_version


async def _guarded(
    dynsrv: Install, *proxies: HAProxy, servers: list[WebServer], port: int, folder: Path, resync: str = "200ms"
) -> tuple[Dynsrv, Api]:
    (folder / "token").write_text(TOKEN)
    controller = dynsrv(
        *proxies,
        backend={"limits": {"max_removed": 0}},
        web={"listen": f"127.0.0.1:{port}", "token_file": "token"},
        log={"format": "json"},
        resync={"interval": resync},
    )
    controller.want(servers)
    await controller.start()
    for proxy in proxies:
        await serves(proxy, servers)
    await eventually(lambda: len(controller.lines(Event.BACKEND_IN_SYNC)) == len(proxies))
    return controller, Api(port)


async def test_an_override_lets_a_refused_removal_through_at_once(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(4)
    controller, api = await _guarded(
        dynsrv, haproxy, servers=servers, port=unused_tcp_port, folder=tmp_path, resync="1h"
    )
    controller.want(servers[:1])
    await controller.logged(Event.REMOVAL_BLOCKED)
    await serves(haproxy, servers)
    (refusal,) = (await api.backend())["refusals"]
    assert refusal["rule"] == "max_removed"
    assert (await api.backend())["guard_overridden_until"] is None
    began = time.time()
    assert await api.override_guard(duration="5m") == (200, done("lb1"))
    await serves(haproxy, servers[:1])
    backend = await api.backend()
    until = datetime.datetime.fromisoformat(backend["guard_overridden_until"]).timestamp()
    assert began + 299 <= until <= time.time() + 300
    line = json.loads(await controller.logged(Event.GUARD_OVERRIDDEN))
    assert (line["backend"], line["seconds"], line["level"]) == ("be_app", 300, "warning")
    await api.shows(lambda status: status["backends"][0]["converged"] and not status["backends"][0]["refusals"])


async def test_an_override_is_over_after_its_time(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(4)
    controller, api = await _guarded(dynsrv, haproxy, servers=servers, port=unused_tcp_port, folder=tmp_path)
    assert await api.override_guard(duration="1s") == (200, done("lb1"))
    assert (await api.backend())["guard_overridden_until"] is not None
    await api.shows(lambda status: status["backends"][0]["guard_overridden_until"] is None)
    controller.want(servers[:1])
    await controller.logged(Event.REMOVAL_BLOCKED)
    await serves(haproxy, servers)


async def test_an_override_can_be_ended_before(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(4)
    controller, api = await _guarded(dynsrv, haproxy, servers=servers, port=unused_tcp_port, folder=tmp_path)
    assert await api.override_guard() == (200, done("lb1"))  # ten minutes
    assert await api.override_guard(duration="0s") == (200, done("lb1"))
    assert (await api.backend())["guard_overridden_until"] is None
    await controller.logged(Event.GUARD_OVERRIDE_ENDED)
    controller.want([])
    await controller.logged(Event.REMOVAL_BLOCKED)
    await serves(haproxy, servers)


async def test_an_override_is_for_the_proxy_that_is_meant(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    one, other = await a_haproxy(), await a_haproxy()
    servers = await web_servers(4)
    controller, api = await _guarded(dynsrv, one, other, servers=servers, port=unused_tcp_port, folder=tmp_path)
    assert await api.override_guard(proxy="lb2") == (200, done("lb2"))
    controller.want(servers[:1])
    await serves(other, servers[:1])
    await serves(one, servers)
    assert [(await api.backend(proxy))["guard_overridden_until"] is None for proxy in ("lb1", "lb2")] == [True, False]
    assert (await api.backend("lb1"))["refusals"]


async def test_haproxy_is_looked_at_again_at_once_where_that_is_asked_for(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(2)
    controller, api = await _guarded(
        dynsrv, haproxy, servers=servers, port=unused_tcp_port, folder=tmp_path, resync="1h"
    )
    server = name_of(servers[0])
    await haproxy.do(f"set server be_app/{server} weight 3")
    assert await api.reconcile(backend="be_app", proxy="lb1") == (200, done("lb1"))

    async def right() -> bool:
        return (await haproxy.servers())[server].weight == 100

    await eventually(right, within=5)  # and the next pass would be due in an hour
    assert server in await controller.logged(Event.DRIFT_DETECTED)
    assert await api.reconcile() == (200, done("lb1"))
    assert (await api.reconcile(backend="be_none"))[0] == 404
