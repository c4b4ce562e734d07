"""HAProxy and its sidecar, with the very files of deploy/kubernetes/sidecar: started and ended as kubelet does it."""

from __future__ import annotations

import asyncio
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from dynsrv.logs import Event
from tests.integration.support.api import Api
from tests.integration.support.consul import Consul, StartConsul, a_port
from tests.integration.support.controller import register
from tests.integration.support.haproxy import serves
from tests.integration.support.kubernetes import Manifest, data, form, templates
from tests.integration.support.load import load, request
from tests.integration.support.pod import IS_ROOT, PodDynsrv, PodHAProxy, a_secret, as_stranger, replaced
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

RULES = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'


@dataclass
class Pod:
    """The two containers, of which none runs yet, and what kubelet asks of each."""

    spec: Manifest
    haproxy: PodHAProxy
    dynsrv: PodDynsrv
    kubelet: Api
    web: Api

    async def start(self) -> None:
        """Start the sidecar, then HAProxy, as kubelet does."""
        await self.dynsrv.start()
        await eventually(self.sidecar_started)
        await self.haproxy.start()

    async def sidecar_started(self) -> bool:
        try:
            return (await self.web.text("/healthz"))[0] == 200
        except OSError:
            return False

    async def asks(self, path: str) -> int:
        """Return the status that kubelet gets from HAProxy."""
        return (await self.kubelet.text(path))[0]

    async def started(self) -> None:
        async def answers() -> bool:
            return await self.asks("/started") == 200

        await eventually(answers)


@pytest.fixture
def ports() -> Iterator[tuple[int, int]]:
    with a_port() as health, a_port() as web:
        yield health, web


@pytest.fixture
async def consul(a_consul: StartConsul) -> Consul:
    """A Consul that wants a token."""
    return await a_consul(acl=True)


@pytest.fixture
async def pod(version: str, consul: Consul, ports: tuple[int, int], stack: AsyncExitStack, *, tmp_path: Path) -> Pod:
    manifests = form("sidecar", tmp_path / "overlay")
    ((_, template),) = templates(manifests)
    spec = template["spec"]
    health, web = ports
    haproxy = PodHAProxy(version, data(manifests, "haproxy", "haproxy.cfg"), spec, health=health)
    stack.push_async_callback(haproxy.close)
    token = a_secret(haproxy.folder / "token", await consul.a_token(await consul.a_policy("dynsrv", RULES)), spec)
    configuration = replaced(
        data(manifests, "dynsrv", "dynsrv.yaml"),
        address=f"unix://{haproxy.socket}",
        token_file=str(token),
        listen=f"127.0.0.1:{web}",
    )
    (name,) = (one["name"] for one in spec["initContainers"][0]["env"])
    dynsrv = PodDynsrv(haproxy.folder / "dynsrv", configuration, spec, **{name: consul.url})
    stack.callback(lambda: print(dynsrv.log.read_text() if dynsrv.log.exists() else "no daemon"))
    stack.push_async_callback(dynsrv.stop)
    return Pod(spec, haproxy, dynsrv, Api(health), Api(web))


async def test_a_pod_gets_requests_as_soon_as_a_server_serves_and_not_before(
    pod: Pod, consul: Consul, web_servers: WebServers
) -> None:
    assert await pod.haproxy.check() == ""
    assert (await pod.dynsrv.run("check")).code == 0
    await pod.start()
    assert await pod.asks("/live") == 200
    assert await pod.asks("/started") == 503
    servers = await web_servers(2)
    await register(consul, *servers)
    await pod.started()
    assert await request(pod.haproxy.frontend) in {one.port for one in servers}
    await serves(pod.haproxy, servers)
    assert (await pod.dynsrv.run("check", "--live")).code == 0


@pytest.mark.any_version
async def test_neither_consul_nor_a_restart_of_dynsrv_nor_dead_servers_take_a_pod_that_serves_out_of_service(
    pod: Pod, consul: Consul, web_servers: WebServers
) -> None:
    servers = await web_servers(2)
    await register(consul, *servers)
    await pod.start()
    await pod.started()
    await serves(pod.haproxy, servers)
    await pod.dynsrv.logged(Event.BACKEND_IN_SYNC)
    async with load(pod.haproxy.frontend) as counts:
        await consul.terminate()
        await pod.dynsrv.logged(Event.SOURCE_FAILED)
        status, text = await pod.web.text("/readyz")
        assert (status, text.startswith("degraded: ")) == (200, True)
        assert await pod.dynsrv.stop() == 0
        await pod.dynsrv.start()
        await eventually(pod.sidecar_started)
        # why it has no readinessProbe: a dynsrv that began after Consul went does not know what is wanted
        assert (await pod.web.text("/readyz"))[0] == 503
        assert await pod.asks("/live") == 200
        sent = counts.sent
        await eventually(lambda: counts.sent > sent + 200)
    assert not counts.failed
    for server in servers:
        await server.stop()

    async def down() -> bool:
        return await pod.asks("/started") == 503

    await eventually(down)
    assert await pod.asks("/live") == 200


