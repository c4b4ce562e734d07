"""Clients that connect and send nothing take nothing from HAProxy, the sources or other clients."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest

from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version

DESCRIPTORS = 200
CLIENTS = 300


async def test_more_silent_clients_than_file_descriptors_change_nothing_for_anybody_else(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, unused_tcp_port: int
) -> None:
    one, other = await web_servers(2)
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}"})
    controller.want([one])
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        f'ulimit -n {DESCRIPTORS}; exec "$@"',
        "sh",
        *controller.command("run"),
        env=controller.environment,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with AsyncExitStack() as stack:
        stack.callback(_kill, process)
        await serves(haproxy, [one])
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(("127.0.0.1", unused_tcp_port)))
        controller.want([one, other])
        await serves(haproxy, [one, other])
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()
        process.terminate()
        assert await process.wait() == 0


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
