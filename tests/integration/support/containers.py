"""HAProxy, Consul and dynsrv in containers of a real engine; what a test tells and asks them is the same as elsewhere.

Whatever is made is named after the process that runs the test, so that the next finds what a killed one left behind.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from tests.integration.support.consul_api import ConsulAPI
from tests.integration.support.controller import Dynsrv
from tests.integration.support.haproxy import HAProxy
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer
from tools.engine import missing_engine
from tools.images import DYNSRV, consul_image, haproxy_image

NOT_RUN = "a test of containers was NOT RUN"
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
"""What takes away from a container everything that dynsrv does not need."""
HAPROXY = 99 if os.getuid() == 0 else os.getuid()
"""The user and the group that HAProxy runs as: those of its image, or ours, so that we may use its sockets, too."""

# What would clean up, a container of its own, would have to be pulled.
testcontainers_config.ryuk_disabled = True


def docker(*arguments: str, check: bool = True) -> str:
    """Run a command of Docker's, and return what it printed."""
    command = ["docker", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}"
    return done.stdout.strip()


def a_name() -> str:
    """Return a name for a container, a network, a volume or a project of Compose."""
    return f"dynsrv-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def remove_leftovers() -> None:
    """Remove what tests left behind whose process is gone."""
    for kind, listing in (("container", ("ps", "--all")), ("network", ("network", "ls")), ("volume", ("volume", "ls"))):
        field = "{{.Names}}" if kind == "container" else "{{.Name}}"
        for name in docker(*listing, "--format", field).splitlines():
            match = re.match(r"dynsrv-test-(\d+)-", name)
            if match and not Path("/proc", match[1]).exists():
                docker(kind, "rm", *(["--force"] if kind == "container" else []), name, check=False)


class HAProxyContainer(HAProxy):
    """HAProxy out of an image. Its own folder is in the container, too, at the same path: with sockets for the test."""

    def __init__(self, version: str, network: str, *, volumes: Mapping[str, str], extra: str = "") -> None:
        super().__init__(version, extra=extra)
        self.name = a_name()
        folder = self.configuration.parent
        folder.chmod(0o755)
        os.chown(folder, HAPROXY, HAPROXY)
        self.log.touch()  # Docker has what it logs
        self._container = DockerContainer(haproxy_image(version), name=self.name)
        self._container.with_kwargs(network=network, user=f"{HAPROXY}:{HAPROXY}")
        self._container.with_volume_mapping(self.configuration, "/usr/local/etc/haproxy/haproxy.cfg", "ro")
        for source, target in {str(folder): str(folder), **volumes}.items():
            self._container.with_volume_mapping(source, target, "rw")

    async def start(self) -> None:
        await asyncio.to_thread(self._container.start)
        await eventually(self._answers, what="HAProxy answers")

    async def _answers(self) -> bool:
        try:
            return "Pid" in await self.ask("show info")
        except OSError:
            return False

    def signal(self, number: signal.Signals) -> None:
        self._container.get_wrapped_container().kill(signal=number.name)

    async def pause(self) -> None:
        await asyncio.to_thread(self._container.get_wrapped_container().pause)

    async def unpause(self) -> None:
        await asyncio.to_thread(self._container.get_wrapped_container().unpause)

    async def close(self) -> None:
        print(
            f"--- HAProxy {self.name}",
            await asyncio.to_thread(docker, "logs", "--tail=50", self.name, check=False),
            sep="\n",
        )
        await asyncio.to_thread(self._container.stop)
        await super().close()


class ConsulContainer(ConsulAPI):
    """Consul out of an image; it forgets everything when it ends."""

    def __init__(self, network: str) -> None:
        self.name = a_name()
        self._container = DockerContainer(consul_image(), name=self.name)
        self._container.with_kwargs(network=network, hostname="consul")
        super().__init__("", node="consul")

    async def start(self) -> None:
        await asyncio.to_thread(self._container.start)
        self.url = f"http://{address_of(self.name)}:8500"

        async def leads() -> bool:
            try:
                return bool((await self.ask("/v1/catalog/nodes")).json)
            except (OSError, EOFError, ValueError):
                return False

        await eventually(leads, what="Consul has a leader and itself as a node")

    async def close(self) -> None:
        await asyncio.to_thread(self._container.stop)


