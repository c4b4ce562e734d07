"""Metrics and health tell what HAProxy has, and why dynsrv is not ready."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dynsrv.logs import Event
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version


async def _get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def _metrics(port: int) -> dict[str, float]:
    _, text = await _get(port, "/metrics")
    return {
        sample.name + "".join(f",{key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def _answers(port: int) -> bool:
    try:
        return (await _get(port, "/healthz")) == (200, "ok\n")
    except aiohttp.ClientError:
        return False


async def test_metrics_tell_the_servers_the_passes_and_the_convergence(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, unused_tcp_port: int
) -> None:
    servers = await web_servers(3)
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}"})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)

    async def told() -> bool:
        metrics = await _metrics(unused_tcp_port)
        assert metrics["dynsrv_servers,backend=be_app,proxy=lb1,state=ready"] == 3
        assert metrics["dynsrv_desired_servers,backend=be_app"] == 3
        assert metrics["dynsrv_proxy_up,proxy=lb1"] == 1
        assert metrics["dynsrv_source_up,backend=be_app,kind=file"] == 1
        assert metrics["dynsrv_steps_total,backend=be_app,proxy=lb1,result=done,step=add"] == 3
        assert metrics["dynsrv_convergence_seconds_count,backend=be_app"] == 1
        assert metrics["dynsrv_reconcile_total,backend=be_app,proxy=lb1,result=converged"] >= 1
        return True

    await eventually(told)
    assert await _get(unused_tcp_port, "/readyz") == (200, "ok\n")


async def test_readiness_and_convergence_follow_within_the_probe_when_haproxy_dies(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, unused_tcp_port: int
) -> None:
    servers = await web_servers(1)
    controller = dynsrv(
        haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}"}, resync={"interval": "1h", "probe": "200ms"}
    )
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)

    async def converged(expected: int) -> bool:
        return (await _metrics(unused_tcp_port))["dynsrv_converged,backend=be_app,proxy=lb1"] == expected

    await eventually(lambda: converged(1))
    assert await _get(unused_tcp_port, "/readyz") == (200, "ok\n")
    await haproxy.stop(kill=True)

    async def degraded() -> bool:
        _, text = await _get(unused_tcp_port, "/readyz")
        return "degraded: backend be_app on lb1" in text

    await eventually(degraded)
    await eventually(lambda: converged(0))


async def test_not_ready_says_why(a_haproxy: StartHAProxy, dynsrv: Install, unused_tcp_port: int) -> None:
    haproxy = await a_haproxy(backend="balance static-rr")
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}"})
    await controller.start()
    await eventually(lambda: _answers(unused_tcp_port))

    async def reason(sentence: str) -> bool:
        status, text = await _get(unused_tcp_port, "/readyz")
        return status == 503 and sentence in text

    await eventually(lambda: reason("there is no such file"))
    controller.want([])
    await eventually(lambda: reason("its algorithm (static-rr) does not accept servers at runtime"))
    metrics = await _metrics(unused_tcp_port)
    assert metrics["dynsrv_backend_rejected,backend=be_app,proxy=lb1,reason=algorithm"] == 1


async def test_a_port_that_is_taken_is_a_clear_error(
    haproxy: HAProxy, dynsrv: Install, web_servers: WebServers
) -> None:
    (server,) = await web_servers(1)
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{server.port}"})
    finished = await controller.run("run")
    assert finished.code == 1, finished
    assert f"web.listen: cannot listen on 127.0.0.1:{server.port}: " in finished.err
    assert "turn it off with `web: null`" in finished.err


async def test_a_page_of_another_site_reads_nothing_through_a_name_of_its_own_and_no_version_is_told(
    haproxy: HAProxy, dynsrv: Install, *, unused_tcp_port: int
) -> None:
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}", "hosts": ["lb.example"]})
    controller.want([])
    await controller.start()
    await controller.logged(Event.BACKEND_IN_SYNC)
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with aiohttp.ClientSession() as session:
        for path in ("/", "/metrics", "/api/v1/status", "/none"):
            async with session.get(url + path, headers={"Host": f"evil.example:{unused_tcp_port}"}) as answer:
                assert (answer.status, answer.headers["Server"]) == (403, "dynsrv")
        for host in (f"127.0.0.1:{unused_tcp_port}", "localhost:80", "lb.example"):
            async with session.get(url + "/healthz", headers={"Host": host}) as answer:
                assert (answer.status, answer.headers["Server"]) == (200, "dynsrv")
    reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
    writer.write(b"nonsense\r\n\r\n")
    answered = await reader.read()
    writer.close()
    assert b"Server: dynsrv" in answered
    assert b"aiohttp/" not in answered
