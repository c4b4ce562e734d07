"""What can a program ask? Status, plan and events for everybody; changes for whoever shows the token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from aiohttp import web
from pydantic import ValidationError

from dynsrv.documents import Document
from dynsrv.documents.problems import explain_validation
from dynsrv.documents.values import Duration, Section, between
from dynsrv.model import AdminState
from dynsrv.web import auth, openapi
from dynsrv.web.event_stream import ChangeFeed
from dynsrv.web.interfaces import ActionRefused, ActionResult, OperatorActions, StatusReader

MAX_FOLLOWERS = 500
"""Clients of /api/v1/events at once: each takes a file descriptor."""

WRITE_TIMEOUT = 30.0
"""Seconds after which a client that takes nothing of what it is sent is given up."""

_AT_ONCE = 200  # servers that are written before others get their turn

S = TypeVar("S", bound=Section)


class _Where(Section):
    proxy: str | None = None


class _Hold(_Where):
    state: Literal["drain", "maint"] = "drain"


class _Override(_Where):
    duration: Annotated[Duration, between("0s", "1h")] = 600.0


class _Reconcile(_Where):
    backend: str | None = None


def failed(status: int, sentence: str, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error as all of the API's look."""
    kept = {name: value for name, value in (headers or {}).items() if name in {"Allow", "WWW-Authenticate"}}
    return web.json_response({"error": sentence}, status=status, headers=kept)


def routes(seen: StatusReader, operator: OperatorActions, token_file: Path | None) -> list[web.RouteDef]:
    """Return the routes that tell what is *seen*, and those that ask *operator*."""
    reading, writing = _Reading(seen), _Writing(operator, token_file)
    backend, server = "/api/v1/backends/{backend}", "/api/v1/backends/{backend}/servers/{server}"
    return [
        web.get("/api/v1/openapi.json", reading.openapi),
        web.get("/api/v1/status", reading.status),
        web.get("/api/v1/plan", reading.plan),
        web.get("/api/v1/events", reading.events, allow_head=False),
        web.post(f"{server}/hold", writing.checked(writing.hold)),
        web.post(f"{server}/release", writing.checked(writing.release)),
        web.post(f"{backend}/override-guard", writing.checked(writing.override_guard)),
        web.post("/api/v1/reconcile", writing.checked(writing.reconcile)),
    ]


class _Reading:
    def __init__(self, seen: StatusReader) -> None:
        self._seen = seen
        self._board = ChangeFeed(seen.sections)
        self._followers = 0

    async def openapi(self, _: web.Request) -> web.Response:
        return web.json_response(openapi.DOCUMENT)

    async def status(self, _: web.Request) -> web.Response:
        seen = self._seen
        backends = []
        for view, data in list(seen.backends()):
            servers = []
            for number, server in enumerate(view.servers(), 1):
                servers.append(json.dumps(server))
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
            missing = json.dumps(list(view.missing()))
            backends.append(f'{json.dumps(data)[:-1]}, "servers": [{", ".join(servers)}], "missing": {missing}}}')
        top = {
            "dynsrv": seen.about(),
            "proxies": list(seen.proxies()),
            "sources": list(seen.sources()),
            "changes": seen.changes(),
        }
        text = f'{json.dumps(top)[:-1]}, "backends": [{", ".join(backends)}]}}'
        return web.Response(text=text, content_type="application/json")

    async def plan(self, _: web.Request) -> web.Response:
        return web.json_response({"backends": [view.plan_data() for view, _ in self._seen.backends()]})

    async def events(self, request: web.Request) -> web.StreamResponse:
        if self._followers >= MAX_FOLLOWERS:
            return failed(503, f"{MAX_FOLLOWERS} clients follow the events already")
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        self._followers += 1
        try:
            await response.prepare(request)
            async with aclosing(self._board.subscribe()) as news:
                async for data in news:
                    text = f"data: {data}\n\n" if data else ": nothing new\n\n"
                    async with asyncio.timeout(WRITE_TIMEOUT):
                        await response.write(text.encode())
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._followers -= 1
        return response


class _Writing:
    def __init__(self, operator: OperatorActions, token_file: Path | None) -> None:
        self._operator = operator
        self._token_file = token_file

    def checked(self, handle: Callable[[web.Request], Awaitable[ActionResult]]) -> Callable[[web.Request], Any]:
        """Return a handler that lets only those who show the token do what *handle* does.

        What was asked is carried out, though the client may have gone meanwhile.
        """

        async def handler(request: web.Request) -> web.Response:
            return await asyncio.shield(answer(request))

        async def answer(request: web.Request) -> web.Response:
            try:
                await auth.check(request, self._token_file)
                done = await handle(request)
            except ActionRefused as denied:
                headers = {"WWW-Authenticate": "Bearer"} if denied.status == 401 else {}
                return failed(denied.status, str(denied), headers=headers)
            good = all(one["outcome"] == "done" for one in done)
            return web.json_response({"results": done}, status=200 if good else 502)

        return handler

    async def hold(self, request: web.Request) -> ActionResult:
        asked = await _body(request, _Hold)
        backend, server = request.match_info["backend"], request.match_info["server"]
        return await self._operator.hold(backend, server, state=AdminState(asked.state), proxy=asked.proxy)

    async def release(self, request: web.Request) -> ActionResult:
        asked = await _body(request, _Where)
        backend, server = request.match_info["backend"], request.match_info["server"]
        return await self._operator.release(backend, server, proxy=asked.proxy)

    async def override_guard(self, request: web.Request) -> ActionResult:
        asked = await _body(request, _Override)
        return self._operator.override_guard(request.match_info["backend"], seconds=asked.duration, proxy=asked.proxy)

    async def reconcile(self, request: web.Request) -> ActionResult:
        asked = await _body(request, _Reconcile)
        return self._operator.reconcile(backend=asked.backend, proxy=asked.proxy)


async def _body(request: web.Request, model: type[S]) -> S:
    """Return what the body asks for; an empty one asks for the defaults."""
    content = await request.read()
    try:
        data = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        raise ActionRefused(400, 'the body is not JSON; send an object such as {"proxy": "lb1"}, or nothing') from None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = explain_validation(error, document=Document("the body", data, {}, data), model=model)
        raise ActionRefused(400, str(problems).replace("\n", "; ")) from None
