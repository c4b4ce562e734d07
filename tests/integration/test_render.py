"""`dynsrv render` writes the servers into HAProxy's configuration before any HAProxy runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.integration.support.config_files import MARKED, keeping, kept, kept_ports
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import StartHAProxy, serves
from tests.integration.support.load import request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers


async def test_a_haproxy_that_starts_after_render_serves_from_its_first_moment_and_dynsrv_finds_nothing_to_do(
    version: str, a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(backend=MARKED)
    await haproxy.stop()
    servers = await web_servers(3)
    controller = dynsrv(haproxy, proxies=keeping(haproxy))
    controller.want([{**servers[0].endpoint, "weight": 90, "maxconn": 20}, *servers[1:]])
    rendered = await controller.run("render")
    assert rendered.code == 0, rendered
    assert rendered.out == f"{haproxy.configuration}: written (3 servers)\n"
    again = await controller.run("render")
    assert again.out == f"{haproxy.configuration}: up to date (3 servers)\n"
    await haproxy.start()
    assert {await request(haproxy.frontend) for _ in range(6)} == {server.port for server in servers}
    plan = await controller.run("plan")
    assert plan.code == 0, plan
    before = haproxy.configuration.read_bytes()
    await controller.start()
    await serves(haproxy, servers)
    await controller.stop()
    assert haproxy.configuration.read_bytes() == before


@pytest.mark.any_version
async def test_render_checks_prints_and_marks(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, tmp_path: Path
) -> None:
    haproxy = await a_haproxy()
    servers = await web_servers(2)
    controller = dynsrv(haproxy, proxies=keeping(haproxy))
    controller.want(servers)
    missing = await controller.run("render")
    assert missing.code == 1, missing
    assert (
        "no lines `# dynsrv begin` and `# dynsrv end`; write them, or have `dynsrv render --mark be_app` do"
        in missing.err
    )
    unmarked = haproxy.configuration.read_text()
    printed = await controller.run("render", "--mark", "be_app", "--output", "-")
    assert haproxy.configuration.read_text() == unmarked
    marked = await controller.run("render", "--mark", "be_app")
    assert (marked.code, marked.out) == (0, f"{haproxy.configuration}: written\n")
    assert haproxy.configuration.read_text() == printed.out
    assert haproxy.configuration.read_text().replace("    # dynsrv begin\n    # dynsrv end\n", "") == unmarked
    assert kept(haproxy.configuration) == {}

    differs = await controller.run("render", "--check")
    assert (differs.code, differs.out) == (2, f"{haproxy.configuration}: differs (2 servers)\n")
    assert kept(haproxy.configuration) == {}
    other = tmp_path / "other.cfg"
    assert (await controller.run("render", "--output", str(other))).code == 0
    assert kept_ports(other) == {server.port for server in servers}
    assert kept(haproxy.configuration) == {}
    assert (await controller.run("render", "--backend", "be_app", "--proxy", "lb1")).code == 0
    assert haproxy.configuration.read_bytes() == other.read_bytes()
    assert (await controller.run("render", "--check")).code == 0

    for arguments in (["--proxy", "lb9"], ["--backend", "be_none"], ["--mark", "be_none"], ["--wait", "5"]):
        wrong = await controller.run("render", *arguments)
        assert wrong.code == 1, wrong
        assert arguments[1] in wrong.err, wrong


@pytest.mark.any_version
async def test_render_waits_for_a_source_and_leaves_what_it_does_not_know(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(backend=MARKED)
    servers = await web_servers(2)
    controller = dynsrv(haproxy, proxies=keeping(haproxy))
    failed = await controller.run("render")
    assert failed.code == 1
    assert "servers.yaml: there is no such file" in failed.err
    assert "its lines are not changed" in failed.err
    rendering = asyncio.create_task(controller.run("render", "--wait", "30s"))
    await asyncio.sleep(0.5)
    controller.want(servers)
    assert (await rendering).code == 0
    assert kept_ports(haproxy.configuration) == {server.port for server in servers}
    controller.servers_file.unlink()
    assert (await controller.run("render")).code == 1
    assert kept_ports(haproxy.configuration) == {server.port for server in servers}


@pytest.mark.any_version
async def test_a_file_that_is_rendered_from_a_template_is_not_made_without_its_servers(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, tmp_path: Path
) -> None:
    haproxy = await a_haproxy(backend=MARKED)
    template = haproxy.configuration.rename(tmp_path / "haproxy.cfg.in")
    servers = await web_servers(2)
    controller = dynsrv(haproxy, proxies=keeping(haproxy, template=str(template)))
    failed = await controller.run("render")
    assert failed.code == 1
    assert f"{haproxy.configuration}: it is not created without these servers" in failed.err
    assert not haproxy.configuration.exists()
    controller.want(servers)
    assert (await controller.run("render")).code == 0
    assert kept_ports(haproxy.configuration) == {server.port for server in servers}
    assert kept(template) == {}


async def test_a_hold_that_the_file_has_is_one_again_after_render_and_a_restart(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(backend=MARKED)
    servers = await web_servers(2)
    controller = dynsrv(haproxy, proxies=keeping(haproxy), resync={"interval": "300ms"})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    held = f"dyn-127.0.0.1:{servers[0].port}"
    await haproxy.do(f"set server be_app/{held} state maint")
    await eventually(lambda: kept_ports(haproxy.configuration, disabled=True) == {servers[0].port}, within=5)
    await controller.stop()
    await haproxy.stop()
    assert (await controller.run("render")).code == 0
    await haproxy.start()
    assert (await haproxy.servers())[held].maintenance
    plan = await controller.run("plan")
    assert plan.code == 0, plan
    assert f"held  {held}" in plan.out
