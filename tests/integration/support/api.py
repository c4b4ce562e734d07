"""The API of a daemon, as programs use it."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp

from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer

TOKEN = "s3cret"

Answer = tuple[int, Any]
"""Status, and the JSON of the body."""


class Api:
    """Asks a dynsrv that listens on *port* of 127.0.0.1, and shows *token* with what changes something."""

    def __init__(self, port: int, *, token: str | None = TOKEN, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        self._token = token
        self._tls = tls or True

    def showing(self, token: str | None) -> Api:
        """Return the same with another token; None: without one."""
        return Api(self.port, token=token, tls=self._tls if isinstance(self._tls, ssl.SSLContext) else None)

    # ---- reading

    async def text(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}{path}", ssl=self._tls, timeout=aiohttp.ClientTimeout(30)) as answer,
        ):
            return answer.status, await answer.text()

    async def get(self, path: str) -> Answer:
        status, text = await self.text(path)
        return status, json.loads(text)

    async def status(self) -> dict[str, Any]:
        status, answer = await self.get("/api/v1/status")
        assert status == 200, answer
        assert isinstance(answer, dict)
        return answer

    async def backend(self, proxy: str = "lb1", name: str = "be_app") -> dict[str, Any]:
        backends: list[dict[str, Any]] = (await self.status())["backends"]
        return next(one for one in backends if (one["backend"], one["proxy"]) == (name, proxy))

    async def server(self, name: str, proxy: str = "lb1") -> dict[str, Any]:
        servers: list[dict[str, Any]] = (await self.backend(proxy))["servers"]
        found = [one for one in servers if one["name"] == name]
        assert found, f"no {name} among {[one['name'] for one in servers]}"
        return found[0]

    async def source(self) -> dict[str, Any]:
        """Return the source of the first backend."""
        source: dict[str, Any] = (await self.status())["sources"][0]
        return source

    async def answers(self) -> bool:
        try:
            return (await self.text("/healthz")) == (200, "ok\n")
        except aiohttp.ClientError:
            return False

    async def ready(self) -> Self:
        """Wait until it answers."""
        await eventually(self.answers)
        return self

    async def shows(self, what: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until the status is such that *what* is true of it, and return it."""
        status: dict[str, Any] = {}

        async def looked() -> bool:
            nonlocal status
            status = await self.status()
            return bool(what(status))

        await eventually(looked)
        return status

    # ---- writing

    async def post(
        self,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | io.BytesIO | None = None,
    ) -> Answer:
        """Send *body* as JSON, or *data* as it is, or nothing."""
        shown = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        content = json.dumps(body).encode() if body is not None else data
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{self.url}/api/v1{path}", data=content, headers={**shown, **(headers or {})}, ssl=self._tls
            ) as answer,
        ):
            assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
            return answer.status, await answer.json()

    async def hold(self, server: str, **body: str) -> Answer:
        return await self.post(f"/backends/be_app/servers/{server}/hold", body)

    async def release(self, server: str, **body: str) -> Answer:
        return await self.post(f"/backends/be_app/servers/{server}/release", body)

    async def override_guard(self, **body: str) -> Answer:
        return await self.post("/backends/be_app/override-guard", body)

    async def reconcile(self, **body: str) -> Answer:
        return await self.post("/reconcile", body)

    # ---- following

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Following]:
        """Follow the events inside of the block."""
        connector = aiohttp.TCPConnector(ssl=self._tls)
        async with (
            aiohttp.ClientSession(connector=connector, read_bufsize=2**24, timeout=aiohttp.ClientTimeout()) as session,
            session.get(f"{self.url}/api/v1/events") as answer,
        ):
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/event-stream"
            following = Following(answer.content)
            task = asyncio.create_task(following.run())
            try:
                yield following
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


class Following:
    """A client that applies each event to its *rows*, as the documentation says."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        self.rows: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.heard: list[float] = []
        """When each event came, by `time.monotonic()`."""
        self.ended = False

    async def run(self) -> None:
        try:
            async for line in self._content:
                if line.startswith(b"data: "):
                    self.apply(json.loads(line[6:]))
        finally:
            self.ended = True

    def apply(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.heard.append(time.monotonic())
        if event["reset"]:
            self.rows.clear()
        for key in event["unset"]:
            self.rows.pop(key, None)
        self.rows |= event["set"]

    def server(self, name: str, proxy: str = "lb1") -> dict[str, Any] | None:
        """Return the row of a server of `be_app`, None if there is none."""
        return self.rows.get(f"server:be_app@{proxy}:{name}")


def name_of(server: WebServer) -> str:
    """Return the server's name in HAProxy."""
    return f"dyn-127.0.0.1:{server.port}"


def results(*outcomes: tuple[str, str, str]) -> dict[str, Any]:
    """Return the body that tells what became of a request on each proxy: its name, the outcome, the detail."""
    keys = ("backend", "proxy", "outcome", "detail")
    return {"results": [dict(zip(keys, ("be_app", *one), strict=True)) for one in outcomes]}


def done(*proxies: str) -> dict[str, Any]:
    """Return the body that tells that it is done on *proxies*."""
    return results(*((proxy, "done", "") for proxy in proxies))
