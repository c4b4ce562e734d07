"""The image itself: what is in it, how it starts and ends, whether it is healthy, and what it says if it cannot run."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dynsrv import __version__
from dynsrv.logs import Event
from tests.integration.support.api import Api
from tests.integration.support.certificates import make_certificates
from tests.integration.support.containers import HAPROXY, HARDENED, Engine, docker
from tests.integration.support.haproxy import REPOSITORY
from tests.integration.support.ports import a_port
from tests.integration.support.waiting import eventually
from tools.images import DYNSRV, base_image

SOCKET = "/run/haproxy/admin.sock"
PROXIES = [{"name": "lb1", "address": f"unix://{SOCKET}"}]
OFTEN = ("--health-interval=300ms", "--health-timeout=2s", "--health-retries=1", "--health-start-period=0s")
EVERYWHERE: dict[str, Any] = {"listen": "0.0.0.0:9105"}


@pytest.fixture
def port() -> Iterator[int]:
    with a_port() as port:
        yield port


def configuration() -> Any:
    return json.loads(docker("image", "inspect", DYNSRV))[0]["Config"]


def in_the_image(*command: str) -> str:
    """Run another program than dynsrv, and return what it printed."""
    return docker("run", "--rm", *HARDENED, f"--entrypoint={command[0]}", DYNSRV, *command[1:])


def size(image: str) -> float:
    """Return megabytes."""
    return int(docker("image", "inspect", "--format={{.Size}}", image)) / 1e6


@pytest.mark.usefixtures("an_engine")
def test_the_image_tells_what_it_is_and_is_not_roots() -> None:
    labels = configuration()["Labels"]
    assert labels["org.opencontainers.image.title"] == "dynsrv"
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert re.fullmatch(r"\d+:\d+", configuration()["User"])
    assert not configuration()["User"].startswith("0:")
    assert docker("run", "--rm", *HARDENED, DYNSRV, "--version") == f"dynsrv, version {__version__}"


@pytest.mark.usefixtures("an_engine")
def test_the_image_has_what_is_tested_and_nothing_of_the_tests() -> None:
    code = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()), sep='\\n')"
    installed = set(in_the_image("python", "-c", code).lower().splitlines())
    locked = set((REPOSITORY / "requirements.lock").read_text().lower().splitlines())
    assert installed - {f"dynsrv=={__version__}"} <= {line.replace("_", "-") for line in locked} | locked
    names = {line.partition("==")[0] for line in installed}
    assert {"dynsrv", "aiohttp", "aiobotocore"} <= names
    assert not names & {"pip", "hatchling", "pytest", "mypy", "ruff"}


@pytest.mark.usefixtures("an_engine")
def test_no_start_compiles_anything() -> None:
    said = docker("run", "--rm", "--env=PYTHONVERBOSE=1", *HARDENED, DYNSRV, "schema")
    code = [line for line in said.splitlines() if line.startswith("# code object from")]
    assert len(code) > 200
    assert [line for line in code if not line.rstrip("'").endswith(".pyc")] == []


async def test_a_broken_configuration_is_told_with_its_place_and_ends_with_1(engine: Engine, tmp_path: Path) -> None:
    controller = engine.dynsrv(proxies=PROXIES)
    controller.configuration.write_text(controller.configuration.read_text().replace("source:", "sauce:"))
    for command in ("check", "run"):
        done = await controller.run(command)
        assert done.code == 1
        assert "/etc/dynsrv/dynsrv.yaml:" in done.err
        assert "backends[0].sauce: unknown key; did you mean source?" in done.err


async def test_a_configuration_that_is_replaced_in_the_mounted_folder_is_taken_over(engine: Engine) -> None:
    controller = engine.dynsrv(proxies=PROXIES)
    controller.want([])
    await controller.start("--reload-on-change")
    await controller.logged(Event.HAPROXY_UNREACHABLE)
    new = controller.configuration.with_suffix(".new")
    new.write_text(controller.configuration.read_text().replace("max_removed: 100%", "max_removed: 90%"))
    new.rename(controller.configuration)
    await controller.logged(Event.CONFIGURATION_RELOADED)
    assert await controller.stop() == 0


async def test_the_daemon_is_ready_ends_at_once_and_adds_little_to_its_base(engine: Engine, port: int) -> None:
    volume = engine.a_volume()
    extra = f"\nglobal\n    stats socket {SOCKET} mode 660 level admin\n"
    await engine.haproxy("3.2", extra=extra, volumes={volume: "/run/haproxy"})
    options = (f"--volume={volume}:/run/haproxy", f"--group-add={HAPROXY}", f"--publish=127.0.0.1:{port}:9105")
    controller = engine.dynsrv(*options, proxies=PROXIES, web=EVERYWHERE)
    controller.want([])
    await controller.start()

    async def ready() -> bool:
        try:
            return (await Api(port).text("/readyz"))[0] == 200
        except aiohttp.ClientError:  # Docker's own proxy accepts before dynsrv does
            return False

    await eventually(ready)
    async with asyncio.timeout(5):  # of the ten seconds that Docker gives
        assert await controller.stop() == 0
    assert size(DYNSRV) - size(base_image()) < 120


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_daemon_that_hangs_is_unhealthy_and_one_that_answers_healthy(
    engine: Engine, tmp_path: Path, scheme: str
) -> None:
    web: dict[str, Any] = {"listen": "127.0.0.1:9199"}
    if scheme == "https":
        pair = make_certificates(tmp_path / "certificates").server
        for path in (pair.certificate, pair.key):
            path.chmod(0o644)
        files = {"cert_file": pair.certificate, "key_file": pair.key}
        web["tls"] = {key: f"certificates/{path.name}" for key, path in files.items()}
    url = f"--env=DYNSRV_HEALTH_URL={scheme}://127.0.0.1:9199/healthz"
    # What the image says is asked, only more often. HAProxy is not there, which says nothing of dynsrv's own health.
    controller = engine.dynsrv(*OFTEN, url, proxies=PROXIES, web=web)
    controller.want([])
    await controller.start()

    async def becomes(wanted: str) -> None:
        def is_it() -> bool:
            health = json.loads(docker("inspect", "--format={{json .State.Health}}", controller.name))
            assert health is not None, "it is not started"
            assert health["Status"] == wanted, health
            return True

        await eventually(is_it)

    await becomes("healthy")
    docker("kill", "--signal=STOP", controller.name)
    await becomes("unhealthy")
    docker("kill", "--signal=CONT", controller.name)
    await becomes("healthy")
    assert await controller.stop(signal.SIGTERM) == 0


@pytest.mark.usefixtures("an_engine")
def test_without_the_extra_the_image_builds_by_the_classic_builder_and_says_what_a_source_misses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    image = f"{DYNSRV}:without-extras"
    options = (f"--build-arg=BASE_IMAGE={base_image()}", "--build-arg=EXTRAS=", f"--tag={image}")
    docker("build", "--file", str(REPOSITORY / "deploy/Dockerfile"), *options, str(REPOSITORY))
    assert size(image) < size(DYNSRV) - 20
    source = "{kind: ec2, region: eu-central-1, port: 80, auto_scaling_group: web}"
    text = f"proxies: [{{address: /run/haproxy/admin.sock}}]\nbackends: [{{name: be_app, source: {source}}}]\n"
    tmp_path.chmod(0o755)
    (tmp_path / "dynsrv.yaml").write_text(text)
    said = docker("run", "--rm", f"--volume={tmp_path}:/etc/dynsrv:ro", image, "check", check=False)
    assert "pip install 'dynsrv[ec2]'" in said
