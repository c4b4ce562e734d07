"""What stands between dynsrv and Consul, and does to the answers what networks, portals and broken servers do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Literal, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.integration.support.between import Answer, Between, Request, Reset, ask, send_half

__all__ = ["FAULTS", "Fault", "FaultyConsul", "Request"]

Fault = Literal[
    "garbage",  # 200 and JSON's content type, with a high index, but not JSON
    "truncated",  # the real answer, cut in the middle: fewer bytes than promised
    "truncated-json",  # whole HTTP, but the real JSON cut in the middle
    "html",  # 200 with a login page
    "redirect",  # 302 to a login page
    "429",
    "500",  # as Consul's own, with the index 1
    "drip",  # the head of the real answer, then one byte of its body a second
    "reset",  # RST
    "silent",  # never an answer
    "empty",  # the real answer, but its list is empty
    "older",  # what was first answered to this path, with its index
    "index-0",  # the real answer with another index: 0
    "index-back",  # … one below both the real one and the one that was asked with
    "no-index",  # … none
    "not-blocking",  # the real answer, at once
]
FAULTS: tuple[Fault, ...] = get_args(Fault)

_INDEX = "X-Consul-Index"
_LOGIN = "/login"


class FaultyConsul(Between[Fault]):
    """Forwards to the Consul at the URL *upstream*, which may be changed; if that is gone, connections are closed.

    Whoever waits when `fault` changes gets an answer even if it would have blocked. `only` restricts it to the paths
    that begin so, `unless` to requests without that parameter.
    """

    def __init__(
        self, upstream: str, *, fault: Fault | None = None, only: str = "/", unless: str | None = None
    ) -> None:
        super().__init__(fault=fault)
        self.upstream = upstream
        self.only = only
        self.unless = unless
        self._first: dict[str, Answer] = {}  # by path

    def asked(self, path: str) -> list[Request]:
        """Return the requests whose path begins with *path*."""
        return [request for request in self.requests if request.path.startswith(path)]

    def _fault_of(self, request: Request) -> Fault | None:
        return self._fault if request.path.startswith(self.only) and self.unless not in request.query else None

    async def _make(self, request: Request, fault: Fault | None, *, again: bool) -> Answer:
        if request.path == _LOGIN or fault == "html":
            return Answer(200, (("Content-Type", "text/html"),), b"<html><title>Please log in</title></html>")
        match fault:
            case "garbage":
                headers = (("Content-Type", "application/json"), (_INDEX, "999999"))
                return Answer(200, headers, b"[{[ this is not JSON")
            case "redirect":
                return Answer(302, (("Location", f"{self.url}{_LOGIN}"),), b"")
            case "429":
                return Answer(429, (("Retry-After", "1"),), b"Your IP is issuing too many concurrent connections\n")
            case "500":
                return Answer(500, ((_INDEX, "1"),), b"No cluster leader")
            case "reset":
                raise Reset
            case "silent":
                await asyncio.Event().wait()
            case _:
                pass
        blocks = not again and fault != "not-blocking"
        real = await ask(self.upstream, request if blocks else _not_blocking(request))
        first = self._first.setdefault(request.path, real)
        return first if fault == "older" and request.method == "GET" else _spoiled(real, request, fault)

    async def _send(self, answer: Answer, fault: Fault | None, writer: asyncio.StreamWriter) -> bool:
        match fault:
            case "truncated":
                return await send_half(answer, writer)
            case "drip":
                writer.write(answer.head)
                for byte in answer.body:
                    await asyncio.sleep(1)
                    writer.write(bytes([byte]))
                return True
            case _:
                return await super()._send(answer, fault, writer)


def _not_blocking(request: Request) -> Request:
    """Return the request for what Consul knows now."""
    query = parse_qsl(urlsplit(request.target).query, keep_blank_values=True)
    kept = [pair for pair in query if pair[0] not in {"index", "wait"}]
    return replace(request, target=f"{request.path}?{urlencode(kept)}")


def _index(answer: Answer) -> int | None:
    return next((int(value) for name, value in answer.headers if name.lower() == _INDEX.lower()), None)


def _with_index(answer: Answer, index: int | None) -> Answer:
    others = tuple(pair for pair in answer.headers if pair[0].lower() != _INDEX.lower())
    return replace(answer, headers=others if index is None else (*others, (_INDEX, str(index))))


def _spoiled(answer: Answer, request: Request, fault: Fault | None) -> Answer:
    if fault == "truncated-json":
        return replace(answer, body=answer.body[: len(answer.body) // 2])
    if answer.status != 200 or request.method != "GET":
        return answer
    index = _index(answer)
    match fault:
        case "empty" if answer.body.startswith(b"["):
            return replace(answer, body=b"[]")
        case "index-0" if index is not None:
            return _with_index(answer, 0)
        case "index-back" if index is not None:
            return _with_index(answer, max(1, min(index, int(request.query.get("index") or index)) - 1))
        case "no-index":
            return _with_index(answer, None)
        case _:
            return answer
