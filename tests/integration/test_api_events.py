"""Whoever follows the events and applies them knows what the status tells, whatever happens."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from dynsrv.logs import Event
from dynsrv.web.event_stream import HEARTBEAT
from tests.fakes.subscriber import rows_of
from tests.integration.support.api import TOKEN, Api, Following, done, name_of
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import REPOSITORY, HAProxy, StartHAProxy, serves
from tests.integration.support.load import request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version


async def _agree(api: Api, following: Following) -> dict[str, Any]:
    """Wait until who follows knows what the status tells, and return the status."""
    status: dict[str, Any] = {}

    async def agree() -> bool:
        nonlocal status
        status = await api.status()
        assert following.rows == rows_of(status)
        return True

    await eventually(agree)
    return status


def _configure(controller: Dynsrv, **top: object) -> None:
    settings = yaml.safe_load(controller.configuration.read_text())
    controller.configuration.write_text(yaml.safe_dump({**settings, **top}))
    controller.signal(signal.SIGHUP)


async def test_who_follows_knows_what_the_status_tells_in_any_story(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    haproxy = await a_haproxy(extra="\nbackend be_other\n    balance leastconn\n")
    other = HAProxy(haproxy.version)
    servers = await web_servers(3)
    (tmp_path / "token").write_text(TOKEN)
    controller = dynsrv(
        haproxy,
        web={"listen": f"127.0.0.1:{unused_tcp_port}", "token_file": "token"},
        resync={"interval": "500ms", "probe": "200ms"},
    )
    await controller.start()
    api = await Api(unused_tcp_port).ready()
    async with api.following() as following:
        status = await _agree(api, following)  # the source has no file yet
        assert not status["sources"][0]["up"]

        controller.want(servers[:2])
        await serves(haproxy, servers[:2])
        status = await _agree(api, following)
        assert len(status["backends"][0]["servers"]) == 2

        held = name_of(servers[0])
        assert await api.hold(held) == (200, done("lb1"))
        await eventually(lambda: (following.server(held) or {}).get("waits_for") == "operator")
        await _agree(api, following)
        assert await api.release(held) == (200, done("lb1"))

        controller.want(servers)
        await serves(haproxy, servers)
        await servers[2].stop()  # its check fails now
        await eventually(lambda: (following.server(name_of(servers[2])) or {}).get("operational") == "down")
        await _agree(api, following)

        slow = asyncio.create_task(request(haproxy.frontend, "/slow", timeout=60))
        await eventually(lambda: sum(server.slow_running for server in servers) == 1)
        busy, idle = sorted(servers[:2], key=lambda server: -server.slow_running)
        controller.want([idle])
        await eventually(lambda: (following.server(name_of(busy)) or {}).get("state") == "drain")
        await _agree(api, following)
        busy.release()
        await slow
        await eventually(lambda: following.server(name_of(busy)) is None)
        await _agree(api, following)

        controller.servers_file.write_text("servers: nonsense")
        await eventually(lambda: following.rows["source:be_app@lb1"]["error"] is not None)
        await _agree(api, following)
        controller.want(servers[:2])

        await haproxy.stop(kill=True)
        await eventually(lambda: not following.rows["proxy:lb1"]["up"])
        await _agree(api, following)
        await haproxy.start()
        await eventually(lambda: following.rows["proxy:lb1"]["up"])
        await serves(haproxy, servers[:2])
        await _agree(api, following)

        await other.start()
        try:
            settings = yaml.safe_load(controller.configuration.read_text())
            backend = settings["backends"][0]
            proxies = [*settings["proxies"], {"name": "lb2", "address": str(other.socket)}]
            more = [backend, {**backend, "name": "be_other", "proxies": ["lb1"], "prefix": "other-"}]
            _configure(controller, proxies=proxies, backends=more)
            await serves(other, servers[:2])
            await eventually(lambda: "backend:be_other@lb1" in following.rows)
            status = await _agree(api, following)
            assert [(one["backend"], one["proxy"]) for one in status["backends"]] == [
                ("be_app", "lb1"),
                ("be_app", "lb2"),
                ("be_other", "lb1"),
            ]

            _configure(controller, proxies=proxies[1:], backends=[backend])
            await eventually(lambda: "proxy:lb1" not in following.rows)
            status = await _agree(api, following)
            assert [(one["backend"], one["proxy"]) for one in status["backends"]] == [("be_app", "lb2")]
        finally:
            await other.close()
        await eventually(lambda: not following.rows["proxy:lb2"]["up"])
        await _agree(api, following)

        async with api.following() as later:
            await _agree(api, later)
            assert later.rows == following.rows
        assert [event["reset"] for event in following.events] == [True] + [False] * (len(following.events) - 1)
        await eventually(lambda: controller.lines(Event.BACKEND_IN_SYNC))


async def test_a_heartbeat_comes_while_nothing_is_new(haproxy: HAProxy, dynsrv: Install, unused_tcp_port: int) -> None:
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}"})  # a source that has no file
    await controller.start()
    await controller.logged(Event.HAPROXY_CONNECTED)
    url = f"{(await Api(unused_tcp_port).ready()).url}/api/v1/events"
    async with aiohttp.ClientSession() as session, session.get(url) as answer, asyncio.timeout(2 * HEARTBEAT):
        lines = [await answer.content.readline()]
        while lines[-1] != b": nothing new\n":
            lines.append(await answer.content.readline())
    assert lines[0].startswith(b'data: {"reset":true,')
    assert json.loads(lines[0][6:])["set"]["proxy:lb1"]["up"]
    assert lines[1] == b"\n"


async def test_the_events_end_when_dynsrv_does_and_do_not_hold_it_up(
    haproxy: HAProxy, dynsrv: Install, unused_tcp_port: int
) -> None:
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}"})
    controller.want([])
    await controller.start()
    api = await Api(unused_tcp_port).ready()
    async with api.following() as following:
        await eventually(lambda: following.rows)
        assert await controller.stop() == 0  # and does not wait for it
        await eventually(lambda: following.ended)
    assert "error" not in controller.log.read_text()


async def _until(out: asyncio.StreamReader, text: str) -> str:
    """Return the next line that has *text*."""
    line = ""
    while text not in line:
        line = (await out.readline()).decode()
        assert line, "it ended"
    return line


async def test_the_example_of_the_documentation_tells_what_changes(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(2)
    (tmp_path / "token").write_text(TOKEN)
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}", "token_file": "token"})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    api = Api(unused_tcp_port)
    (example,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "api.md").read_text(), re.DOTALL)
    example = example.replace("http://127.0.0.1:9105", api.url)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", example, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            held = name_of(servers[0])
            await _until(process.stdout, "[]\n")
            assert await api.hold(held) == (200, done("lb1"))
            assert held in await _until(process.stdout, "held by an operator")
            assert await api.release(held) == (200, done("lb1"))
            await _until(process.stdout, "[]\n")
    finally:
        process.kill()
        await process.wait()
