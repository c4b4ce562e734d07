"""SIGHUP, or a change of the file where that is wanted: a valid new configuration takes over, unseen by what did not
change; an invalid one is refused whole."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import aiohttp
import pytest
import yaml

from dynsrv.logs import Event
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

pytestmark = pytest.mark.any_version

TWO_BACKENDS = "\nbackend be_other\n    balance leastconn\n"


def _change(controller: Dynsrv, change: Any) -> None:
    settings = yaml.safe_load(controller.configuration.read_text())
    change(settings)
    controller.configuration.write_text(yaml.safe_dump(settings))


def _add_other(settings: dict[str, Any]) -> None:
    settings["backends"].append({**settings["backends"][0], "name": "be_other"})


async def _has(haproxy: HAProxy, backend: str, servers: list[WebServer]) -> None:
    async def exactly() -> bool:
        rows = (await haproxy.servers(backend)).values()
        return {row.port for row in rows if row.ready} == {server.port for server in servers} and len(rows) == len(
            servers
        )

    await eventually(exactly)


async def test_a_backend_that_is_added_is_managed_and_the_other_sees_nothing_of_it(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(extra=TWO_BACKENDS)
    servers = await web_servers(2)
    controller = dynsrv(haproxy)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await controller.logged(Event.BACKEND_IN_SYNC)
    before = controller.log.read_text()
    _change(controller, _add_other)
    controller.signal(signal.SIGHUP)
    await _has(haproxy, "be_other", servers)
    assert "backend=be_app" not in controller.log.read_text()[len(before) :]


async def test_options_that_changed_replace_the_servers(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(2)
    controller = dynsrv(haproxy)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    ids = {row.id for row in (await haproxy.servers()).values()}
    _change(controller, lambda settings: settings["backends"][0].update(server={"check": True, "inter": "123ms"}))
    controller.signal(signal.SIGHUP)

    async def replaced() -> bool:
        rows = (await haproxy.servers()).values()
        return len(rows) == 2 and not ids & {row.id for row in rows}

    await eventually(replaced)
    await serves(haproxy, servers)


async def test_an_invalid_configuration_is_refused_whole_and_told(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, unused_tcp_port: int
) -> None:
    servers = await web_servers(2)
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}"})
    controller.want(servers[:1])
    await controller.start()
    await serves(haproxy, servers[:1])
    good = controller.configuration.read_text()
    controller.configuration.write_text(good.replace("be_app", "be_other") + "nonsense: 1\n")
    controller.signal(signal.SIGHUP)
    line = await controller.logged(Event.CONFIGURATION_RELOAD_FAILED)
    assert "nonsense: unknown key" in line
    url = f"http://127.0.0.1:{unused_tcp_port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert "dynsrv_config_last_reload_successful 0.0" in await answer.text()
    assert "degraded: configuration: the previous one is in use: " in await _text(unused_tcp_port, "/readyz")
    assert "nonsense: unknown key" in await _text(unused_tcp_port, "/api/v1/status")
    controller.want(servers)
    await serves(haproxy, servers)  # the old one goes on
    controller.configuration.write_text(good)
    controller.signal(signal.SIGHUP)
    await controller.logged(Event.CONFIGURATION_RELOADED)
    assert await _text(unused_tcp_port, "/readyz") == "ok\n"
    controller.configuration.write_text(good.replace(f":{unused_tcp_port}", ":1"))
    controller.signal(signal.SIGHUP)
    await controller.logged(Event.RESTART_REQUIRED)
    await eventually(lambda: len(controller.lines(Event.CONFIGURATION_RELOADED)) == 2)
    assert f"web=127.0.0.1:{unused_tcp_port}" in controller.lines(Event.CONFIGURATION_RELOADED)[-1]


async def _text(port: int, path: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return await answer.text()


async def test_a_backend_that_is_removed_keeps_its_servers_or_loses_them_as_configured(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(extra=TWO_BACKENDS + "backend be_third\n    balance leastconn\n")
    servers = await web_servers(2)
    controller = dynsrv(haproxy)
    _change(controller, _add_other)
    _change(controller, lambda s: s["backends"].append({**s["backends"][0], "name": "be_third", "on_removed": "drain"}))
    controller.want(servers)
    await controller.start()
    for backend in ("be_app", "be_other", "be_third"):
        await _has(haproxy, backend, servers)
    _change(controller, lambda settings: settings.update(backends=settings["backends"][:1]))
    controller.signal(signal.SIGHUP)
    await _has(haproxy, "be_third", [])
    await _has(haproxy, "be_other", servers)
    await _has(haproxy, "be_app", servers)
    await controller.logged(Event.BACKEND_REMOVED)


async def test_a_proxy_that_is_added_gets_the_servers_too(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    first, second = await a_haproxy(), await a_haproxy()
    servers = await web_servers(2)
    controller = dynsrv(first)
    controller.want(servers)
    await controller.start()
    await serves(first, servers)
    _change(controller, lambda settings: settings["proxies"].append({"name": "lb2", "address": str(second.socket)}))
    controller.signal(signal.SIGHUP)
    await serves(second, servers)
    await serves(first, servers)
    _change(controller, lambda settings: settings["proxies"].pop(0))
    controller.signal(signal.SIGHUP)
    await eventually(lambda: len(controller.lines(Event.CONFIGURATION_RELOADED)) == 2)
    controller.want(servers[:1])
    await serves(second, servers[:1])
    await serves(first, servers)  # no longer managed, and left as it is


async def test_a_stop_while_a_removed_backend_still_drains_is_a_stop(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(extra=TWO_BACKENDS)
    (server,) = await web_servers(1)
    controller = dynsrv(haproxy, backend={"on_removed": "drain", "drain": {"timeout": "60s"}})
    _change(controller, _add_other)
    controller.want([server])
    await controller.start()
    await serves(haproxy, [server])
    slow = asyncio.create_task(request(haproxy.frontend, "/slow", timeout=60))
    await eventually(lambda: server.slow_running == 1)
    _change(controller, lambda settings: settings["backends"].pop(0))
    controller.signal(signal.SIGHUP)

    async def drains() -> bool:
        return [row.draining for row in (await haproxy.servers()).values()] == [True]

    await eventually(drains)
    _change(controller, lambda settings: settings["backends"].append({**settings["backends"][0], "name": "be_app"}))
    controller.signal(signal.SIGHUP)  # it comes back before its drain is over
    await serves(haproxy, [server])
    _change(controller, lambda settings: settings["backends"].pop())
    controller.signal(signal.SIGHUP)
    await eventually(drains)
    assert await controller.stop() == 0
    await eventually(drains)
    server.release()
    assert await slow == server.port


async def test_what_changes_the_proxies_alone_takes_no_server_away(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(2)
    controller = dynsrv(haproxy, backend={"on_removed": "drain"})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    _change(controller, lambda settings: settings.update(resync={"interval": "200ms", "probe": "300ms"}))
    controller.signal(signal.SIGHUP)
    await controller.logged(Event.CONFIGURATION_RELOADED)
    await haproxy.do(f"set server be_app/dyn-127.0.0.1:{servers[0].port} weight 3")
    await controller.logged("weight is 3, desired 100")  # the new interval counts
    await serves(haproxy, servers)
    assert not controller.lines(Event.SERVER_DRAINING)


async def test_with_reload_on_change_no_signal_is_needed(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(extra=TWO_BACKENDS)
    servers = await web_servers(2)
    controller = dynsrv(haproxy)
    controller.want(servers)
    await controller.start("--reload-on-change")
    await serves(haproxy, servers)
    good = controller.configuration.read_text()
    controller.configuration.write_text(good.replace("be_app", ""))
    line = await controller.logged(Event.CONFIGURATION_RELOAD_FAILED)
    assert "backends[0].name" in line
    controller.configuration.write_text(good)
    _change(controller, _add_other)
    await _has(haproxy, "be_other", servers)
    await serves(haproxy, servers)
