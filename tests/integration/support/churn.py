"""Servers that come and go all the time under load, while somebody else reloads and restarts HAProxy."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tests.integration.support.config_files import kept_ports
from tests.integration.support.controller import Dynsrv
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.load import load
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer

AT_ONCE = 6
"""Servers that are wanted at any time."""
IN_FLIGHT = 0.1
"""Seconds between a request and HAProxy's choice of a server for it."""

NOTICED = 0.5
"""Seconds until dynsrv talks to the process that answers."""


@dataclass
class Outcome:
    """What became of the requests."""

    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    late: list[str] = field(default_factory=list)  # servers that were back though their drain began before a reload
    drained: int = 0
    planned: int = 0  # the exit code of dynsrv plan afterwards
    kept: set[int] = field(default_factory=set)  # the ports in the configuration file afterwards
    serving: set[int] = field(default_factory=set)  # and those in service

    @property
    def without_a_server(self) -> int:
        """How many requests HAProxy had no server for."""
        return sum(number for what, number in self.failed.items() if "503" in what)


async def churn(
    haproxy: HAProxy,
    controller: Dynsrv,
    disturbances: Iterable[Callable[[], Awaitable[None]]],
    *,
    audit: Path,
    period: float = 0.2,
    pause: float = 0.7,
    workers: int = 8,
) -> Outcome:
    """Replace a server every *period* seconds, none of which ever returns, while HAProxy is disturbed.

    *disturbances* are carried out with a *pause* between them, in seconds.
    """
    outcome = Outcome()
    reloads: list[tuple[float, float]] = []  # when each began, and when the next process answered, in Unix time
    async with AsyncExitStack() as stack:
        servers: list[WebServer] = []

        async def another() -> WebServer:
            server = WebServer()
            await stack.enter_async_context(server)
            await server.start()
            servers.append(server)
            return server

        for _ in range(AT_ONCE):
            await another()
        controller.want(servers)
        await controller.start()
        await serves(haproxy, servers)
        stopped = asyncio.Event()

        async def replace() -> None:
            while not stopped.is_set():
                await another()
                controller.want(servers[-AT_ONCE:])
                with suppress(TimeoutError):
                    async with asyncio.timeout(period):
                        await stopped.wait()

        async with load(haproxy.frontend, workers=workers, stamped=True) as counts:
            replacing = asyncio.create_task(replace())
            await eventually(lambda: counts.sent > 200)
            for disturb in disturbances:
                await asyncio.sleep(pause)
                began = time.time()
                await disturb()
                reloads.append((began, time.time()))
            await asyncio.sleep(pause)
            stopped.set()
            await replacing
            await serves(haproxy, servers[-AT_ONCE:])
        outcome.planned = (await controller.run("plan")).code
        outcome.serving = await haproxy.ready_ports()
        with suppress(AssertionError):  # a second may pass until the last change is in the file
            await eventually(lambda: kept_ports(haproxy.configuration) == outcome.serving, within=3)
        outcome.kept = kept_ports(haproxy.configuration)
    outcome.answered, outcome.failed = counts.answered.total(), counts.failed
    drains = _drains(audit)
    outcome.drained = len(drains)
    for server in servers:
        drained = drains.get(f"dyn-127.0.0.1:{server.port}")
        if drained is None or server.last_sent <= drained + IN_FLIGHT:
            continue
        # a process that read the file before that has the server once more
        if not any(reload <= drained <= answered + NOTICED for reload, answered in reloads):
            outcome.late.append(f"{server.port}: {server.last_sent - drained:.2f} s after its drain had begun")
    return outcome


def _drains(audit: Path) -> dict[str, float]:
    """Return when the first drain of each server began, in Unix time, as the audit file says."""
    drains: dict[str, float] = {}
    for line in audit.read_text().splitlines():
        entry = json.loads(line)
        if entry["step"] == "drain" and entry["outcome"] == "done":
            drains.setdefault(entry["server"], datetime.fromisoformat(entry["time"]).timestamp())
    return drains
