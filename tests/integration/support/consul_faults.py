"""What stands between dynsrv and Consul, and does to the answers what networks, portals and broken servers do."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Literal, Self, TypeVar, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit

T = TypeVar("T")

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
_REASONS = {200: "OK", 302: "Found", 429: "Too Many Requests", 500: "Internal Server Error"}


@dataclass(frozen=True)
class Request:
    """One request that came; *target* is its path with its query, *headers* have names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    at: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def index(self) -> int | None:
        return next((int(value) for name, value in self.headers if name.lower() == _INDEX.lower()), None)

    def with_index(self, index: int | None) -> _Answer:
        others = tuple(pair for pair in self.headers if pair[0].lower() != _INDEX.lower())
        return replace(self, headers=others if index is None else (*others, (_INDEX, str(index))))

    @property
    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in (*self.headers, ("Content-Length", str(len(self.body))))]
        return "\r\n".join([*lines, "", ""]).encode()


class _Reset(Exception):
    """The connection is to be reset."""


class FaultyConsul:
    """Forwards to the Consul at the URL *upstream*, which may be changed; if that is gone, connections are closed.

    `fault` may be changed at any moment. Whoever waits then for an answer gets it at once, as the new fault has it,
    even if it would have blocked; an answer that is on its way is cut. `only` restricts it to the paths that begin
    so, `unless` to requests without that parameter. `requests` are all that came; `connections` are open now, and
    there never were more than `most_connections`.
    """

    def __init__(
        self, upstream: str, *, fault: Fault | None = None, only: str = "/", unless: str | None = None
    ) -> None:
        self.upstream = upstream
        self.only = only
        self.unless = unless
        self._first: dict[str, _Answer] = {}  # by path
        self.requests: list[Request] = []
        self.most_connections = 0
        self._fault = fault
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, sock=self._socket)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def fault(self) -> Fault | None:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        if fault != self._fault:
            self._fault = fault
            self._changed.set()
            self._changed = asyncio.Event()

    @property
    def connections(self) -> int:
        return len(self._tasks)

    def asked(self, path: str) -> list[Request]:
        """Return the requests whose path begins with *path*."""
        return [request for request in self.requests if request.path.startswith(path)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.most_connections = max(self.most_connections, self.connections)
        try:
            goes_on = True
            while goes_on:
                request = await _read_request(reader)
                self.requests.append(request)
                goes_on = await self._answer(request, reader, writer)
            writer.close()
            await writer.wait_closed()
        except _Reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer as the fault says, and return whether the connection goes on."""
        may_block = True
        while True:
            fault = self._fault_of(request)
            making = self._make(request, fault, may_block=may_block and fault != "not-blocking")
            answer = await self._unless_disturbed(making, reader)
            if answer is not None and fault == self._fault_of(request):
                break
            if _gone(reader):
                return False
            may_block = False
        whole = await self._unless_disturbed(_send(answer, fault, writer), reader)
        return bool(whole) and request.headers.get("connection", "").lower() != "close"

    def _fault_of(self, request: Request) -> Fault | None:
        return self._fault if request.path.startswith(self.only) and self.unless not in request.query else None

    async def _unless_disturbed(self, work: Coroutine[None, None, T], reader: asyncio.StreamReader) -> T | None:
        """Return what *work* does, or None if the client left or the fault changed before it was done."""
        working = asyncio.create_task(work)
        # A client that waits for an answer sends nothing more: what can be read is its end.
        disturbances = [asyncio.create_task(self._changed.wait()), asyncio.create_task(reader.read(1))]
        tasks = [working, *disturbances]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return None if working.cancelled() else working.result()

    async def _make(self, request: Request, fault: Fault | None, *, may_block: bool) -> _Answer:
        if request.path == _LOGIN or fault == "html":
            return _Answer(200, (("Content-Type", "text/html"),), b"<html><title>Please log in</title></html>")
        match fault:
            case "garbage":
                headers = (("Content-Type", "application/json"), (_INDEX, "999999"))
                return _Answer(200, headers, b"[{[ this is not JSON")
            case "redirect":
                return _Answer(302, (("Location", f"{self.url}{_LOGIN}"),), b"")
            case "429":
                return _Answer(429, (("Retry-After", "1"),), b"Your IP is issuing too many concurrent connections\n")
            case "500":
                return _Answer(500, ((_INDEX, "1"),), b"No cluster leader")
            case "reset":
                raise _Reset
            case "silent":
                await asyncio.Event().wait()
            case _:
                pass
        real = await _ask(self.upstream, request, may_block=may_block)
        first = self._first.setdefault(request.path, real)
        return first if fault == "older" and request.method == "GET" else _spoiled(real, request, fault)


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().rstrip().split("\r\n")
    method, target, version = first.split(" ")
    headers = {} if version == "HTTP/1.1" else {"connection": "close"}
    headers |= {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(method, target, headers, await reader.readexactly(int(headers.get("content-length", 0))))


async def _ask(upstream: str, request: Request, *, may_block: bool) -> _Answer:
    """Ask Consul, on a connection of its own; without *may_block* for what it knows now."""
    where = urlsplit(upstream)
    query = [
        pair
        for pair in parse_qsl(urlsplit(request.target).query, keep_blank_values=True)
        if may_block or pair[0] not in {"index", "wait"}
    ]
    target = f"{urlsplit(request.target).path}?{urlencode(query)}"
    # Neither compressed nor in chunks, so that an answer can be cut anywhere.
    dropped = {"accept-encoding", "connection", "host"}
    headers = [f"{name}: {value}" for name, value in request.headers.items() if name not in dropped]
    lines = [f"{request.method} {target} HTTP/1.0", f"Host: {where.netloc}", *headers]
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + request.body)
        return _parse(await reader.read(-1))
    finally:
        writer.transport.abort()


def _parse(data: bytes) -> _Answer:
    head, separator, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), len(body))
    if not separator or len(body) < length:
        raise EOFError("Consul closed the connection within its answer")
    kept = tuple(pair for pair in headers if pair[0].lower() not in {"connection", "content-length"})
    return _Answer(int(first.split(" ")[1]), kept, body)


def _spoiled(answer: _Answer, request: Request, fault: Fault | None) -> _Answer:
    if fault == "truncated-json":
        return replace(answer, body=answer.body[: len(answer.body) // 2])
    if answer.status != 200 or request.method != "GET":
        return answer
    index = answer.index
    match fault:
        case "empty" if answer.body.startswith(b"["):
            return replace(answer, body=b"[]")
        case "index-0" if index is not None:
            return answer.with_index(0)
        case "index-back" if index is not None:
            return answer.with_index(max(1, min(index, int(request.query.get("index") or index)) - 1))
        case "no-index":
            return answer.with_index(None)
        case _:
            return answer


async def _send(answer: _Answer, fault: Fault | None, writer: asyncio.StreamWriter) -> bool:
    """Send the answer and return whether the connection may go on after it."""
    match fault:
        case "truncated":
            writer.write(answer.head + answer.body[: len(answer.body) // 2])
        case "drip":
            writer.write(answer.head)
            for byte in answer.body:
                await asyncio.sleep(1)
                writer.write(bytes([byte]))
        case _:
            writer.write(answer.head + answer.body)
    await writer.drain()
    return fault != "truncated"


def _gone(reader: asyncio.StreamReader) -> bool:
    return reader.at_eof() or reader.exception() is not None
