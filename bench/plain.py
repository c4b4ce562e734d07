"""How do scripts around the Runtime API do it? One connection for each command, and no ids.

Sockets of this process are used, so that what is measured is not the start of a `socat` for each command.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterable
from pathlib import Path


def command(path: str, line: str) -> bytes:
    """Send one command on a connection of its own, and return the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(f"{line}\n".encode())
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer


def timed(path: Path, lines: Iterable[str], *, at_most: float = math.inf) -> float:
    """Return how many seconds *lines* took, one after the other; none is sent later than *at_most* seconds."""
    began = time.perf_counter()
    for line in lines:
        command(str(path), line)
        if time.perf_counter() - began > at_most:
            break
    return time.perf_counter() - began
