"""How long from a registration in Consul to the first request that the new server answers?"""

from __future__ import annotations

import asyncio
import io
import time
from contextlib import redirect_stdout

from bench import daemon
from bench.dynsrv import installed
from bench.haproxy import HAProxy, running
from bench.scenario import Measured, Round
from bench.servers import Kind
from dynsrv.logs import Event
from tests.integration.support.consul import Consul

IMMEDIATELY = "immediately"
AFTER_CHECK = "after-check"

_REGISTRATIONS = 5
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


def registration(this: Round) -> Measured:
    """Seconds, of several registrations one after the other; with checks every second."""
    for way in (IMMEDIATELY, AFTER_CHECK):
        with redirect_stdout(io.StringIO()):  # where a test would show Consul's log
            took = asyncio.run(_registrations(this, admit=way))
        for seconds in took:
            yield way, seconds


async def _registrations(this: Round, *, admit: str) -> list[float]:
    took = []
    async with Consul() as consul:
        source = {"kind": "consul", "address": consul.url, "service": "web"}
        backend: dict[str, object] = {"source": source, "admit": admit}
        with (
            running(this.version) as haproxy,
            installed(haproxy, kind=Kind(inter=1), backend=backend) as dynsrv,
            daemon.running(dynsrv) as running_daemon,
        ):
            running_daemon.logged(Event.BACKEND_IN_SYNC)
            for number in range(_REGISTRATIONS):
                began = time.perf_counter()
                instance = await consul.register("web", address=f"127.2.0.{number + 1}", port=this.port)
                await _answers(haproxy, b"200")
                took.append(time.perf_counter() - began)
                await consul.deregister(instance)
                await _answers(haproxy, b"503")
    return took


async def _answers(haproxy: HAProxy, status: bytes) -> None:
    """Send one request after the other until one is answered with *status*."""
    async with asyncio.timeout(30):
        while True:
            reader, writer = await asyncio.open_unix_connection(haproxy.frontend)
            writer.write(_REQUEST)
            answer = await reader.read(-1)
            writer.close()
            if answer.startswith(b"HTTP/1.1 " + status):
                return
            await asyncio.sleep(0.001)
