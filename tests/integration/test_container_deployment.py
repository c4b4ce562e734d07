"""One dynsrv keeps two HAProxys over TCP as a Consul says, each in a container of its own: the form of a Deployment."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dynsrv.logs import Event
from tests.integration.support.certificates import make_certificates
from tests.integration.support.containers import ConsulContainer, DynsrvContainer, Engine, HAProxyContainer
from tests.integration.support.controller import from_consul
from tests.integration.support.haproxy import serves
from tests.integration.support.load import load, request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer

pytestmark = pytest.mark.any_version

CERTIFICATES = "/etc/dynsrv/certificates"
"""In dynsrv's container and in HAProxy's."""
TLS = {
    "ca_file": f"{CERTIFICATES}/consul-agent-ca.pem",
    "cert_file": f"{CERTIFICATES}/dc1-client-consul-0.pem",
    "key_file": f"{CERTIFICATES}/dc1-client-consul-0-key.pem",
    "server_name": "server.dc1.consul",
}


class Stage:
    """The HAProxys lb1 and lb2, Consul, and dynsrv, which is not started."""

    def __init__(self, engine: Engine, haproxys: list[HAProxyContainer], consul: ConsulContainer) -> None:
        self.engine = engine
        self.haproxys = haproxys
        self.consul = consul
        self.controller: DynsrvContainer

    async def register(self, *servers: WebServer) -> None:
        for server in servers:
            await self.consul.register("web", address=server.host, port=server.port)

    async def serves(self, servers: list[WebServer]) -> None:
        for haproxy in self.haproxys:
            await serves(haproxy, servers)


StartStage = Callable[[str], Awaitable[Stage]]


@pytest.fixture
def a_stage(engine: Engine, version: str, tmp_path: Path) -> StartStage:
    """Start all but dynsrv; its *way* to HAProxy is `tcp`, or `tcp+tls` with certificates on both sides."""

    async def start(way: str) -> Stage:
        folder = tmp_path / "certificates"
        certificates = make_certificates(folder)
        both = certificates.server.certificate.read_text() + certificates.server.key.read_text()
        (folder / "haproxy.pem").write_text(both)
        for path in folder.iterdir():
            path.chmod(0o644)  # or they would be those of the user who runs the tests
        extra = "\nglobal\n    stats socket ipv4@:9999 level admin\n"
        if way == "tcp+tls":
            # The folder of its sockets is not known yet, so it passes on to a socket in another place.
            extra = f"""
global
    stats socket /var/lib/haproxy/admin.sock level admin
listen runtime_api
    mode tcp
    bind :9999 ssl crt {CERTIFICATES}/haproxy.pem ca-file {TLS["ca_file"]} verify required
    server stats_socket unix@/var/lib/haproxy/admin.sock
"""
        one, two, consul = await asyncio.gather(
            engine.haproxy(version, extra=extra, volumes={str(folder): CERTIFICATES}),
            engine.haproxy(version, extra=extra, volumes={str(folder): CERTIFICATES}),
            engine.consul(),
        )
        stage = Stage(engine, [one, two], consul)
        tls: dict[str, Any] = {"tls": TLS} if way == "tcp+tls" else {}
        stage.controller = engine.dynsrv(
            proxies=[
                {"name": f"lb{number}", "address": f"{way}://{haproxy.name}:9999", **tls}
                for number, haproxy in enumerate(stage.haproxys, 1)
            ],
            backend={"source": from_consul(f"http://{consul.name}:8500"), "drain": {"timeout": "60s"}},
            resync={"probe": "200ms"},
        )
        return stage

    return start


@pytest.mark.parametrize("way", ["tcp", "tcp+tls"])
async def test_two_haproxys_follow_consul_and_no_request_is_lost_even_if_dynsrv_is_killed_meanwhile(
    a_stage: StartStage, way: str
) -> None:
    stage = await a_stage(way)
    old, *others = servers = await stage.engine.web_servers(4)
    await stage.register(*servers[:3])
    await stage.controller.start()
    await stage.serves(servers[:3])
    one, two = stage.haproxys
    async with load(one.frontend, workers=4) as first, load(two.frontend, workers=4) as second:
        await stage.register(servers[3])
        await eventually(lambda: all(counts.answered[servers[3].port] > 50 for counts in (first, second)))
        slow = [asyncio.create_task(request(one.frontend, "/slow", timeout=60)) for _ in range(8)]
        await eventually(lambda: old.slow_running)
        assert await stage.controller.stop(signal.SIGKILL) == 137
        await stage.consul.deregister(f"web-{old.port}")
        await stage.controller.start()

        async def drains() -> bool:
            rows = (await one.servers()).values()
            assert {row.port for row in rows if row.draining} == {old.port}
            return True

        await eventually(drains)
        await serves(two, others)
        for server in servers:
            server.release()
        await stage.serves(others)
        assert old.port in {await answer for answer in slow}
        sent = first.sent, second.sent
        await eventually(lambda: first.sent > sent[0] + 200 and second.sent > sent[1] + 200)
    assert not first.failed
    assert not second.failed
    assert await stage.controller.stop() == 0


async def test_a_haproxy_that_hangs_or_is_reloaded_does_not_hold_up_the_other(a_stage: StartStage) -> None:
    stage = await a_stage("tcp")
    servers = await stage.engine.web_servers(3)
    await stage.register(*servers[:2])
    await stage.controller.start()
    await stage.serves(servers[:2])
    one, two = stage.haproxys
    async with load(two.frontend, workers=4) as counts:
        await one.pause()
        await stage.register(servers[2])
        await serves(two, servers)
        await stage.controller.logged(Event.HAPROXY_UNREACHABLE)
        await one.unpause()
        await serves(one, servers)
        await stage.controller.logged(Event.BACKEND_IN_SYNC)
        await one.reload()
        await stage.controller.logged(Event.HAPROXY_RELOADED)
        await stage.serves(servers)
        sent = counts.sent
        await eventually(lambda: counts.sent > sent + 200)
    assert not counts.failed
