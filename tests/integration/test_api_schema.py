"""The API does what its own description says, whatever it is sent, and the description says no more than that."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from tests.integration.support.api import TOKEN, Api, name_of
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

pytestmark = pytest.mark.any_version

EXAMPLES = 60
"""Requests for each operation, besides those for each limit that the description names."""


class Site(NamedTuple):
    """A dynsrv with three servers, and its API."""

    api: Api
    controller: Dynsrv
    haproxy: HAProxy
    servers: list[WebServer]


@pytest.fixture
async def site(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> Site:
    servers = await web_servers(3)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    controller = dynsrv(
        haproxy,
        web={"listen": f"127.0.0.1:{unused_tcp_port}", "token_file": "token"},
        log={"format": "json"},
        resync={"interval": "200ms"},
    )
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    return Site(Api(unused_tcp_port), controller, haproxy, servers)


@pytest.mark.parametrize("real_names", [True, False])
async def test_requests_made_from_the_description_find_nothing_wrong(
    site: Site, tmp_path: Path, *, real_names: bool
) -> None:
    known = f'[parameters]\n"path.backend" = "be_app"\n"path.server" = "{name_of(site.servers[0])}"\n'
    (tmp_path / "schemathesis.toml").write_text(known if real_names else "")
    # the events never end
    options = ["--exclude-path", "/api/v1/events", "--phases", "coverage,fuzzing", "--warnings", "off", "--no-color"]
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "schemathesis.cli", "run", f"{site.api.url}/api/v1/openapi.json", *options],
        *["--header", f"Authorization: Bearer {TOKEN}", "--max-examples", str(EXAMPLES)],
        *["--generation-database", "none", "--seed", "1"],
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    text = out.decode()
    assert process.returncode == 0, text
    assert "Operations:       6 selected / 7 total" in text
    assert "No issues found" in text
    assert await site.api.answers()
    lines = site.controller.log_data()
    assert not [line for line in lines if line["level"] == "error"]
    if real_names:
        assert "held by an operator through the API" in {line.get("reason") for line in lines}


async def test_the_description_names_every_operation_and_no_other(site: Site) -> None:
    _, document = await site.api.get("/api/v1/openapi.json")
    assert set(document["paths"]) == {
        "/api/v1/status",
        "/api/v1/plan",
        "/api/v1/events",
        "/api/v1/backends/{backend}/servers/{server}/hold",
        "/api/v1/backends/{backend}/servers/{server}/release",
        "/api/v1/backends/{backend}/override-guard",
        "/api/v1/reconcile",
    }


async def test_every_documented_status_of_what_changes_something_is_real(site: Site, tmp_path: Path) -> None:
    api, held = site.api, name_of(site.servers[0])
    _, document = await api.get("/api/v1/openapi.json")
    real: dict[str, set[int]] = {}

    async def ask(path: str, api: Api = api, *, body: object = None, data: bytes | None = None, **names: str) -> None:
        known = {"backend": "be_app", "server": held, **names}
        url = re.sub(r"{(\w+)}", lambda match: known[match[1]], path).removeprefix("/api/v1")
        status, answer = await api.post(url, body, data=data)
        assert ("results" in answer) == (status in {200, 502}), answer
        real.setdefault(path, set()).add(status)

    writing = [path for path, operations in document["paths"].items() if "post" in operations]
    assert len(writing) == 4
    for path in writing:
        await ask(path)
        await ask(path, data=b"nonsense")
        await ask(path, data=b" " * 100_000)
        await ask(path, api.showing(None))
        await ask(path, body={"proxy": "lb9"})
        async with aiohttp.ClientSession(headers={"Origin": "http://evil.example"}) as session:
            url = f"{api.url}{path.format(backend='be_app', server=held)}"
            async with session.post(url, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
                real[path].add(answer.status)
        if "{server}" in path:
            await ask(path)  # it is held, or released, already
    (tmp_path / "token").rename(tmp_path / "away")
    for path in writing:
        await ask(path)
    (tmp_path / "away").rename(tmp_path / "token")
    await site.haproxy.stop()
    for path in writing:
        if "{server}" in path:
            await ask(path)
    documented = {path: set(map(int, document["paths"][path]["post"]["responses"])) for path in writing}
    assert real == documented


async def test_what_is_only_read_has_no_other_status_than_200(site: Site) -> None:
    async def up() -> bool:
        status, _ = await site.api.get("/api/v1/plan")
        return status == 200

    await site.haproxy.stop()
    site.controller.servers_file.unlink()
    await eventually(up)
    assert (await site.api.get("/api/v1/status"))[0] == 200
