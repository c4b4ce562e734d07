"""One dynsrv and two HAProxys, with the very files of deploy/kubernetes: over TLS, by docs/kubernetes.md."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.api import Api
from tests.integration.support.consul import Consul, a_port
from tests.integration.support.controller import register
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.kubernetes import REPOSITORY, Manifest, data, form, only
from tests.integration.support.load import load
from tests.integration.support.pod import PodDynsrv, PodHAProxy, a_secret
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

GUIDE = REPOSITORY / "docs" / "kubernetes.md"
SECRETS = ("haproxy-runtime-api", "dynsrv-runtime-api")


@pytest.fixture
def manifests(tmp_path: Path) -> list[Manifest]:
    return form("deployment-consul with everything", tmp_path / "overlay")


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """The folder in which the commands of docs/kubernetes.md ran, without the one that asks a cluster."""
    (script,) = re.findall(r"```bash\n(openssl .*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert "\n    kubectl" in script
    (folder := tmp_path / "certificates").mkdir()
    subprocess.run(["bash", "-euc", f"kubectl() {{ :; }}\n{script}"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def ports() -> Iterator[list[int]]:
    with ExitStack() as stack:
        yield [stack.enter_context(a_port()) for _ in range(6)]


class Fleet:
    """Two HAProxys, and what is needed to start a dynsrv for them."""

    def __init__(
        self, manifests: list[Manifest], certificates: Path, consul: Consul, *, ports: list[int], stack: AsyncExitStack
    ) -> None:
        self._certificates = certificates
        self._consul = consul
        self._stack = stack
        self._deployment = only(manifests, "Deployment")["spec"]["template"]["spec"]
        self._text = data(manifests, "dynsrv", "dynsrv.yaml")
        *self.runtime_api, one, other, self._web, self._other_web = ports
        statefulset = only(manifests, "StatefulSet")["spec"]["template"]["spec"]
        self.haproxys = [
            PodHAProxy(
                "3.2",
                data(manifests, "haproxy", "haproxy.cfg"),
                statefulset,
                health=health,
                RUNTIME_API=f"127.0.0.1:{port}",
            )
            for port, health in zip(self.runtime_api, (one, other), strict=True)
        ]
        self.kubelet = Api(one)
        for haproxy in self.haproxys:
            stack.push_async_callback(haproxy.close)
            haproxy.mount(self.secret(haproxy.folder, "haproxy-runtime-api", statefulset))

    def secret(self, folder: Path, name: str, pod: Manifest) -> Path:
        """Mount the Secret of the certificate *name* below *folder*."""
        (mounted := folder / name).mkdir(parents=True)
        for file, key in ((f"{name}.crt", "tls.crt"), (f"{name}.key", "tls.key"), ("ca.crt", "ca.crt")):
            a_secret(mounted / key, (self._certificates / file).read_text(), pod)
        return mounted

    def dynsrv(self, name: str = "dynsrv") -> PodDynsrv:
        """Return another dynsrv, of the one configuration, that does not run yet."""
        folder = self.haproxys[0].folder / name
        text = self._text
        for number, port in enumerate(self.runtime_api):
            address = f"tcp+tls://haproxy-{number}.haproxy-runtime-api:9999"
            assert address in text
            text = text.replace(address, f"tcp+tls://127.0.0.1:{port}")
        secret = self.secret(self.haproxys[0].folder / f"run-{name}", "dynsrv-runtime-api", self._deployment)
        assert text.count("/run/secrets/runtime-api/") == 3
        text = text.replace("/run/secrets/runtime-api", str(secret)).replace("0.0.0.0:9105", f"127.0.0.1:{self._web}")
        # this Consul has no ACLs, for which the file says what to do
        text = "".join(line for line in text.splitlines(keepends=True) if "token_file" not in line)
        dynsrv = PodDynsrv(folder, text, self._deployment, CONSUL_HTTP_ADDR=self._consul.url)
        self._stack.callback(lambda: print(dynsrv.log.read_text() if dynsrv.log.exists() else "no daemon"))
        self._stack.push_async_callback(dynsrv.stop)
        self._web = self._other_web
        return dynsrv

    async def serve(self, servers: list[WebServer]) -> None:
        for haproxy in self.haproxys:
            await serves(haproxy, servers)


@pytest.fixture
async def fleet(
    manifests: list[Manifest], certificates: Path, consul: Consul, *, ports: list[int], stack: AsyncExitStack
) -> Fleet:
    fleet = Fleet(manifests, certificates, consul, ports=ports, stack=stack)
    for haproxy in fleet.haproxys:
        assert await haproxy.check() == ""
        await haproxy.start()
    return fleet


async def test_one_dynsrv_drives_several_haproxys_over_tls(
    fleet: Fleet, consul: Consul, web_servers: WebServers
) -> None:
    dynsrv = fleet.dynsrv()
    assert (await dynsrv.run("check")).code == 0
    await dynsrv.start()
    assert (await fleet.kubelet.text("/started"))[0] == 503
    servers = await web_servers(2)
    await register(consul, *servers)
    await fleet.serve(servers)
    assert (await fleet.kubelet.text("/started"))[0] == 200
    assert (await dynsrv.run("check", "--live")).code == 0
    assert (await dynsrv.run("status")).code == 0


async def test_the_runtime_api_answers_nobody_who_shows_no_certificate(fleet: Fleet, certificates: Path) -> None:
    async def ask(command: list[str]) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        # openssl s_client ends at the end of its input, before the answer; so it gets none
        assert process.stdin is not None
        process.stdin.write(b"show info\n")
        async with asyncio.timeout(20):
            out, _ = await asyncio.gather(_until(process, b"Pid: ", b"alert", b"errno"), process.stdin.drain())
        if process.returncode is None:
            process.kill()
        await process.wait()
        return out

    to = ["openssl", "s_client", "-quiet", "-CAfile", str(certificates / "ca.crt"), "-connect"]
    address = f"127.0.0.1:{fleet.runtime_api[0]}"
    assert b"Pid: " not in await ask([*to, address])
    shown = ["-cert", str(certificates / f"{SECRETS[1]}.crt"), "-key", str(certificates / f"{SECRETS[1]}.key")]
    assert b"Pid: " in await ask([*to, address, *shown])
    reader, writer = await asyncio.open_connection("127.0.0.1", fleet.runtime_api[0])
    writer.write(b"show info\n")
    async with asyncio.timeout(5):
        assert b"Pid: " not in await reader.read(-1)  # not TLS, so HAProxy closes the connection
    writer.transport.abort()


async def _until(process: asyncio.subprocess.Process, *signs: bytes) -> bytes:
    """Return what *process* says until one of *signs* comes, or its end."""
    assert process.stdout is not None
    said = b""
    while not any(sign in said for sign in signs) and (chunk := await process.stdout.read(4096)):
        said += chunk
    return said


async def test_a_second_dynsrv_of_the_same_configuration_does_no_harm(
    fleet: Fleet, consul: Consul, web_servers: WebServers
) -> None:
    both = [fleet.dynsrv("first"), fleet.dynsrv("second")]
    servers = await web_servers(6)
    await register(consul, *servers[:3])
    for one in both:
        await one.start()
    await fleet.serve(servers[:3])
    (haproxy, _) = fleet.haproxys
    async with load(haproxy.frontend) as counts:
        for leaves, comes in zip(servers[:3], servers[3:], strict=True):
            await register(consul, comes)
            await _gets(haproxy, comes)
            await consul.deregister(f"web-{leaves.port}")
            await _has_no(haproxy, leaves)
        await fleet.serve(servers[3:])
    assert not counts.failed
    for one in both:
        await one.logged(Event.BACKEND_IN_SYNC)
        assert (await one.run("status")).code == 0


async def _gets(haproxy: HAProxy, server: WebServer) -> None:
    async def ready() -> bool:
        return server.port in await haproxy.ready_ports()

    await eventually(ready)


async def _has_no(haproxy: HAProxy, server: WebServer) -> None:
    async def gone() -> bool:
        return server.port not in {row.port for row in (await haproxy.servers()).values()}

    await eventually(gone)
