"""The commands tell the truth by their exit codes, for people and for programs."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import yaml

from dynsrv.logs import Event
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import REPOSITORY, HAProxy, StartHAProxy, serves
from tests.integration.support.web_servers import WebServer, WebServers


@pytest.fixture
def fork_server() -> None:
    """Here it is `python -m dynsrv` that is executed."""


async def test_plan_apply_and_status_agree(haproxy: HAProxy, web_servers: WebServers, dynsrv: Install) -> None:
    one, two = await web_servers(2)
    controller = dynsrv(haproxy)
    controller.want([one, {**two.endpoint, "name": "second", "weight": 5}])

    planned = await controller.run("plan", "--json")
    assert planned.code == 2, planned
    (backend,) = planned.json["backends"]
    assert [step["step"] for step in backend["steps"]] == ["add", "add", "enable_health", "enable_health"]
    added = next(step for step in backend["steps"] if step["server"] == "dyn-second")
    assert (added["address"], added["port"], added["weight"]) == ("127.0.0.1", two.port, 5)
    assert added["reason"] == "listed by the source"
    assert {wait["waits_for"] for wait in backend["waits"]} == {"check"}
    for_people = await controller.run("plan")
    assert for_people.code == 2
    assert "4 steps, 2 waits. Nothing was changed." in for_people.out
    assert await haproxy.servers() == {}

    assert (await controller.run("status")).code == 2
    applied = await controller.run("apply")
    assert applied.code == 0, applied
    assert "be_app on lb1: in sync after" in applied.out
    await serves(haproxy, [one, two])

    assert (await controller.run("plan")).code == 0
    status = await controller.run("status", "--json")
    assert status.code == 0, status
    (backend,) = status.json["backends"]
    assert backend["converged"]
    assert {server["name"]: server["why"] for server in backend["servers"]} == {
        "dyn-second": "as desired",
        f"dyn-127.0.0.1:{one.port}": "as desired",
    }
    assert [server["weight"] for server in backend["servers"] if server["name"] == "dyn-second"] == [5]


@pytest.mark.any_version
async def test_status_and_plan_say_what_is_known_and_what_is_not_while_the_source_is_away(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(2)
    controller = dynsrv(haproxy)
    controller.want(servers)
    assert (await controller.run("apply")).code == 0
    controller.servers_file.unlink()
    status = await controller.run("status")
    assert status.code == 1, status
    assert "there is no such file" in status.out
    for server in servers:
        assert f"dyn-127.0.0.1:{server.port}" in status.out
    assert "not known whether it is in sync: HAProxy has 2 servers, 2 of them serving" in status.out
    plan = await controller.run("plan")
    assert plan.code == 1, plan
    assert "steps unknown: HAProxy has 2 servers, 2 of them serving; the desired servers are not known" in plan.out
    assert "unknown for 1 backend. Nothing was changed." in plan.out
    assert "0 steps" not in plan.out


@pytest.mark.any_version
async def test_apply_gives_up_in_time_and_says_what_is_left(
    haproxy: HAProxy, dynsrv: Install, stack: AsyncExitStack
) -> None:
    never = await stack.enter_async_context(WebServer())  # does not listen
    controller = dynsrv(haproxy)
    controller.want([never])
    applied = await controller.run("apply", "--timeout", "1s")
    assert applied.code == 4, applied
    assert "be_app on lb1: out of sync" in applied.out
    assert f"dyn-127.0.0.1:{never.port}: its health check is failing (L4CON, " in applied.out


async def test_an_option_that_haproxy_refuses_is_an_error_with_haproxys_own_words(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    controller = dynsrv(haproxy, backend={"server": {"options": ["ws nonsense"]}})
    controller.want(await web_servers(1))
    applied = await controller.run("apply", "--timeout", "2s")
    assert applied.code == 1, applied
    assert "HAProxy refused to add: 'ws' has to be" in applied.out


@pytest.mark.any_version
async def test_one_backend_can_be_asked_for(a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install) -> None:
    haproxy = await a_haproxy(extra="\nbackend be_other\n    balance leastconn\n")
    servers = await web_servers(1)
    controller = dynsrv(haproxy)
    text = controller.configuration.read_text()
    settings = yaml.safe_load(text)
    settings["backends"].append({**settings["backends"][0], "name": "be_other"})
    controller.configuration.write_text(json.dumps(settings))
    controller.want(servers)
    applied = await controller.run("apply", "--backend", "be_other")
    assert applied.code == 0, applied
    assert await haproxy.servers() == {}
    assert len(await haproxy.servers("be_other")) == 1
    wrong = await controller.run("plan", "--backend", "be_none")
    assert wrong.code == 1
    assert "--backend: found 'be_none', expected one of" in wrong.err


async def test_check_live_tells_version_level_algorithm_and_source(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(backend="balance leastconn")
    controller = dynsrv(haproxy)
    controller.want(await web_servers(2))
    checked = await controller.run("check", "--live")
    assert checked.code == 0, checked
    assert f"HAProxy {haproxy.version}" in checked.out
    assert "level admin" in checked.out
    assert "accepts servers at runtime, balance leastconn; 0 servers now" in checked.out
    assert "2 endpoints" in checked.out


async def test_check_live_warns_of_cookies_that_servers_added_at_runtime_would_take_away(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(backend="balance roundrobin\ncookie SRV insert")
    controller = dynsrv(haproxy)
    controller.want(await web_servers(1))
    checked = await controller.run("check", "--live")
    assert checked.code == 0, checked
    assert ("erases the `cookie SRV` of its clients" in checked.out) == (haproxy.version == "2.6")


async def test_the_shipped_examples_are_good(dynsrv: Install, tmp_path: Path) -> None:
    controller = dynsrv()
    controller.configuration.write_text((REPOSITORY / "deploy" / "dynsrv.yaml").read_text())
    checked = await controller.run("check")
    assert checked.code == 0, checked


@pytest.mark.any_version
async def test_a_daemon_without_haproxy_waits_for_it(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy()
    servers = await web_servers(1)
    controller = dynsrv(haproxy)
    controller.want(servers)
    await haproxy.stop()
    await controller.start()
    await controller.logged(Event.HAPROXY_UNREACHABLE)
    await haproxy.start()
    await serves(haproxy, servers)
    await controller.logged(Event.HAPROXY_CONNECTED)
    assert len(controller.lines(Event.HAPROXY_UNREACHABLE)) <= 2  # once for each reason, not for each attempt
