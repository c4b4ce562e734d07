"""An exact HTTP load: what was sent, what failed and how; no library in between that repeats a request by itself."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class BadAnswer(Exception):
    """An answer that is not a whole 200."""


async def request(frontend: Path, path: str = "/", *, timeout: float = 10.0) -> int:
    """Send one request on a connection of its own and return the port of the server that answered.

    Raises:
        BadAnswer, OSError, TimeoutError: the request was lost.
    """
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_unix_connection(frontend)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read(-1)
        finally:
            writer.transport.abort()
    head, separator, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0]
    if not separator or b" 200 " not in status:
        raise BadAnswer(status.decode() or "closed without an answer")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = int(headers[b"content-length"])
    if len(body) != length:
        raise BadAnswer(f"{len(body)} of {length} bytes")
    return int(body)


class Load:
    """Counts of a running load."""

    def __init__(self) -> None:
        self.answered: Counter[int] = Counter()  # by the port of the server
        self.failed: Counter[str] = Counter()  # by what went wrong

    @property
    def sent(self) -> int:
        return self.answered.total() + self.failed.total()


@asynccontextmanager
async def load(
    frontend: Path, *, path: str = "/", workers: int = 8, pause: float = 0.0, stamped: bool = False
) -> AsyncIterator[Load]:
    """Send requests as fast as *workers* get answers, until the block ends; each counts as answered or failed.

    After each answer a worker pauses for so many seconds. A *stamped* request asks for the Unix time at which it was
    sent.
    """
    counts = Load()
    stop = False

    async def work() -> None:
        while not stop:
            try:
                counts.answered[await request(frontend, f"/{time.time()}" if stamped else path)] += 1
                if pause:
                    await asyncio.sleep(pause)
            except (BadAnswer, OSError, TimeoutError) as error:
                counts.failed[f"{type(error).__name__}: {error}"] += 1
                await asyncio.sleep(0.001)  # a refused connection fails without ever waiting

    async with asyncio.TaskGroup() as tasks:
        for _ in range(workers):
            tasks.create_task(work())
        try:
            yield counts
        finally:
            stop = True
