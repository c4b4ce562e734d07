"""`docker compose up` in a fresh clone: HAProxy, dynsrv, Consul, and web servers that come and go without loss."""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support.api import Api
from tests.integration.support.browser import Chromium
from tests.integration.support.containers import a_name, docker
from tests.integration.support.haproxy import REPOSITORY
from tests.integration.support.ports import a_port
from tests.integration.support.waiting import eventually
from tools.images import base_image, consul_image, haproxy_image


class Project:
    """The containers of deploy/compose.yaml, in a copy of the repository as a clone of it would be."""

    def __init__(self, folder: Path, *, http_port: int, status_port: int) -> None:
        self.name = a_name()
        self._folder = folder
        self.http_port = http_port
        self.api = Api(status_port)
        self._environment = {
            **os.environ,
            "BASE_IMAGE": base_image(),
            "CONSUL_IMAGE": consul_image(),
            "DYNSRV_IMAGE": "dynsrv-test/composed",
            "HAPROXY_IMAGE": haproxy_image("3.2"),
            "HTTP_PORT": str(http_port),
            "STATUS_PORT": str(status_port),
        }

    def compose(self, *arguments: str) -> str:
        """Run a command of Docker Compose, and return what it printed."""
        # The same program as the plugin behind `docker compose`, without a place among the plugins of the user.
        program = REPOSITORY / ".docker-compose" / "docker-compose"
        command = [str(program), "-p", self.name, "-f", "deploy/compose.yaml", *arguments]
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    async def scale(self, number: int) -> None:
        await asyncio.to_thread(self.compose, "up", "-d", "--scale", f"web={number}")

    def ask(self) -> str:
        """Send one request through HAProxy's published port, and return the name that it was answered with."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=10)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read().decode()
            assert answer.status == 200, f"{answer.status} {body}"
            return str(body).strip()
        finally:
            connection.close()

    async def serves(self, number: int) -> None:
        """Wait until so many servers are live, serve, and answer."""

        async def exactly() -> bool:
            servers: list[dict[str, Any]] = (await self.api.backend("haproxy"))["servers"]
            assert [server["serving"] for server in servers] == [True] * number, servers
            answered = {await asyncio.to_thread(self.ask) for _ in range(3 * number)}
            assert len(answered) == number, answered
            return True

        await eventually(exactly)


@pytest.fixture
def project(an_engine: None, tmp_path: Path) -> Iterator[Project]:
    folder = tmp_path / "clone"
    listed = subprocess.check_output(["git", "ls-files", "-coz", "--exclude-standard"], cwd=REPOSITORY, text=True)
    for name in listed.rstrip("\0").split("\0"):
        if (REPOSITORY / name).is_file():  # and was not deleted
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    tmp_path.chmod(0o755)
    with a_port() as http_port, a_port() as status_port:
        project = Project(folder, http_port=http_port, status_port=status_port)
        try:
            yield project
        finally:
            print(project.compose("logs", "--tail=40", "dynsrv", "haproxy", "web"))
            project.compose("down", "--volumes", "--timeout=1")


@asynccontextmanager
async def load(project: Project) -> AsyncIterator[Counter[str]]:
    """Send requests until the block ends; yield counts by the server that answered, or by what went wrong."""
    counts: Counter[str] = Counter()
    stop = False

    async def work() -> None:
        while not stop:
            try:
                counts[await asyncio.to_thread(project.ask)] += 1
            except (AssertionError, OSError, http.client.HTTPException) as error:
                counts[f"failed: {error!r}"] += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(work())
        try:
            yield counts
        finally:
            stop = True


async def test_compose_shows_dynsrv_at_work_and_scaling_loses_no_request(project: Project, browser: Chromium) -> None:
    await asyncio.to_thread(project.compose, "up", "-d", "--build")
    await project.api.ready()
    await project.serves(3)
    page = await browser.open(project.api.port)

    async def in_line() -> bool:
        assert await page.verdict() == "Everything is in sync"
        assert [cells[2:5] for cells in (await page.servers()).values()] == [["yes", "ready / up", "passed"]] * 3
        return True

    await eventually(in_line)
    async with load(project) as counts:
        await project.scale(5)
        await project.serves(5)
        await project.scale(3)
        await project.serves(3)
    assert len(counts) == 5, counts  # the web servers' names, and no failure
    listens = docker("ps", "--format={{.Ports}}", f"--filter=name={project.name}")
    assert "127.0.0.1:" in listens
    assert "0.0.0.0:" not in listens
