"""SIGHUP: another service takes over from the one before, and what did not change is not asked anew."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import yaml

from dynsrv.logs import Event
from tests.integration.support.consul import Consul
from tests.integration.support.consul_faults import FaultyConsul, Request
from tests.integration.support.controller import UNGUARDED, Dynsrv, Install, from_consul, register
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import load
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version
OTHER = "\nbackend be_other\n    balance leastconn\n"


async def test_another_service_takes_over_without_losing_a_request(
    haproxy: HAProxy, consul: Consul, web_servers: WebServers, dynsrv: Install
) -> None:
    old, new = (await web_servers(2), await web_servers(3))
    await register(consul, *old)
    await register(consul, *new, service="api")
    controller = dynsrv(haproxy, backend={"source": from_consul(consul.url)})
    await controller.start()
    await serves(haproxy, old)
    async with load(haproxy.frontend) as counts:
        await eventually(lambda: counts.sent > 100)
        _reload(controller, lambda settings: settings["backends"][0]["source"].update(service="api"))
        await serves(haproxy, new)
        await eventually(lambda: all(counts.answered[server.port] for server in new))
    assert not counts.failed


async def test_a_service_that_nobody_registered_takes_no_server_away(
    haproxy: HAProxy, consul: Consul, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(2)
    await register(consul, *servers)
    controller = dynsrv(haproxy, backend={"source": from_consul(consul.url), "limits": {}})
    await controller.start()
    await serves(haproxy, servers)
    _reload(controller, lambda settings: settings["backends"][0]["source"].update(service="wbe"))
    line = await controller.logged(Event.REMOVAL_BLOCKED)
    assert "on_empty" in line
    await serves(haproxy, servers)


async def test_a_change_elsewhere_does_not_make_consul_be_asked_anew(
    a_haproxy: StartHAProxy, consul: Consul, web_servers: WebServers, dynsrv: Install, *, stack: AsyncExitStack
) -> None:
    haproxy = await a_haproxy(extra=OTHER)
    one, two, three = await web_servers(3)
    await register(consul, one)
    between = await stack.enter_async_context(FaultyConsul(consul.url))
    controller = dynsrv(haproxy, backend={"source": from_consul(between.url)})
    controller.want([three])
    await controller.start()
    await serves(haproxy, [one])
    await eventually(lambda: _waits(between))
    before = len(between.requests)

    def change(settings: dict[str, Any]) -> None:
        source = {"kind": "file", "path": "servers.yaml"}
        settings["backends"].append({"name": "be_other", "source": source, "limits": UNGUARDED})
        settings["log"] = {"level": "debug"}

    _reload(controller, change)
    await controller.logged(Event.CONFIGURATION_RELOADED)
    await eventually(lambda: _ports(haproxy, "be_other", {three.port}))
    assert between.requests[before:] == []
    assert between.connections == 1
    await register(consul, two)
    await serves(haproxy, [one, two])
    assert _begun_anew(between.requests[before:]) == []


async def test_backends_of_one_service_share_one_question(
    a_haproxy: StartHAProxy, consul: Consul, web_servers: WebServers, dynsrv: Install, *, stack: AsyncExitStack
) -> None:
    haproxy = await a_haproxy(extra=OTHER)
    one, two = await web_servers(2)
    await register(consul, one)
    between = await stack.enter_async_context(FaultyConsul(consul.url))
    controller = dynsrv(haproxy, backend={"source": from_consul(between.url)})
    await controller.start()
    await serves(haproxy, [one])
    await eventually(lambda: _waits(between))
    before = len(between.requests)

    def change(settings: dict[str, Any]) -> None:
        (app,) = settings["backends"]
        # what is made of the answers is not asked of Consul
        settings["backends"].append({**app, "name": "be_other", "source": {**app["source"], "on_critical": "keep"}})

    _reload(controller, change)
    await eventually(lambda: _ports(haproxy, "be_other", {one.port}))
    await register(consul, two)
    await eventually(lambda: _ports(haproxy, "be_app", {one.port, two.port}))
    await eventually(lambda: _ports(haproxy, "be_other", {one.port, two.port}))
    assert _begun_anew(between.requests[:before])  # as every question is at first
    assert _begun_anew(between.requests[before:]) == []
    assert between.most_connections == 1


def _waits(between: FaultyConsul) -> bool:
    return "index" in between.asked("/v1/health/service/web")[-1].query


def _begun_anew(requests: list[Request]) -> list[Request]:
    return [request for request in requests if "index" not in request.query]


def _reload(controller: Dynsrv, change: Callable[[dict[str, Any]], object]) -> None:
    settings = yaml.safe_load(controller.configuration.read_text())
    change(settings)
    controller.configuration.write_text(yaml.safe_dump(settings))
    controller.signal(signal.SIGHUP)


async def _ports(haproxy: HAProxy, backend: str, wanted: set[int]) -> bool:
    return {row.port for row in (await haproxy.servers(backend)).values() if row.ready} == wanted
