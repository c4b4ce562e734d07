"""The metrics are in good form, tell of single servers if that is wanted, and end with what they tell of."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dynsrv.logs import Event
from tests.integration.support.controller import FAST_CHECK, UNGUARDED, Dynsrv, Install
from tests.integration.support.haproxy import StartHAProxy, serves
from tests.integration.support.ports import a_port
from tests.integration.support.prometheus import promtool
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version

Series = dict[str, list[Mapping[str, str]]]


@pytest.fixture
def port(stack: AsyncExitStack) -> int:
    """Where dynsrv listens."""
    return stack.enter_context(a_port())


async def _text(port: int) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        return await answer.text()


async def _series(port: int) -> Series:
    """The labels of all series, by the name of the metric; none while nobody answers."""
    series: Series = {}
    try:
        text = await _text(port)
    except aiohttp.ClientError:
        return {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, []).append(sample.labels)
    return series


def _gauges_with(series: Series, **labels: str) -> set[str]:
    """The names of the metrics with *labels* that tell of now: a counter stays, and its alerts see only its changes."""
    return {
        name
        for name, all_labels in series.items()
        if not name.endswith(("_total", "_created", "_bucket", "_sum", "_count"))
        and any(labels.items() <= one.items() for one in all_labels)
    }


def _take_over(controller: Dynsrv, change: Callable[[dict[str, Any]], object]) -> None:
    settings = yaml.safe_load(controller.configuration.read_text())
    change(settings)
    controller.configuration.write_text(yaml.safe_dump(settings))
    controller.signal(signal.SIGHUP)


async def test_the_metrics_are_as_prometheus_wants_them(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, port: int
) -> None:
    haproxy, servers = await a_haproxy(), await web_servers(2)
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{port}", "server_metrics": True})
    await controller.start()
    await controller.logged(Event.SOURCE_FAILED)
    controller.want(servers)
    await serves(haproxy, servers)
    controller.want(servers[:1])
    await serves(haproxy, servers[:1])
    assert await promtool("check", "metrics", stdin=await _text(port)) == (0, "")


@pytest.mark.parametrize("wanted", [True, False])
async def test_single_servers_are_told_only_where_that_is_wanted(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, port: int, *, wanted: bool
) -> None:
    foreign = "server web1 127.0.0.1:9"
    haproxy, servers = await a_haproxy(backend=f"balance roundrobin\n{foreign}"), await web_servers(2)
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{port}", "server_metrics": wanted})
    controller.want(servers)
    await controller.start()
    await controller.logged(Event.BACKEND_IN_SYNC)
    told = (await _series(port)).get("dynsrv_server_state", [])
    assert {(one["server"], one["state"]) for one in told} == (
        {(f"dyn-127.0.0.1:{one.port}", "ready") for one in servers} if wanted else set()
    )


async def test_a_proxy_that_is_no_longer_named_is_no_longer_told_to_be_down(
    a_haproxy: StartHAProxy, dynsrv: Install, port: int
) -> None:
    controller = dynsrv(await a_haproxy(), await a_haproxy(), web={"listen": f"127.0.0.1:{port}"})
    controller.want([])
    await controller.start()

    async def both() -> bool:
        return {one["proxy"] for one in (await _series(port)).get("dynsrv_converged", ())} == {"lb1", "lb2"}

    await eventually(both)
    _take_over(controller, lambda settings: settings["proxies"].pop())
    await controller.logged(Event.CONFIGURATION_RELOADED)
    assert _gauges_with(await _series(port), proxy="lb2") == set()

    async def one_is_told() -> bool:
        told = _gauges_with(await _series(port), proxy="lb1")
        return told >= {"dynsrv_proxy_up", "dynsrv_converged", "dynsrv_servers"}

    await eventually(one_is_told)


@pytest.mark.parametrize("on_removed", ["leave", "drain"])
async def test_a_backend_that_is_removed_is_no_longer_told_once_its_servers_are_gone(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, port: int, *, on_removed: str
) -> None:
    haproxy = await a_haproxy(extra="\nbackend be_other\n    balance leastconn\n")
    servers = await web_servers(1)
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{port}"}, backend={"on_removed": on_removed})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)

    def only_other(settings: dict[str, Any]) -> None:
        settings["backends"][0]["name"] = "be_other"

    _take_over(controller, only_other)
    await controller.logged(Event.CONFIGURATION_RELOADED)
    if on_removed == "drain":
        await serves(haproxy, [])

    async def forgotten() -> bool:
        series = await _series(port)
        assert _gauges_with(series, backend="be_app") == set()
        return "dynsrv_converged" in _gauges_with(series, backend="be_other")

    await eventually(forgotten)


async def test_a_source_of_another_kind_leaves_nothing_of_the_one_before_that_could_grow_stale(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, port: int
) -> None:
    haproxy, servers = await a_haproxy(), await web_servers(1)
    consul = {"kind": "consul", "address": "http://127.0.0.1:9", "service": "web"}
    backend = {"name": "be_app", "source": consul, "server": FAST_CHECK, "limits": UNGUARDED}
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{port}"})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    _take_over(controller, lambda settings: settings.update(backends=[backend]))
    await controller.logged(Event.SOURCE_FAILED)
    series = await _series(port)
    assert _gauges_with(series, kind="file") == set()
    assert "dynsrv_source_up" in _gauges_with(series, kind="consul")
    assert "dynsrv_desired_servers" in _gauges_with(series, backend="be_app")
