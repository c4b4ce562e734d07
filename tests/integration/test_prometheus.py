"""Prometheus understands what is told: the shipped alerts fire and resolve, and the dashboard has data."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import request
from tests.integration.support.ports import a_port
from tests.integration.support.prometheus import ALERTS, DASHBOARD, Prometheus, promtool
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

pytestmark = pytest.mark.any_version

FAST = {"interval": "500ms", "probe": "200ms"}
GUARDED: dict[str, object] = {"max_removed": 0}


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A dynsrv that keeps *servers* in *haproxy*, and a *prometheus* that scrapes its *port*."""

    haproxy: HAProxy
    servers: list[WebServer]
    dynsrv: Dynsrv
    prometheus: Prometheus
    port: int


Watch = Callable[..., Awaitable[Watched]]


@pytest.fixture
def watch(a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, stack: AsyncExitStack) -> Watch:
    """Start everything; without *wanted*, there is no file of servers yet. The rest is dynsrv's configuration."""

    async def start(*, wanted: bool = True, balance: str = "roundrobin", **settings: Any) -> Watched:
        haproxy = await a_haproxy(backend=f"balance {balance}")
        servers = await web_servers(3)
        port = stack.enter_context(a_port())
        web = {"listen": f"127.0.0.1:{port}", "server_metrics": True}
        controller = dynsrv(haproxy, web=web, resync=FAST, **settings)
        if wanted:
            controller.want(servers)
        await controller.start()
        prometheus = await stack.enter_async_context(Prometheus(port))
        if wanted:
            await serves(haproxy, servers)
            await prometheus.fires()
            await eventually(lambda: prometheus.query("dynsrv_converged == 1"))
        return Watched(haproxy=haproxy, servers=servers, dynsrv=controller, prometheus=prometheus, port=port)

    return start


def _plain(alert: dict[str, Any], *expected: str) -> None:
    """Check that what the alert tells has its labels in it, and a place in the runbook."""
    told = alert["annotations"]
    assert told.keys() == {"summary", "description", "runbook_url"}
    text = f"{told['summary']} {told['description']}"
    assert "<no value>" not in text
    assert "error" not in text
    for word in expected:
        assert word in text


async def test_an_alert_fires_when_the_source_is_cut_and_resolves_when_it_is_back(watch: Watch) -> None:
    watched = await watch()
    watched.dynsrv.servers_file.write_text("servers: [")
    firing = await watched.prometheus.fires("DynsrvSourceStale")
    _plain(firing["DynsrvSourceStale"], "be_app", "file", f"127.0.0.1:{watched.port}")
    watched.dynsrv.want(watched.servers)
    await watched.prometheus.fires()


async def test_a_source_that_only_says_the_same_is_not_stale(watch: Watch) -> None:
    watched = await watch()
    age = "time() - dynsrv_source_last_success_timestamp_seconds"
    await eventually(lambda: watched.prometheus.query(f"{age} > 5"))
    await eventually(lambda: watched.prometheus.query(f"{age} < 5"))
    await watched.prometheus.fires()


async def test_an_alert_fires_when_haproxy_is_gone_and_resolves_when_it_is_back(watch: Watch) -> None:
    watched = await watch()
    await watched.haproxy.stop(kill=True)
    firing = await watched.prometheus.fires("DynsrvProxyDown")
    _plain(firing["DynsrvProxyDown"], "lb1")
    await watched.haproxy.start()
    await watched.prometheus.fires()
    await serves(watched.haproxy, watched.servers)


async def test_an_alert_fires_while_no_server_serves_and_they_count_as_down(
    watch: Watch, web_servers: WebServers
) -> None:
    watched = await watch(backend={"limits": {}})
    for server in watched.servers:
        await server.stop()
    firing = await watched.prometheus.fires("DynsrvNoServers")
    _plain(firing["DynsrvNoServers"], "be_app", "lb1")
    assert firing["DynsrvNoServers"]["labels"]["severity"] == "critical"
    assert await watched.prometheus.query("dynsrv_servers{state='down'} == 3")
    assert await watched.prometheus.query("dynsrv_servers{state='ready'} == 0")
    watched.dynsrv.want(await web_servers(3))
    await watched.prometheus.fires()