class DynsrvContainer(Dynsrv):
    """dynsrv as `docker run` starts it, with its folder at /etc/dynsrv, as an operator would type it."""

    def __init__(self, folder: Path, network: str, *, options: tuple[str, ...] = (), **settings: Any) -> None:
        super().__init__(folder, **settings)
        folder.chmod(0o755)  # of pytest's
        self.name = ""
        self._options = (f"--network={network}", f"--volume={folder}:/etc/dynsrv:ro", *HARDENED, *options)

    def command(self, command: str, *arguments: str) -> list[str]:
        if command == "run":
            self.name = a_name()
        name = [f"--name={self.name}"] if command == "run" else []
        return ["docker", "run", "--rm", *name, *self._options, DYNSRV, command, *arguments]

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop the daemon and return the exit code of `docker run`, within the time that Docker gives a container."""
        process, self._process = self._process, None
        if process is None:
            return 0
        await asyncio.to_thread(docker, "kill", f"--signal={number.name}", self.name)
        async with asyncio.timeout(10):
            return await process.wait()

    async def close(self) -> None:
        if self.name:
            await asyncio.to_thread(docker, "rm", "--force", self.name, check=False)
        if self._process is not None:
            await self._process.wait()

    @property
    def pid(self) -> int:
        """The process in the container, by its number outside."""
        return int(docker("inspect", "--format={{.State.Pid}}", self.name))

    def process_status(self) -> str:
        """Return what the kernel knows of the process: its user, its rights."""
        return Path(f"/proc/{self.pid}/status").read_text()


def address_of(container: str) -> str:
    """Return the container's address on its only network, which this machine reaches, too."""
    return docker("inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)


class Engine:
    """A Docker engine, and a network on it with containers that are removed at the end."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.network = a_name()
        docker("network", "create", self.network)
        stack.callback(docker, "network", "rm", self.network, check=False)
        self.gateway = docker("network", "inspect", self.network, "--format={{(index .IPAM.Config 0).Gateway}}")

    def a_volume(self) -> str:
        """Make a volume for HAProxy's socket, as docs/containers.md tells to."""
        name = a_name()
        rights = f"o=uid={HAPROXY},gid={HAPROXY},mode=0750"
        docker("volume", "create", "--opt=type=tmpfs", "--opt=device=tmpfs", f"--opt={rights}", name)
        self._stack.callback(docker, "volume", "rm", name, check=False)
        return name

    async def haproxy(
        self, version: str, *, extra: str = "", volumes: Mapping[str, str] | None = None
    ) -> HAProxyContainer:
        """Start HAProxy with *extra* in its configuration, and with *volumes* at their paths."""
        haproxy = HAProxyContainer(version, self.network, extra=extra, volumes=volumes or {})
        self._stack.push_async_callback(haproxy.close)
        await haproxy.start()
        return haproxy

    async def consul(self) -> ConsulContainer:
        consul = ConsulContainer(self.network)
        self._stack.push_async_callback(consul.close)
        await consul.start()
        return consul

    def dynsrv(self, *options: str, **settings: Any) -> DynsrvContainer:
        """Install dynsrv, with *options* of `docker run` and *settings* as of the fixture `dynsrv`."""
        controller = DynsrvContainer(self._folder, self.network, options=options, **settings)
        self._stack.callback(lambda: print(controller.log.read_text() if controller.log.exists() else "no daemon"))
        self._stack.push_async_callback(controller.close)
        return controller

    async def web_servers(self, number: int) -> list[WebServer]:
        """Start so many web servers where containers of the network reach them."""
        return [await (await self._stack.enter_async_context(WebServer(self.gateway))).start() for _ in range(number)]


def need_an_engine() -> None:
    """Skip the test where no engine answers; the summary of all tests tells it in red."""
    if reason := missing_engine():
        pytest.skip(f"{NOT_RUN}: {reason}; `make engine` starts one")
    assert docker("image", "ls", "-q", DYNSRV), f"there is no image {DYNSRV}: run `make images`"
