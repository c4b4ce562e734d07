from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from dynsrv.errors import ConfigurationError
from dynsrv.web.event_stream import StatusSection
from dynsrv.web.interfaces import OperatorActions, StatusReader
from dynsrv.web.server import application, serving


class FakeReader:
    """As much of a status as these routes need."""

    def __init__(self, not_ready: Sequence[str], degraded: Sequence[str]) -> None:
        self.registry = CollectorRegistry()
        Gauge("dynsrv_example", "An example.", registry=self.registry).set(7)
        self._not_ready = not_ready
        self._degraded = degraded

    def not_ready(self) -> Sequence[str]:
        return self._not_ready

    def degraded(self) -> Iterator[str]:
        return iter(self._degraded)

    def sections(self) -> Iterator[StatusSection]:
        return iter(())


def a_site(*, not_ready: Sequence[str] = (), degraded: Sequence[str] = ()) -> web.Application:
    return application(
        cast(StatusReader, FakeReader(not_ready, degraded)), cast(OperatorActions, None), token_file=None
    )


async def the_answer(site: web.Application, path: str, *, method: str = "GET") -> web.Response:
    """Route a request and answer it, without a connection."""
    request = make_mocked_request(method, path)
    match = await site.router.resolve(request)
    response = await match.handler(request)
    assert isinstance(response, web.Response)
    return response


async def test_metrics_are_served_in_the_format_of_prometheus() -> None:
    response = await the_answer(a_site(), "/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert isinstance(response.body, bytes)
    (family,) = text_string_to_metric_families(response.body.decode())
    assert (family.name, family.samples[0].value) == ("dynsrv_example", 7)


async def test_a_process_that_answers_lives_whatever_it_waits_for() -> None:
    response = await the_answer(a_site(not_ready=["the source has not answered yet"]), "/healthz")
    assert (response.status, response.text) == (200, "ok\n")


async def test_what_is_ready_says_so() -> None:
    response = await the_answer(a_site(), "/readyz")
    assert (response.status, response.text) == (200, "ok\n")


async def test_what_is_not_ready_says_why_one_reason_a_line() -> None:
    response = await the_answer(a_site(not_ready=["one", "two"], degraded=["three"]), "/readyz")
    assert (response.status, response.text) == (503, "one\ntwo\n")


async def test_what_is_degraded_is_ready_and_says_what_is_amiss() -> None:
    response = await the_answer(a_site(degraded=["one", "two"]), "/readyz")
    assert (response.status, response.text) == (200, "degraded: one\ndegraded: two\n")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nope", 404), ("POST", "/metrics", 405)])
async def test_nothing_else_is_answered(method: str, path: str, status: int) -> None:
    with pytest.raises(web.HTTPException) as caught:
        await the_answer(a_site(), path, method=method)
    assert caught.value.status == status


async def test_an_address_that_cannot_be_listened_on_is_the_operator_s_to_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def taken(*_: object, **__: object) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_server", taken)
    with pytest.raises(ConfigurationError) as caught:
        await serving(a_site(), host="127.0.0.1", port=9105).__aenter__()
    assert str(caught.value) == (
        "web.listen: cannot listen on 127.0.0.1:9105: Address already in use;"
        " change it, or turn it off with `web: null`"
    )


async def test_it_serves_inside_of_the_block_and_not_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    listening: list[tuple[object, ...]] = []

    class Listener:
        def close(self) -> None:
            listening.pop()

    async def listen(_: object, *address: object, **__: object) -> Listener:
        listening.append(address)
        return Listener()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_server", listen)
    async with serving(a_site(), host="::1", port=9105):
        assert listening == [("::1", 9105)]
    assert listening == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *[
            (host, 200)
            for host in ("localhost", "localhost:9105", "127.0.0.1:9105", "[::1]:9105", "[::1]", "LB.example:80")
        ],
        *[(host, 403) for host in ("evil.example", "evil.example:9105", "localhost.evil.example", "10.0.0.1:9105", "")],
    ],
)
async def test_a_request_for_another_host_is_refused_where_hosts_are_limited(host: str, status: int) -> None:
    reader = cast(StatusReader, FakeReader((), ()))
    site = application(reader, cast(OperatorActions, None), token_file=None, hosts=["lb.example"])
    request = make_mocked_request("GET", "/healthz", headers={"Host": host})
    match = await site.router.resolve(request)
    handler = match.handler
    for middleware in reversed(list(site.middlewares)):
        handler = partial(middleware, handler=handler)
    assert (await handler(request)).status == status