async def test_an_alert_fires_if_the_source_fails_from_the_start_and_haproxy_has_no_servers(watch: Watch) -> None:
    watched = await watch(wanted=False)
    firing = await watched.prometheus.fires("DynsrvNoServers", "DynsrvSourceStale")
    _plain(firing["DynsrvNoServers"], "be_app", "lb1")
    watched.dynsrv.want(watched.servers)
    await watched.prometheus.fires()


async def test_an_alert_fires_while_the_guard_refuses(watch: Watch) -> None:
    watched = await watch(backend={"limits": GUARDED})
    watched.dynsrv.want([])
    firing = await watched.prometheus.fires("DynsrvGuardRefusing")
    _plain(firing["DynsrvGuardRefusing"], "be_app", "lb1", "limits.on_empty", "kept: 3")
    watched.dynsrv.want(watched.servers[:1])
    by_now = 'ALERTS{alertname="DynsrvGuardRefusing",alertstate="firing",rule="max_removed"} unless ignoring (rule) '
    await eventually(lambda: watched.prometheus.query(by_now + 'ALERTS{alertstate="firing",rule="on_empty"}'))
    firing = await watched.prometheus.fires("DynsrvGuardRefusing")
    _plain(firing["DynsrvGuardRefusing"], "be_app", "lb1", "limits.max_removed", "kept: 2")
    watched.dynsrv.want(watched.servers)
    await watched.prometheus.fires()


async def test_an_alert_fires_while_a_new_server_fails_its_check(watch: Watch) -> None:
    watched = await watch()
    async with WebServer() as dead:
        watched.dynsrv.want([*watched.servers, dead])
        firing = await watched.prometheus.fires("DynsrvServersWaiting")
        _plain(firing["DynsrvServersWaiting"], "be_app", "lb1")
        await dead.start()
        await watched.prometheus.fires()


async def test_an_alert_fires_while_haproxy_refuses_a_server(watch: Watch) -> None:
    watched = await watch()
    refused = {**watched.servers[0].endpoint, "port": 9, "options": ["ws nonsense"]}
    watched.dynsrv.want([*(dict(one.endpoint) for one in watched.servers), refused])
    firing = await watched.prometheus.fires("DynsrvServersRefused")
    _plain(firing["DynsrvServersRefused"], "be_app", "lb1", "refused: 1")
    watched.dynsrv.want(watched.servers)
    await watched.prometheus.fires()


async def test_an_alert_fires_while_haproxy_takes_no_servers_in_a_backend(watch: Watch) -> None:
    watched = await watch(wanted=False, balance="static-rr")
    watched.dynsrv.want(watched.servers)
    firing = await watched.prometheus.fires("DynsrvBackendRejected")
    _plain(firing["DynsrvBackendRejected"], "be_app", "lb1", "algorithm")
    watched.haproxy.configure()
    await watched.haproxy.stop()
    await watched.haproxy.start()
    await watched.prometheus.fires()


async def test_an_alert_fires_when_haproxy_is_not_as_wanted_and_nothing_else_says_why(watch: Watch) -> None:
    watched = await watch(backend={"limits": {}})
    *others, last = watched.servers
    await last.stop()
    down = f"dyn-127.0.0.1:{last.port}"

    async def is_down() -> bool:
        return (await watched.haproxy.servers())[down].status == "DOWN"

    await eventually(is_down)
    watched.dynsrv.want([last])  # whose check fails; until it passes, the others serve
    firing = await watched.prometheus.fires("DynsrvNotConverged")
    _plain(firing["DynsrvNotConverged"], "be_app", "lb1")
    watched.dynsrv.want([*others, last])
    await watched.prometheus.fires()


