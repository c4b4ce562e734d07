"""A program can read over the API what dynsrv sees and plans, and is told in JSON where there is nothing to read."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest

from dynsrv import __version__
from dynsrv.logs import Event
from tests.integration.support.api import Api, name_of
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version


async def test_the_status_tells_what_haproxy_has(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, unused_tcp_port: int
) -> None:
    servers = await web_servers(3)
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}"})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await controller.logged(Event.BACKEND_IN_SYNC)
    status = await Api(unused_tcp_port).shows(lambda status: status["backends"][0]["converged"])
    assert status["dynsrv"]["version"] == __version__
    (proxy,), (source,), (backend,) = status["proxies"], status["sources"], status["backends"]
    assert proxy == {
        "proxy": "lb1",
        "address": str(haproxy.socket),
        "up": True,
        "version": backend["haproxy"]["version"],
        "pid": await haproxy.pid(),
        "error": None,
        "config_files": [],
    }
    assert proxy["version"].startswith(haproxy.version)
    assert (source["kind"], source["up"], source["endpoints"], source["error"]) == ("file", True, 3, None)
    rows = await haproxy.servers()
    assert {one["name"]: (one["id"], one["address"], one["weight"], one["state"]) for one in backend["servers"]} == {
        name: (row.id, f"127.0.0.1:{row.port}", row.weight, "ready") for name, row in rows.items()
    }
    assert all(one["serving"] and one["why"] == "as desired" for one in backend["servers"])
    assert {(one["step"], one["outcome"]) for one in status["changes"]} == {
        ("add", "done"),
        ("enable_health", "done"),
        ("admit", "done"),
    }
    code, plan = await Api(unused_tcp_port).get("/api/v1/plan")
    assert code == 200
    assert [(one["steps"], one["waits"], one["refusals"]) for one in plan["backends"]] == [([], [], [])]


async def test_the_plan_tells_what_is_waited_for(
    haproxy: HAProxy, dynsrv: Install, unused_tcp_port: int, web_servers: WebServers
) -> None:
    (server,) = await web_servers(1)
    await server.stop()
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}"})
    controller.want([server])
    await controller.start()
    api = await Api(unused_tcp_port).ready()

    async def waits() -> bool:
        _, plan = await api.get("/api/v1/plan")
        waits = plan["backends"][0]["waits"] or []
        assert [(one["server"], one["waits_for"]) for one in waits] == [(name_of(server), "check")]
        return str(waits[0]["reason"]).startswith("its health check is failing (L4CON, ")

    await eventually(waits)


@pytest.fixture
def controller(version: str, dynsrv: Install, stack: AsyncExitStack, unused_tcp_port: int) -> Dynsrv:
    """A dynsrv whose HAProxy is not there."""
    haproxy = HAProxy(version)
    stack.push_async_callback(haproxy.close)
    return dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}"}, log={"format": "json"})


@pytest.fixture
async def api(controller: Dynsrv, unused_tcp_port: int) -> Api:
    await controller.start()
    return await Api(unused_tcp_port).ready()


async def test_what_is_not_there_is_told_in_json(api: Api) -> None:
    async with aiohttp.ClientSession() as session:
        for method, path, status, error in (
            ("GET", "/api/v1/none", 404, "not found"),
            ("GET", "/api/v2/status", 404, "not found"),
            ("POST", "/api/v1/status", 405, "method not allowed"),
            ("GET", "/api/v1/reconcile", 405, "method not allowed"),
            ("DELETE", "/api/v1/backends/be_app/servers/dyn-1/hold", 405, "method not allowed"),
        ):
            async with session.request(method, f"{api.url}{path}") as answer:
                assert (answer.status, await answer.json()) == (status, {"error": error}), path
                assert ("Allow" in answer.headers) == (status == 405)
        async with session.head(f"{api.url}/api/v1/events") as answer:
            assert answer.status == 405


async def test_no_answer_may_be_kept_framed_or_taken_for_another_kind(api: Api) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/", "/metrics", "/healthz", "/api/v1/status", "/api/v1/events", "/api/v1/none", "/none"):
            async with session.get(f"{api.url}{path}") as answer:
                assert answer.headers["Cache-Control"] == "no-store", path
                assert answer.headers["X-Content-Type-Options"] == "nosniff", path
                assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"], path
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"], path


NONSENSE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"hello\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
    b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"POST /api/v1/reconcile HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    b"GET /%ff%fe/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /api/v1/sta",
)


async def test_who_talks_nonsense_is_refused_and_is_no_line_of_the_log(api: Api, controller: Dynsrv) -> None:
    for nonsense in NONSENSE:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(nonsense)
        writer.write_eof()
        async with asyncio.timeout(10):
            answer = await reader.read(-1)
        assert answer[:10] in {b"", b"HTTP/1.1 4", b"HTTP/1.0 4"}, answer
        writer.close()
        assert await api.answers()
    assert await controller.stop() == 0
    lines = controller.log_data()
    assert {line["level"] for line in lines} <= {"info", "warning"}
    assert not [line for line in lines if line["event"] == Event.HTTP_REQUEST_FAILED]
