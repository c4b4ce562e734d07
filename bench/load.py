"""How long does a request take while something else goes on? Asked in a process of its own: nothing is in its way.

    python -m bench.load ADDRESS TARGET INTERVAL

GET requests for TARGET on one connection, one each INTERVAL seconds, until SIGTERM; ADDRESS is a port of 127.0.0.1 or a
socket's path. Then it prints of each, as JSON, when it was due (Unix time) and how long after that its answer was
there. What could not be sent in time counts as waiting, too.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench.haproxy import REPOSITORY


class Load:
    """A load that runs from when this is made."""

    def __init__(self, address: Path | int, target: str, *, interval: float) -> None:
        command = [sys.executable, "-m", "bench.load", str(address), target, str(interval)]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
        self._took: list[tuple[float, float]] = []

    def end(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        out, _ = self._process.communicate()
        if self._process.returncode:
            raise SystemExit("the load ended before its time")
        self._took = json.loads(out)

    def between(self, began: float, ended: float) -> list[float]:
        """Return the seconds of the requests that were due in this time, sorted; of a load that has ended."""
        return sorted(seconds for due, seconds in self._took if began <= due <= ended)


def _main(address: str, target: str, interval: float) -> None:
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    request = f"GET {target} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
    took = []
    with _connected(address) as connection:
        due = time.time()
        while not stopped:
            time.sleep(max(0.0, due - time.time()))
            connection.sendall(request)
            _read_answer(connection)
            took.append((due, time.time() - due))
            due += interval
    json.dump(took, sys.stdout)


def _connected(address: str) -> socket.socket:
    if address.isdigit():
        return socket.create_connection(("127.0.0.1", int(address)))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    return connection


def _read_answer(connection: socket.socket) -> None:
    """Read one whole answer, which has to be a good one."""
    answer = b""
    while not (head := answer.partition(b"\r\n\r\n"))[1] or len(head[2]) < _length(head[0]):
        data = connection.recv(65536)
        if not data:
            raise SystemExit(f"the connection was closed after {answer!r}")
        answer += data
    if b" 200 " not in answer.split(b"\r\n", 1)[0]:
        raise SystemExit(f"not a 200: {answer!r}")


def _length(head: bytes) -> int:
    return next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