async def test_an_alert_fires_when_somebody_else_changes_servers_again_and_again(watch: Watch) -> None:
    watched = await watch()
    server = f"be_app/dyn-127.0.0.1:{watched.servers[0].port}"
    for times in range(1, 5):
        assert "DynsrvDrift" not in await watched.prometheus.firing()
        await watched.haproxy.do(f"set server {server} weight 7")
        await eventually(partial(watched.prometheus.query, f"dynsrv_drift_total == {times} and dynsrv_converged == 1"))
    firing = await watched.prometheus.fires("DynsrvDrift")
    _plain(firing["DynsrvDrift"], "be_app", "lb1", "4 times")


async def test_alerts_fire_for_a_bad_configuration_and_for_dynsrv_itself(watch: Watch) -> None:
    watched = await watch()
    good = watched.dynsrv.configuration.read_text()
    watched.dynsrv.configuration.write_text("nonsense")
    watched.dynsrv.signal(signal.SIGHUP)
    await watched.prometheus.fires("DynsrvConfigReloadFailed")
    watched.dynsrv.configuration.write_text(good)
    watched.dynsrv.signal(signal.SIGHUP)
    await watched.prometheus.fires()
    await watched.dynsrv.stop()
    await watched.prometheus.fires("DynsrvDown")
    await watched.dynsrv.start()
    await watched.prometheus.fires()


async def _scene(watched: Watched, dead: WebServer) -> asyncio.Task[int]:
    """Let all that the dashboard shows happen: a failure, a drain, a wait, a hang. Return a request that still runs."""
    prometheus, haproxy, controller = watched.prometheus, watched.haproxy, watched.dynsrv
    await eventually(lambda: prometheus.query("dynsrv_source_errors_total"))
    leaving, *staying = watched.servers
    controller.want([leaving])
    await serves(haproxy, [leaving])
    slow = asyncio.create_task(request(haproxy.frontend, "/slow", timeout=100))
    await eventually(lambda: leaving.slow_running == 1)
    await eventually(lambda: prometheus.query("dynsrv_servers{state='ready'} == 1"))
    controller.want([*staying, dead])
    await eventually(lambda: prometheus.query("dynsrv_servers{state='draining'} == 1"))
    await haproxy.freeze()
    await eventually(lambda: prometheus.query("dynsrv_runtime_connections_broken_total"))
    haproxy.signal(signal.SIGCONT)
    return slow


def _expressions() -> Iterator[tuple[str, str]]:
    """Yield all that the dashboard asks, and who asks it."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = variable["definition"].removeprefix("label_values(").removesuffix(")").split(", ")
            yield f"${variable['name']}", f'{metric}{{{label}!=""}}'


async def test_the_dashboard_has_data_in_every_panel_and_only_of_what_is_chosen(watch: Watch) -> None:
    watched = await watch(wanted=False, backend={"drain": {"timeout": "100s"}})
    query = watched.prometheus.query
    async with WebServer() as dead:
        slow = await _scene(watched, dead)
        for who, expression in _expressions():
            if "dynsrv_config_file_" in expression:  # no proxy has one here
                continue
            for choice in ((".*", ".*"), ("lb1|lb2", "be_app")):
                asked = _chosen(expression, *choice)
                await eventually(partial(query, asked), what=f"data for {who}: {asked}")
            if ("$proxy" in expression or "$backend" in expression) and "vector(0)" not in expression:
                assert await query(_chosen(expression, "lb2", "be_other")) == {}, who
        slow.cancel()


def _chosen(expression: str, proxy: str, backend: str) -> str:
    """Return *expression* as Grafana asks it."""
    for variable, value in (("__rate_interval", "20s"), ("proxy", proxy), ("backend", backend)):
        expression = expression.replace(f"${variable}", value)
    assert "$" not in expression
    return expression


async def test_the_alerts_do_what_their_tests_say() -> None:
    code, said = await promtool("check", "rules", ALERTS)
    assert code == 0, said
    tests = sorted(ALERTS.parent.glob("*_test.yml"))
    assert len(tests) == 2
    code, said = await promtool("test", "rules", *tests)
    assert code == 0, said
