"""Is a request lost? Constant load that counts every request: which server answered it, or why it failed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass

from dynsrv.demo.web_server import SLOW_PATH

_TIMEOUT = 15.0  # seconds for one request
_WINDOW = 2.0  # seconds over which rates are taken
_REASONS = 5  # failures whose reasons are kept


@dataclass(frozen=True, slots=True)
class Pattern:
    """What one worker sends: a request to *path* every *interval* seconds, or later if the last one takes longer."""

    path: str
    interval: float
    keep_alive: bool


PATTERNS = (
    *(Pattern("/", interval=0.02, keep_alive=False) for _ in range(4)),
    *(Pattern("/", interval=0.02, keep_alive=True) for _ in range(2)),
    # Slow requests, so that most servers are busy when they are removed.
    *(Pattern(SLOW_PATH, interval=0.1, keep_alive=False) for _ in range(8)),
)


class Load:
    """Requests to 127.0.0.1:*port*, without retries, which would hide losses."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._workers: list[asyncio.Task[None]] = []
        self._finishing = False
        self._recent: deque[tuple[float, str]] = deque()
        self.sent = 0
        self.failed = 0
        self.reasons: list[str] = []
        """The reasons for the first few failures."""
        self.answered: Counter[str] = Counter()
        """The number of answers by server name."""

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Start sending."""
        self._workers = [tasks.create_task(self._work(pattern), name=f"load {pattern}") for pattern in PATTERNS]

    async def finish(self) -> None:
        """Stop sending, and wait until every sent request has been answered or has failed."""
        self._finishing = True
        if self._workers:
            await asyncio.wait(self._workers)

    def rates(self) -> Counter[str]:
        """Return how many requests each server answered in the last two seconds."""
        while self._recent and self._recent[0][0] < time.monotonic() - _WINDOW:
            self._recent.popleft()
        return Counter(name for _, name in self._recent)

    def rate(self, number: int) -> float:
        """Convert a number from `rates` to requests per second."""
        return number / _WINDOW

    async def _work(self, pattern: Pattern) -> None:
        loop = asyncio.get_running_loop()
        connection: _Connection | None = None
        due = loop.time()
        try:
            while not self._finishing:
                self.sent += 1
                reusable = False
                try:
                    async with asyncio.timeout(_TIMEOUT):
                        connection = connection or await _Connection.open(self._port)
                        name, reusable = await connection.get(pattern.path, keep_alive=pattern.keep_alive)
                except (OSError, EOFError, ValueError) as error:  # TimeoutError is an OSError
                    self._count_failure(pattern, error)
                else:
                    self.answered[name] += 1
                    self._recent.append((time.monotonic(), name))
                if connection is not None and not reusable:
                    connection.close()
                    connection = None
                due = max(due + pattern.interval, loop.time())
                await asyncio.sleep(due - loop.time())
        finally:
            if connection is not None:
                connection.close()

    def _count_failure(self, pattern: Pattern, error: Exception) -> None:
        self.failed += 1
        if len(self.reasons) < _REASONS:
            how = "keep-alive" if pattern.keep_alive else "new"
            self.reasons.append(f"GET {pattern.path} on a {how} connection: {type(error).__name__} {error}".strip())


class _Connection:
    """One HTTP/1.1 connection, in plain bytes, because a library would retry by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> _Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def get(self, path: str, *, keep_alive: bool) -> tuple[str, bool]:
        """Return the name of the server, and whether the connection can be reused.

        Raises:
            OSError, EOFError: the connection broke before the end of the response.
            ValueError: the response is not a complete 200.
        """
        connection = "keep-alive" if keep_alive else "close"
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: demo\r\nConnection: {connection}\r\n\r\n".encode())
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        if status.split(" ")[1:2] != ["200"]:
            raise ValueError(status)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self._reader.readexactly(int(headers.get("content-length", "")))
        return body.decode().strip(), keep_alive and headers.get("connection", "").lower() != "close"

    def close(self) -> None:
        self._writer.close()
