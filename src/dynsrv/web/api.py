"""What can a program request? Status, plan and events without a token; changes with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

from aiohttp import web
from pydantic import ValidationError

from dynsrv.api_model import (
    Error,
    HoldRequest,
    OverrideRequest,
    Plan,
    ReconcileRequest,
    ReleaseRequest,
    Results,
    Status,
    to_json,
)
from dynsrv.documents import Document
from dynsrv.documents.problems import explain_validation
from dynsrv.documents.values import Section
from dynsrv.errors import ActionRefused, RefusalReason
from dynsrv.model import AdminState
from dynsrv.web import auth, openapi
from dynsrv.web.event_stream import ChangeFeed
from dynsrv.web.interfaces import ActionResult, OperatorActions, RequestRefused, StatusReader
from dynsrv.web.slices import in_slices

MAX_SUBSCRIBERS = 500
"""Clients of /api/v1/events at once: each takes a file descriptor."""

WRITE_TIMEOUT = 30.0
"""Seconds after which a client that does not read its events is disconnected."""

_STATUS: dict[RefusalReason, int] = {"not_found": 404, "forbidden": 403, "conflict": 409}

S = TypeVar("S", bound=Section)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def error_response(status: int, sentence: str, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an error of the API. Of *headers*, only those that belong to an error are sent."""
    kept = {name: value for name, value in (headers or {}).items() if name in {"Allow", "WWW-Authenticate"}}
    return _json_response(Error(error=sentence), status=status, headers=kept)


def routes(reader: StatusReader, operator: OperatorActions, token_file: Path | None) -> list[web.RouteDef]:
    """Return the routes that *reader* answers, and those for which *operator* does something."""
    read, write = _ReadHandlers(reader), _WriteHandlers(operator, token_file)
    backend, server = "/api/v1/backends/{backend}", "/api/v1/backends/{backend}/servers/{server}"
    return [
        web.get("/api/v1/openapi.json", read.openapi),
        web.get("/api/v1/status", read.status),
        web.get("/api/v1/plan", read.plan),
        web.get("/api/v1/events", read.events, allow_head=False),
        web.post(f"{server}/hold", write.authorized(write.hold)),
        web.post(f"{server}/release", write.authorized(write.release)),
        web.post(f"{backend}/override-guard", write.authorized(write.override_guard)),
        web.post("/api/v1/reconcile", write.authorized(write.reconcile)),
    ]


class _ReadHandlers:
    def __init__(self, reader: StatusReader) -> None:
        self._reader = reader
        self._feed = ChangeFeed(reader.sections)
        self._subscribers = 0

    async def openapi(self, _: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(openapi.document))  # it takes a moment at first

    async def status(self, _: web.Request) -> web.Response:
        reader = self._reader
        status = Status(
            dynsrv=reader.about(),
            proxies=list(reader.proxies()),
            sources=list(reader.sources()),
            changes=reader.changes(),
            backends=[
                view.summary().with_servers(await in_slices(view.servers()), list(view.missing()))
                for view in list(reader.backends())
            ],
        )
        return _json_response(status)

    async def plan(self, _: web.Request) -> web.Response:
        return _json_response(Plan(backends=[view.planned() for view in self._reader.backends()]))

    async def events(self, request: web.Request) -> web.StreamResponse:
        if self._subscribers >= MAX_SUBSCRIBERS:
            return error_response(503, f"{MAX_SUBSCRIBERS} clients follow the events already")
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        self._subscribers += 1
        try:
            await response.prepare(request)
            async with aclosing(self._feed.subscribe()) as events:
                async for event in events:
                    async with asyncio.timeout(WRITE_TIMEOUT):
                        await response.write(b"data: %b\n\n" % event if event else b": nothing new\n\n")
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._subscribers -= 1
        return response


class _WriteHandlers:
    def __init__(self, operator: OperatorActions, token_file: Path | None) -> None:
        self._operator = operator
        self._token_file = token_file

    def authorized(self, handle: Callable[[web.Request], Awaitable[ActionResult]]) -> Handler:
        """Return a handler that does what *handle* does, for requests with the token only.

        What has begun is carried out even if the client disconnects meanwhile.
        """

        async def handler(request: web.Request) -> web.Response:
            return await asyncio.shield(answer(request))

        async def answer(request: web.Request) -> web.Response:
            try:
                await auth.check(request, self._token_file)
                results = await handle(request)
            except ActionRefused as refused:
                return error_response(_STATUS[refused.reason], str(refused))
            except RequestRefused as refused:
                headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else {}
                return error_response(refused.status, str(refused), headers=headers)
            done = all(one.outcome == "done" for one in results)
            return _json_response(Results(results=results), status=200 if done else 502)

        return handler

    async def hold(self, request: web.Request) -> ActionResult:
        body = await _body(request, HoldRequest)
        backend, server = request.match_info["backend"], request.match_info["server"]
        return await self._operator.hold(backend, server, state=AdminState(body.state), proxy=body.proxy)

    async def release(self, request: web.Request) -> ActionResult:
        body = await _body(request, ReleaseRequest)
        backend, server = request.match_info["backend"], request.match_info["server"]
        return await self._operator.release(backend, server, proxy=body.proxy)

    async def override_guard(self, request: web.Request) -> ActionResult:
        body = await _body(request, OverrideRequest)
        return self._operator.override_guard(request.match_info["backend"], seconds=body.duration, proxy=body.proxy)

    async def reconcile(self, request: web.Request) -> ActionResult:
        body = await _body(request, ReconcileRequest)
        return self._operator.reconcile(backend=body.backend, proxy=body.proxy)


def _json_response(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=to_json(value), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )


async def _body(request: web.Request, model: type[S]) -> S:
    """Return the request's body; an empty one stands for the defaults."""
    content = await request.read()
    try:
        data = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        raise RequestRefused(400, 'the body is not JSON; send an object such as {"proxy": "lb1"}, or nothing') from None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = explain_validation(error, document=Document("the body", data, {}, data), model=model)
        raise RequestRefused(400, str(problems).replace("\n", "; ")) from None
