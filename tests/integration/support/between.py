"""What stands between dynsrv and what it asks over HTTP: it hears every request, and answers as its fault says."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from types import TracebackType
from typing import Generic, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

T = TypeVar("T")
F = TypeVar("F", bound=str)


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

    @cached_property
    def form(self) -> dict[str, str]:
        """What the body says, if it is that of a form."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


@dataclass(frozen=True)
class Answer:
    """A whole answer, without the header that tells its length."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in (*self.headers, ("Content-Length", str(len(self.body))))]
        return "\r\n".join([*lines, "", ""]).encode()


class Reset(Exception):
    """The connection is to be reset."""


class Between(ABC, Generic[F]):
    """Listens on a port of 127.0.0.1, by default a free one, and answers what `_make` makes.

    `fault` may be changed at any moment. Whoever waits then for an answer gets it at once, as the new fault has it;
    an answer that is on its way is cut. `requests` are all that came; `connections` are open now, and there never were
    more than `most_connections`.
    """

    def __init__(self, *, fault: F | None = None, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.most_connections = 0
        self._fault = fault
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._socket = socket.create_server(("127.0.0.1", port), backlog=1024)
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
    def fault(self) -> F | None:
        return self._fault

    @fault.setter
    def fault(self, fault: F | None) -> None:
        if fault != self._fault:
            self._fault = fault
            self._changed.set()
            self._changed = asyncio.Event()

    @property
    def connections(self) -> int:
        return len(self._tasks)

    @abstractmethod
    def _fault_of(self, request: Request) -> F | None:
        """Return the fault, if it is one of this request."""

    @abstractmethod
    async def _make(self, request: Request, fault: F | None, *, again: bool) -> Answer:
        """Return what is to be answered; *again* if the fault changed since it was first made."""

    async def _send(self, answer: Answer, fault: F | None, writer: asyncio.StreamWriter) -> bool:
        """Send the answer and return whether the connection may go on after it."""
        writer.write(answer.head + answer.body)
        await writer.drain()
        return True

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
        except Reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer as the fault says, and return whether the connection goes on."""
        again = False
        while True:
            fault = self._fault_of(request)
            answer = await self._unless_disturbed(self._make(request, fault, again=again), reader)
            if answer is not None and fault == self._fault_of(request):
                break
            if _gone(reader):
                return False
            again = True
        whole = await self._unless_disturbed(self._send(answer, fault, writer), reader)
        return bool(whole) and request.headers.get("connection", "").lower() != "close"

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


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().rstrip().split("\r\n")
    method, target, version = first.split(" ")
    headers = {} if version == "HTTP/1.1" else {"connection": "close"}
    headers |= {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(method, target, headers, await reader.readexactly(int(headers.get("content-length", 0))))


async def ask(upstream: str, request: Request) -> Answer:
    """Send a request on to *upstream*, on a connection of its own.

    Raises:
        OSError, EOFError: there was no whole answer.
    """
    where = urlsplit(upstream)
    # Neither compressed nor in chunks, so that an answer can be cut anywhere.
    dropped = {"accept-encoding", "connection", "content-length", "host"}
    headers = [f"{name}: {value}" for name, value in request.headers.items() if name not in dropped]
    lines = [f"{request.method} {request.target} HTTP/1.0", f"Host: {where.netloc}", *headers]
    lines += [f"Content-Length: {len(request.body)}"] if "content-length" in request.headers else []
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + request.body)
        return _parse(await reader.read(-1))
    finally:
        writer.transport.abort()


async def send_half(answer: Answer, writer: asyncio.StreamWriter) -> bool:
    """Send fewer bytes than promised, after which the connection cannot go on."""
    writer.write(answer.head + answer.body[: len(answer.body) // 2])
    await writer.drain()
    return False


def _parse(data: bytes) -> Answer:
    head, separator, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), len(body))
    if not separator or len(body) < length:
        raise EOFError("the connection was closed within an answer")
    kept = tuple(pair for pair in headers if pair[0].lower() not in {"connection", "content-length"})
    return Answer(int(first.split(" ")[1]), kept, body)


def _gone(reader: asyncio.StreamReader) -> bool:
    return reader.at_eof() or reader.exception() is not None