@pytest.mark.skipif(not IS_ROOT, reason="only root can start processes of other users")
@pytest.mark.any_version
async def test_the_runtime_api_is_for_the_containers_of_the_pod_alone(pod: Pod, consul: Consul) -> None:
    await pod.start()
    await pod.dynsrv.logged(Event.FIRST_ENDPOINTS_RECEIVED)
    socket = pod.haproxy.socket.stat()
    haproxy, dynsrv = pod.spec["containers"][0]["securityContext"], pod.spec["initContainers"][0]["securityContext"]
    assert stat.filemode(socket.st_mode) == "srw-rw----"
    assert (socket.st_uid, socket.st_gid) == (haproxy["runAsUser"], pod.spec["securityContext"]["fsGroup"])
    assert haproxy["runAsUser"] != dynsrv["runAsUser"]
    assert (await pod.dynsrv.run("status")).code == 0
    program = f"import socket; socket.socket(socket.AF_UNIX).connect({str(pod.haproxy.socket)!r})"
    process = await asyncio.create_subprocess_exec(
        *as_stranger(), sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert b"PermissionError" in err


class Client:
    """A connection that is kept alive until the block ends."""

    def __init__(self, frontend: Path) -> None:
        self._frontend = frontend

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_unix_connection(self._frontend)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    async def get(self, path: str = "/") -> bytes:
        """Return the head of the answer, which is whole; EOFError: there is none."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        async with asyncio.timeout(20):
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
            await self._reader.readexactly(length)
        return head

    async def closed_by_haproxy(self) -> None:
        """Wait until HAProxy closes the connection, though no request was sent."""
        async with asyncio.timeout(5):
            assert await self._reader.read(1) == b""


@pytest.mark.parametrize(
    "polite",
    [
        pytest.param(True, id="as shipped"),
        pytest.param(False, id="without idle-close-on-response", marks=pytest.mark.any_version),
    ],
)
async def test_haproxy_ends_after_its_last_request_and_closes_no_connection_under_one(
    pod: Pod, consul: Consul, web_servers: WebServers, stack: AsyncExitStack, *, polite: bool
) -> None:
    if not polite:
        text = pod.haproxy.configuration.read_text()
        assert "    option idle-close-on-response\n" in text
        pod.haproxy.configuration.write_text(text.replace("    option idle-close-on-response\n", ""))
    (server,) = await web_servers(1)
    await register(consul, server)
    await pod.start()
    await pod.started()
    slow, *idle = [await stack.enter_async_context(Client(pod.haproxy.frontend)) for _ in range(10)]
    for one in idle:
        assert b"connection: close" not in await one.get()
    last = asyncio.create_task(slow.get("/slow"))
    await eventually(lambda: server.slow_running)
    pod.haproxy.signal(signal.SIGUSR1)
    await eventually(lambda: "Proxy fe_app stopped" in pod.haproxy.log.read_text())
    for one in idle:
        if polite:
            assert b"connection: close" in await one.get()
        else:
            await one.closed_by_haproxy()  # so a request on its way would be lost
    server.release()
    assert b" 200 " in await last
    assert await pod.haproxy.ended(within=10) == 0
    # the sidecar ends last, as it should: at once, and well
    assert await pod.dynsrv.stop() == 0


@pytest.mark.any_version
async def test_a_changed_configmap_is_taken_over_without_a_restart_and_a_bad_one_is_not(
    pod: Pod, consul: Consul, web_servers: WebServers
) -> None:
    first, second = await web_servers(2)
    await register(consul, first)
    await register(consul, second, service="api")
    await pod.start()
    await pod.started()
    before, pid = pod.dynsrv.configuration.read_text(), pod.dynsrv.pid
    after = replaced(before, service="api")
    async with load(pod.haproxy.frontend) as counts:
        pod.dynsrv.change(f"{after}\nsevrice: api\n")
        await pod.dynsrv.logged(Event.CONFIGURATION_RELOAD_FAILED)
        await serves(pod.haproxy, [first])
        pod.dynsrv.change(after)
        await pod.dynsrv.logged(Event.CONFIGURATION_RELOADED)
        await serves(pod.haproxy, [second])
    assert not counts.failed
    assert pod.dynsrv.pid == pid


@pytest.mark.any_version
async def test_a_haproxy_that_died_is_ready_again_when_it_has_its_servers_back(
    pod: Pod, consul: Consul, web_servers: WebServers
) -> None:
    servers = await web_servers(2)
    await register(consul, *servers)
    await pod.start()
    await serves(pod.haproxy, servers)
    worker = await pod.haproxy.pid()
    await pod.haproxy.stop(kill=True)
    await eventually(lambda: not pod.haproxy.lives(worker))
    await pod.haproxy.start()
    await pod.started()
    assert await request(pod.haproxy.frontend) in {one.port for one in servers}
    await serves(pod.haproxy, servers)
