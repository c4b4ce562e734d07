"""What can HAProxy do at most? The best commands that we know, sent over one connection without waiting for answers.

Nothing is read of an answer but where it ends. What it said is looked at afterwards, outside of the timing.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_END = b"\n> "
_READ = 1 << 18


class Raw:
    """One interactive connection."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.settimeout(0)
        self._tail = b""
        self.owed = 0
        self.unsent = memoryview(b"")
        self.send(["prompt"])
        exchange([self])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, lines: Sequence[str]) -> None:
        """Have *lines* sent by the next `exchange`."""
        self.unsent = memoryview(("\n".join(lines) + "\n").encode())
        self.owed = len(lines)

    def write(self) -> None:
        """Write as much as HAProxy takes now."""
        sent = self.socket.send(self.unsent[:_READ])
        self.unsent = self.unsent[sent:]

    def read(self) -> None:
        """Read what is there and count the answers that it ends."""
        data = self.socket.recv(_READ)
        if not data:
            raise ConnectionError(f"HAProxy closed the connection; {self.owed} answers were owed")
        data = self._tail + data
        self.owed -= data.count(_END)
        self._tail = data[-2:]

    def fetch(self, command: str) -> bytes:
        """Send one command and return its answer."""
        self.socket.settimeout(None)
        self.socket.sendall(f"{command}\n".encode())
        parts = []
        tail = b""
        while not tail.endswith(_END):
            data = self.socket.recv(_READ)
            parts.append(data)
            tail = (tail + data)[-3:]
        self.socket.settimeout(0)
        self._tail = b""
        return b"".join(parts)


def exchange(connections: Iterable[Raw]) -> None:
    """Send on all *connections* at once what they are to send, and return when every answer came."""
    with selectors.DefaultSelector() as selector:
        for one in connections:
            selector.register(one.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, one)
        while selector.get_map():
            for key, events in selector.select():
                one = key.data
                if events & selectors.EVENT_WRITE:
                    one.write()
                    if not one.unsent:
                        selector.modify(key.fileobj, selectors.EVENT_READ, one)
                if events & selectors.EVENT_READ:
                    one.read()
                    if one.owed <= 0:
                        selector.unregister(key.fileobj)


def timed(path: Path, lines: Sequence[str]) -> float:
    """Return how many seconds *lines* took, with the connection's making."""
    began = time.perf_counter()
    with Raw(path) as connection:
        connection.send(lines)
        exchange([connection])
    return time.perf_counter() - began
