"""Whoever shows the token may change something, and nobody else; what is asked wrongly is refused with a sentence."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.api import TOKEN, Api, done, results
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy
from tests.integration.support.waiting import eventually

pytestmark = pytest.mark.any_version

NOT_SHOWN = {"error": "send the token in web.token_file: Authorization: Bearer <token>"}
WRONG = {"error": "wrong token: send the one in web.token_file"}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture
async def controller(haproxy: HAProxy, dynsrv: Install, unused_tcp_port: int, token_file: Path) -> Dynsrv:
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}", "token_file": token_file.name})
    controller.want([])
    await controller.start()
    return controller


@pytest.fixture
async def api(controller: Dynsrv, unused_tcp_port: int) -> Api:
    return await Api(unused_tcp_port).ready()


async def test_without_a_token_in_the_configuration_nobody_may(
    haproxy: HAProxy, dynsrv: Install, unused_tcp_port: int
) -> None:
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}"})
    await controller.start()
    api = await Api(unused_tcp_port).ready()
    nobody = {"error": "nothing can be changed over HTTP: the configuration has no web.token_file"}
    for one in (api, api.showing(None), api.showing("")):
        assert await one.reconcile() == (403, nobody)
        assert await one.hold("dyn-1") == (403, nobody)
        assert await one.override_guard() == (403, nobody)


async def test_the_token_alone_decides(api: Api) -> None:
    assert await api.showing(None).reconcile() == (401, NOT_SHOWN)
    assert await api.showing("").reconcile() == (401, NOT_SHOWN)
    assert await api.showing("other").reconcile() == (401, WRONG)
    assert await api.showing(f"{TOKEN}2").reconcile() == (401, WRONG)
    assert await api.showing(TOKEN[:-1]).reconcile() == (401, WRONG)
    assert await api.reconcile() == (200, done("lb1"))
    basic = {"Authorization": "Basic czNjcmV0OnMzY3JldA=="}
    assert await api.showing(None).post("/reconcile", headers=basic) == (401, NOT_SHOWN)


async def test_who_shows_no_token_learns_nothing_of_what_there_is(api: Api) -> None:
    for server in ("dyn-none", "by-hand"):
        assert await api.showing(None).hold(server) == (401, NOT_SHOWN)
    assert await api.showing("other").post("/reconcile", data=b"nonsense") == (401, WRONG)


async def test_that_a_token_is_wanted_is_told_as_http_tells_it(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(b"POST /api/v1/reconcile HTTP/1.0\r\nHost: localhost\r\n\r\n")
    answer = await reader.read(-1)
    assert b"\r\nWWW-Authenticate: Bearer\r\n" in answer
    writer.close()


def _put(path: Path, token: str | None) -> None:
    """Rotate the token as a careful writer does; None: there is none any more."""
    if token is None:
        path.unlink()
        return
    new = path.with_name("new")
    new.write_text(token)
    new.rename(path)


async def test_a_new_token_counts_at_once(api: Api, token_file: Path) -> None:
    assert (await api.reconcile())[0] == 200
    _put(token_file, "another")
    assert await api.reconcile() == (401, WRONG)
    assert (await api.showing("another").reconcile())[0] == 200


async def test_a_token_s_file_that_cannot_be_read_is_told(api: Api, token_file: Path) -> None:
    _put(token_file, None)
    missing = {"error": "web.token_file: there is no such file; write it, or correct the path"}
    assert await api.reconcile() == (503, missing)
    _put(token_file, "\n")
    empty = {"error": "web.token_file: it is empty; write a token to it"}
    assert await api.reconcile() == (503, empty)
    assert await api.showing("").reconcile() == (401, NOT_SHOWN)
    _put(token_file, TOKEN)
    assert (await api.reconcile())[0] == 200


async def test_a_page_of_somebody_else_s_is_refused_and_its_own_is_not(api: Api) -> None:
    own = f"127.0.0.1:{api.port}"
    for origin in ("http://evil.example", "null", f"http://localhost:{api.port}", "http://127.0.0.1", "http://["):
        refused = {"error": f"pages of {origin} may not change anything here"}
        assert await api.post("/reconcile", headers={"Origin": origin}) == (403, refused)
    for origin in (f"http://{own}", f"https://{own}"):
        assert (await api.post("/reconcile", headers={"Origin": origin}))[0] == 200


NOT_JSON = 'the body is not JSON; send an object such as {"proxy": "lb1"}, or nothing'
DURATION_WITH_UNIT = "expected a duration with its unit: write 60s or 60ms"
STATE = 'the body: state: found "down", expected drain or maint'
PROXY = "the body: prox: unknown key; did you mean proxy?"
# Each: where, the body, and the error.
WRONG_BODIES = [
    ("/reconcile", b"nonsense", NOT_JSON),
    ("/reconcile", b" ", NOT_JSON),
    ("/override-guard", b"\x0b", NOT_JSON),
    ("/reconcile", b"\xff\xfe{", NOT_JSON),
    ("/reconcile", b"[" * 10_000, NOT_JSON),
    ("/reconcile", b"9" * 10_000, NOT_JSON),
    ("/reconcile", b"[]", "the body: found a list, expected a mapping of keys"),
    ("/reconcile", b"null", "the body: found nothing, expected a mapping of keys"),
    ("/reconcile", b'{"proxi": "lb1"}', "the body: proxi: unknown key; did you mean proxy?"),
    ("/reconcile", b'{"proxy": 5}', "the body: proxy: found 5, expected text; put it in quotes"),
    ("/override-guard", b'{"duration": "2h"}', 'the body: duration: found "2h", expected a duration from 0s to 1h'),
    ("/override-guard", b'{"duration": 60}', f"the body: duration: found 60, {DURATION_WITH_UNIT}"),
    ("/servers/dyn-1/hold", b'{"state": "down"}', STATE),
    ("/servers/dyn-1/hold", b'{"state": "down", "prox": 1}', f"the body: 2 problems; {STATE}; {PROXY}"),
]


async def test_a_body_that_is_wrong_is_refused_with_what_was_expected(api: Api) -> None:
    for path, body, error in WRONG_BODIES:
        below = "" if path == "/reconcile" else "/backends/be_app"
        assert await api.post(below + path, data=body) == (400, {"error": error}), body


async def test_a_body_that_is_too_large_is_refused_and_the_next_one_is_not(api: Api) -> None:
    too_large = {"error": "request entity too large"}
    for size in (20_000, 5_000_000):
        assert await api.post("/reconcile", data=io.BytesIO(b" " * size)) == (413, too_large)
    assert await api.post("/reconcile", data=b"{" + b" " * 10_000 + b"}") == (200, done("lb1"))


async def test_a_body_that_is_never_sent_whole_disturbs_nobody(api: Api, controller: Dynsrv) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    head = f"POST /api/v1/reconcile HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    writer.write(head.encode() + b'Content-Length: 100\r\n\r\n{"proxy"')
    assert (await api.reconcile())[0] == 200
    writer.transport.abort()
    assert (await api.reconcile())[0] == 200
    assert await controller.stop() == 0
    assert not controller.lines(Event.HTTP_REQUEST_FAILED)


async def test_what_haproxy_does_not_do_is_a_502_with_the_sentence(api: Api, haproxy: HAProxy) -> None:
    await haproxy.stop()

    async def told() -> bool:
        status, answer = await api.hold("dyn-1")
        assert status == 502
        gone = "connection refused (the socket was left behind by a HAProxy that is gone)"
        return bool(answer == results(("lb1", "error", f"lb1: unix://{haproxy.socket}: {gone}")))

    await eventually(told)


async def test_a_haproxy_that_hangs_is_a_502_in_time(api: Api, haproxy: HAProxy) -> None:
    await haproxy.freeze()
    async with asyncio.timeout(30):
        status, answer = await api.hold("dyn-1")
    assert status == 502
    (result,) = answer["results"]
    assert result["outcome"] == "error"
    assert "HAProxy hangs" in result["detail"]
    assert await api.answers()
