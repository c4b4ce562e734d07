"""What a command has no use for is not imported: neither the clients of other sources, nor the web, nor the demo."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import Install, from_consul
from tests.integration.support.haproxy import HAProxy, environment

pytestmark = pytest.mark.any_version

TELL_IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}
"""With this, Python writes a line on each import to stderr."""

AIOHTTP, AWS = {"aiohttp"}, {"aiobotocore", "botocore", "dynsrv.sources.ec2.source"}
CONSUL = {"dynsrv.sources.consul.source"}
DEMO, PROGRESS = {"dynsrv.demo"}, {"rich.progress"}
EVERYTHING = AIOHTTP | AWS | CONSUL | DEMO | PROGRESS


def imported(stderr: str) -> set[str]:
    modules = {line.rpartition("|")[2].strip() for line in stderr.splitlines() if line.startswith("import time:")}
    assert "dynsrv.settings" in modules
    return modules


async def test_a_plan_on_a_file(haproxy: HAProxy, dynsrv: Install) -> None:
    controller = dynsrv(haproxy, environment=TELL_IMPORTS)
    controller.want([{"address": "127.0.0.1", "port": 81}])
    planned = await controller.run("plan")
    assert planned.code == 2, planned
    assert not imported(planned.err) & EVERYTHING


async def test_a_daemon_on_a_file_without_the_web(haproxy: HAProxy, dynsrv: Install) -> None:
    controller = dynsrv(haproxy, environment=TELL_IMPORTS)
    controller.want([{"address": "127.0.0.1", "port": 81}])
    await controller.start()
    await controller.logged(Event.SERVER_ADDED)
    assert await controller.stop() == 0
    assert not imported(controller.log.read_text()) & EVERYTHING


async def test_a_daemon_with_the_web(haproxy: HAProxy, dynsrv: Install, *, unused_tcp_port: int) -> None:
    controller = dynsrv(haproxy, environment=TELL_IMPORTS, web={"listen": f"127.0.0.1:{unused_tcp_port}"})
    controller.want([])
    await controller.start()
    await controller.logged(Event.FIRST_ENDPOINTS_RECEIVED)
    assert await controller.stop() == 0
    assert imported(controller.log.read_text()) & EVERYTHING == AIOHTTP


async def test_a_plan_on_consul(haproxy: HAProxy, dynsrv: Install, *, unused_tcp_port: int) -> None:
    source = from_consul(f"http://127.0.0.1:{unused_tcp_port}")
    planned = await dynsrv(haproxy, backend={"source": source}, environment=TELL_IMPORTS).run("plan")
    assert planned.code == 1, planned
    assert imported(planned.err) & EVERYTHING == AIOHTTP | CONSUL


def test_shell_completion(tmp_path: Path) -> None:
    configuration = tmp_path / "dynsrv.yaml"
    configuration.write_text("proxies: [{address: /x}]\nbackends: [{name: web, source: {kind: file, path: x.yaml}}]\n")
    words = f"dynsrv plan -c {configuration} --backend "
    done = subprocess.run(
        [Path(sys.executable).with_name("dynsrv")],
        env=environment()
        | TELL_IMPORTS
        | {"_DYNSRV_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["plain,web"]
    assert not imported(done.stderr) & (EVERYTHING | {"dynsrv.wiring", "dynsrv.runtime", "dynsrv.reconcile"})
