"""How soon is a backend empty when its last request has ended?"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench import daemon, plain, raw
from bench.dynsrv import installed
from bench.haproxy import HAProxy, running
from bench.raw import Raw
from bench.scenario import DYNSRV, PLAIN, RAW, Measured, Round
from bench.servers import BACKEND, Kind, Server, admission, removal, servers
from dynsrv.logs import Event

_REQUESTS = 100
_REQUEST_SECONDS = 2.0
_PAUSE = 0.02
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def drain(this: Round, *, number: int) -> Measured:
    """Seconds from the end of the last of a hundred requests to a backend without its *number* servers."""
    kind = Kind()
    for way in (RAW, DYNSRV, PLAIN) if this.plain else (RAW, DYNSRV):
        with _Slow() as slow, running(this.version) as haproxy, installed(haproxy, kind=kind) as dynsrv:
            there = servers(number, port=slow.port, kind=kind)
            raw.timed(haproxy.socket, admission(there))
            if way == DYNSRV:
                dynsrv.want(there)
                with daemon.running(dynsrv) as running_daemon:
                    running_daemon.logged(Event.BACKEND_IN_SYNC)
                    with _requests(haproxy):
                        dynsrv.want([])
                        empty = running_daemon.logged(Event.BACKEND_IN_SYNC)
            else:
                with _requests(haproxy):
                    (_remove_raw if way == RAW else _remove_plain)(haproxy, there)
                    empty = time.time()
            haproxy.verify([])
            assert len(slow.ended) == _REQUESTS, f"{len(slow.ended)} requests came"
            yield way, empty - max(slow.ended)


def _remove_raw(haproxy: HAProxy, there: Sequence[Server]) -> None:
    with Raw(haproxy.socket) as connection:

        def send(lines: Sequence[str]) -> None:
            connection.send(lines)
            raw.exchange([connection])

        _remove(there, send=send, ask=connection.fetch)


def _remove_plain(haproxy: HAProxy, there: Sequence[Server]) -> None:
    path = haproxy.socket
    _remove(there, send=lambda lines: plain.timed(path, lines), ask=lambda line: plain.command(str(path), line))


def _remove(there: Sequence[Server], *, send: Callable[[Sequence[str]], object], ask: Callable[[str], bytes]) -> None:
    """Drain all, and delete those that have no session, until none is left."""
    send([f"set server {one.path} state drain" for one in there])
    left = [one.name for one in there]
    while left:
        rows = [line.split(b",") for line in ask(f"show stat {BACKEND} 4 -1").split(b"\n")]
        busy = {row[1].decode() for row in rows if len(row) > 4 and row[4].isdigit() and int(row[4])}
        free = [name for name in left if name not in busy]
        if free:
            send(removal(free))
        left = [name for name in left if name in busy]
        if left:
            time.sleep(_PAUSE)


class _Slow:
    """Listens on a *port* of every address, and answers each request some seconds after it came."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("0.0.0.0", 0), backlog=4096)  # noqa: S104 - for all of 127.0.0.0/8
        self.port: int = self._listener.getsockname()[1]
        self.ended: list[float] = []
        """When requests were answered, in Unix time."""

    def __enter__(self) -> _Slow:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                if not connection.recv(65536):  # a check says nothing
                    return
            except OSError:
                return
            time.sleep(_REQUEST_SECONDS)
            self.ended.append(time.time())
            connection.sendall(_ANSWER)


@contextmanager
def _requests(haproxy: HAProxy) -> Iterator[None]:
    """Have requests run when the block begins; at its end all of them have to be answered well."""
    connections = []
    for _ in range(_REQUESTS):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        connection.connect(str(haproxy.frontend))
        connection.sendall(_REQUEST)
        connections.append(connection)
    while _running(haproxy) < _REQUESTS:
        time.sleep(0.01)
    yield
    for connection in connections:
        with connection:
            answer = connection.recv(65536)
            assert b" 200 " in answer, f"a request was lost: {answer!r}"


def _running(haproxy: HAProxy) -> int:
    rows = [line.split(",") for line in haproxy.ask(f"show stat {BACKEND} 2 -1").splitlines()]
    return int(rows[1][4])
