"""dynsrv follows what fails, while HAProxy is under load: what holds meanwhile, and how soon it is over."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from contextlib import AsyncExitStack
from typing import Any, Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from dynsrv.logs import Event
from tests.integration.support.controller import FAST_CHECK, UNGUARDED, Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, Row
from tests.integration.support.load import load
from tests.integration.support.ports import a_port
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer

RECOVERY = 15.0
"""Seconds after the end of an outage until a change in the source is one in HAProxy, at most."""
BACKEND = "be_app"
"""The backend that the load goes to."""

Line = dict[str, Any]


def backends(*names: str) -> str:
    """Return more backends for HAProxy's configuration."""
    return "".join(f"\nbackend {name}\n    balance roundrobin\n" for name in names)


class Stage(ABC):
    """A dynsrv, of which each backend follows one of *sources*, and a load on `be_app`.

    All but the last of *servers* are in service from the start; the last is what changes.
    """

    def __init__(
        self,
        haproxy: HAProxy,
        install: Install,
        servers: Sequence[WebServer],
        *,
        sources: Mapping[str, Mapping[str, object]],
        limits: Mapping[str, object] = UNGUARDED,
    ) -> None:
        self._stack = AsyncExitStack()
        self._web = self._stack.enter_context(a_port())
        self.haproxy = haproxy
        *self.servers, self.spare = servers
        self._with_spare = False
        self.backends = tuple(sources)
        self.controller: Dynsrv = install(
            haproxy,
            backends=[
                {"name": name, "source": dict(source), "server": FAST_CHECK, "limits": dict(limits)}
                for name, source in sources.items()
            ],
            web={"listen": f"127.0.0.1:{self._web}"},
            log={"format": "json"},
        )

    async def __aenter__(self) -> Self:
        await self.register(self.servers)
        await self.controller.start()
        try:
            await self.serves()
            self.load = await self._stack.enter_async_context(load(self.haproxy.frontend, workers=4, pause=0.01))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @abstractmethod
    async def register(self, servers: Sequence[WebServer]) -> None:
        """Let the source tell of *servers*, too."""

    @abstractmethod
    async def deregister(self, server: WebServer) -> None:
        """Let the source tell no more of *server*."""

    @abstractmethod
    def name(self, server: WebServer) -> str:
        """Return the name that *server* has in HAProxy."""

    async def change(self) -> None:
        """Register the last server, or take it out again."""
        self._with_spare = not self._with_spare
        if self._with_spare:
            await self.register([self.spare])
        else:
            await self.deregister(self.spare)

    async def serves(self, *, within: float = 30.0) -> None:
        """Wait until every backend has the servers that the source should tell of, and all of them get requests."""
        wanted = {one.port for one in [*self.servers, *([self.spare] if self._with_spare else [])]}

        async def exactly() -> bool:
            for backend in self.backends:
                rows = (await self.haproxy.servers(backend)).values()
                assert {row.port for row in rows} == wanted, rows
                assert all(row.ready and row.operational == 2 for row in rows), rows
            return True

        await eventually(exactly, within=within, what="all servers serve")

    async def live(self) -> dict[str, dict[str, Row]]:
        return {backend: await self.haproxy.servers(backend) for backend in self.backends}

    async def get(self, path: str) -> str:
        url = f"http://127.0.0.1:{self._web}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.text()

    async def samples(self, name: str, **labels: str) -> list[Sample]:
        """Return what is told of the metric *name* with *labels* among its own."""
        return [
            sample
            for family in text_string_to_metric_families(await self.get("/metrics"))
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    async def followed(self) -> set[str]:
        """Return the backends whose source is up."""
        return {one.labels["backend"] for one in await self.samples("dynsrv_source_up") if one.value == 1}

    async def failures(self, backend: str) -> Counter[str]:
        """Return how often the source of *backend* failed, by reason."""
        samples = await self.samples("dynsrv_source_errors_total", backend=backend)
        return Counter({one.labels["reason"]: int(one.value) for one in samples})

    def lines(self) -> list[Line]:
        """Return what dynsrv logged, but for a line that is being written."""
        return self.controller.log_data()

    def _settled(self) -> bool:
        """Return whether dynsrv knows that it is done, in every backend."""
        last = {line["backend"]: line["event"] for line in self.lines() if "proxy" in line and "backend" in line}
        return set(last) == set(self.backends) and set(last.values()) == {Event.BACKEND_IN_SYNC}

    async def outage(self, *, seen_by: Sequence[str] | None = None) -> Outage:
        """Return what watches an outage that is about to begin; *seen_by* are those who notice, by default all."""
        await eventually(self._settled)
        outage = Outage(self, self.backends if seen_by is None else seen_by)
        await outage.begin()
        return outage


class Outage:
    """What is seen of one outage, from outside of dynsrv. *seen_by* are the backends that notice it."""

    def __init__(self, stage: Stage, seen_by: Sequence[str]) -> None:
        self._stage = stage
        self._seen_by = seen_by

    async def begin(self) -> None:
        """Remember how things are."""
        stage = self._stage
        self._told = len(stage.lines())
        self._sent = stage.load.sent
        self._before = await self._servers()
        self._failures = {backend: await stage.failures(backend) for backend in self._seen_by}

    async def _servers(self) -> object:
        return {
            backend: {name: (row.id, row.admin, row.weight, row.operational) for name, row in rows.items()}
            for backend, rows in (await self._stage.live()).items()
        }

    @property
    def lines(self) -> list[Line]:
        """What was logged since it began."""
        return self._stage.lines()[self._told :]

    def said(self, event: Event, backend: str) -> list[Line]:
        return [line for line in self.lines if line["event"] == event and line.get("backend") == backend]

    async def is_told(self, *reasons: str, attempts: int = 2) -> None:
        """Wait until it shows in metrics, health and log, and dynsrv has asked in vain so often.

        All of that was for one of *reasons*.
        """
        await self.are_told({backend: set(reasons) for backend in self._seen_by}, attempts=attempts)

    async def are_told(self, reasons: Mapping[str, Set[str]], *, attempts: int = 2) -> None:
        """Wait for the same, for each backend with reasons of its own."""
        async with asyncio.TaskGroup() as tasks:
            for backend in self._seen_by:
                tasks.create_task(self._is_told(backend, reasons[backend], attempts))

    async def _is_told(self, backend: str, reasons: Set[str], attempts: int) -> None:
        stage = self._stage

        async def told() -> bool:
            assert backend not in await stage.followed()
            failures = await stage.failures(backend) - self._failures[backend]
            assert failures.total() >= attempts
            assert failures.keys() <= reasons, failures
            assert {line["reason"] for line in self.said(Event.SOURCE_FAILED, backend)} == failures.keys()
            assert f"degraded: backend {backend}: " in await stage.get("/readyz")
            return True

        await eventually(told, what=f"{backend} cannot be followed: {reasons}")

    def _steps(self) -> list[Line]:
        return [line for line in self.lines if "server" in line]

    async def changes_nothing(self) -> None:
        """Fail if a server is another than before, if dynsrv did anything to one, or if a request failed."""
        assert not self._steps()
        assert await self._servers() == self._before
        assert not self._stage.load.failed, self._stage.load.failed

    async def ends(self, what: str, *, sentences: int = 1, times: int = 1) -> None:
        """Fail if anything changed until now, or if a change in the source does not reach HAProxy soon.

        About the whole outage, the log may have at most so many different sentences for a backend, each once; or so
        many *times*, if it seems to be over in between.
        """
        stage = self._stage
        began = time.monotonic()
        await self.changes_nothing()
        await stage.change()
        await stage.serves(within=RECOVERY)
        seconds = time.monotonic() - began
        assert {line["server"] for line in self._steps()} == {stage.name(stage.spare)}
        print(f"{what}: as the source has it {seconds:.2f} s after the end")
        for backend in stage.backends:
            complaints = Counter(line["error"] for line in self.said(Event.SOURCE_FAILED, backend))
            for complaint in complaints:
                print(f"    {backend}: {complaint}")
            assert len(complaints) <= sentences, complaints
            assert all(number <= times for number in complaints.values()), complaints
            recovered = len(self.said(Event.SOURCE_RECOVERED, backend))
            if backend in self._seen_by:
                assert complaints
                assert 1 <= recovered <= times, self.lines
            else:
                assert not complaints
                assert not recovered
            assert backend in await stage.followed()
        await eventually(lambda: stage.load.sent > self._sent + 10)
        assert not stage.load.failed, stage.load.failed

        async def ready() -> bool:
            return await stage.get("/readyz") == "ok\n"

        await eventually(ready)
