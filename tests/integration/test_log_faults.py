"""A log that cannot be written neither ends dynsrv nor keeps it from following its source."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import PATIENCE, Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.load import load
from tests.integration.support.web_servers import WebServer, WebServers

pytestmark = pytest.mark.any_version

CHANGES = 30
"""Each logs some lines: a pipe of 4 KiB is full after a few of them."""

F_SETPIPE_SZ = 1031


@asynccontextmanager
async def running(controller: Dynsrv, *, stderr: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *controller.command("run"), stdout=stderr, stderr=stderr, env=controller.environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def follows_under_load(haproxy: HAProxy, controller: Dynsrv, servers: list[WebServer]) -> None:
    """Assert that each of many changes reaches HAProxy, and that no request is lost meanwhile."""
    one, *others = servers
    async with load(haproxy.frontend, workers=2, pause=0.01) as counts:
        for change in range(CHANGES):
            wanted = [one] if change % 2 else [one, *others]
            controller.want(wanted)
            await serves(haproxy, wanted)
    assert not counts.failed
    assert counts.sent


async def ends_on_sigterm(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == 0


async def test_a_full_disk_loses_lines_and_nothing_else(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    controller, servers = dynsrv(haproxy), await web_servers(3)
    controller.want(servers)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        async with running(controller, stderr=full) as process:
            await serves(haproxy, servers)
            await follows_under_load(haproxy, controller, servers)
            await ends_on_sigterm(process)
    finally:
        os.close(full)


async def test_a_closed_pipe_loses_lines_and_nothing_else(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    controller, servers = dynsrv(haproxy), await web_servers(3)
    controller.want(servers)
    read, write = os.pipe()
    os.close(read)
    try:
        async with running(controller, stderr=write) as process:
            await serves(haproxy, servers)
            await follows_under_load(haproxy, controller, servers)
            await ends_on_sigterm(process)
    finally:
        os.close(write)


@pytest.mark.parametrize("read_again", [False, True])
async def test_of_a_pipe_that_nobody_reads_the_lines_wait(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, read_again: bool
) -> None:
    controller, servers = dynsrv(haproxy), await web_servers(3)
    controller.want(servers)
    read, write = os.pipe()
    fcntl.fcntl(write, F_SETPIPE_SZ, 4096)
    try:
        async with running(controller, stderr=write) as process:
            os.close(write)
            await serves(haproxy, servers)
            await follows_under_load(haproxy, controller, servers)
            if not read_again:
                await ends_on_sigterm(process)
                return
            process.send_signal(signal.SIGTERM)
            with os.fdopen(os.dup(read), "rb") as log:
                text = (await asyncio.to_thread(log.read)).decode()
            assert await process.wait() == 0
            assert text.count(Event.SERVER_DELETED) == CHANGES
            assert Event.STOPPED in text
    finally:
        os.close(read)
