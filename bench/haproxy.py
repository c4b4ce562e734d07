"""A HAProxy to measure on, and what it says of itself: asked without dynsrv."""

from __future__ import annotations

import resource
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.servers import BACKEND, Server

REPOSITORY = Path(__file__).parents[1]
VERSIONS = ("2.6", "3.0", "3.2", "3.4")
_START_TIMEOUT = 10.0

_CONFIGURATION = """\
global
    stats socket {folder}/admin.sock mode 600 level admin

defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s

frontend fe_app
    bind unix@{folder}/frontend.sock
    default_backend {backend}

backend {backend}
{balance}
"""
_ORIGIN = """\
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s

frontend fe_origin
    bind 0.0.0.0:{port}
    http-request return status 200 content-type text/plain string "here\\n"
"""


def binary(version: str) -> Path:
    """Return the HAProxy of *version*; `make haproxy` fetches it."""
    path = REPOSITORY / ".haproxy" / version / "haproxy"
    if not path.exists():
        raise SystemExit(f"there is no {path}: run `make haproxy`")
    return path


class HAProxy:
    """One HAProxy that runs, in *folder*."""

    def __init__(self, version: str, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.version = version
        self.folder = folder
        self.socket = folder / "admin.sock"
        self.frontend = folder / "frontend.sock"
        self.pid = process.pid

    def ask(self, command: str) -> str:
        """Return the answer to one command, sent on a connection of its own."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(self.socket))
            connection.sendall(f"{command}\n".encode())
            parts = []
            while data := connection.recv(1 << 20):
                parts.append(data)
        return b"".join(parts).decode()

    def names(self) -> list[str]:
        """Return the names of all servers, in HAProxy's own order."""
        return list(self.rows())

    def rows(self) -> dict[str, list[str]]:
        """Return the cells of `show servers state` by the server's name."""
        lines = self.ask(f"show servers state {BACKEND}").splitlines()
        return {cells[3]: cells for line in lines[2:] if line for cells in [line.split(" ")]}

    def verify(self, wanted: Sequence[Server], *, ids: bool = True) -> None:
        """Make sure that exactly *wanted* are there, with what they were to be given, and admitted.

        Raises:
            AssertionError: they are not; a measurement of that means nothing.
        """
        rows = self.rows()
        assert rows.keys() == {one.name for one in wanted}, f"{len(rows)} servers instead of {len(wanted)}"
        for one in wanted:
            cells = rows[one.name]
            address, operational, admin, weight, check = (cells[column] for column in (4, 5, 6, 7, 13))
            found = (address, int(operational), int(admin) & 0x3B, int(weight))
            assert found == (one.address, 2, 0, one.kind.weight), f"{one.name}: {cells}"
            assert int(check) & 4, f"{one.name}: its check is off: {cells}"
            assert not ids or int(cells[2]) == one.id, f"{one.name}: id {cells[2]} instead of {one.id}"


@contextmanager
def running(version: str, *, balance: str = "balance roundrobin", extra: str = "") -> Iterator[HAProxy]:
    """Run a HAProxy inside the block; *balance* is what its backend says, *extra* comes after it, with `{folder}`."""
    with tempfile.TemporaryDirectory(prefix="dynsrv-") as name:  # a socket's path is at most 107 bytes
        folder = Path(name)
        lines = "".join(f"    {line}\n" for line in balance.split("\n"))
        text = (_CONFIGURATION + extra).format(folder=folder, backend=BACKEND, balance=lines)
        with _process(version, folder, text) as process:
            haproxy = HAProxy(version, folder, process)
            _await_answer(haproxy, process)
            yield haproxy


@contextmanager
def several(number: int, version: str) -> Iterator[list[HAProxy]]:
    """Run so many HAProxies inside the block."""
    with ExitStack() as stack:
        yield [stack.enter_context(running(version)) for _ in range(number)]


@contextmanager
def origin(version: str = VERSIONS[-1]) -> Iterator[int]:
    """Run what stands behind all servers inside the block: a HAProxy that answers each request; its port."""
    with tempfile.TemporaryDirectory(prefix="dynsrv-") as name:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        with _process(version, Path(name), _ORIGIN.format(port=port)) as process:
            deadline = time.monotonic() + _START_TIMEOUT
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    _alive(process, Path(name), deadline)
            yield port


@contextmanager
def _process(version: str, folder: Path, text: str) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "haproxy.cfg").write_text(text)
    # checks need file descriptors, and HAProxy takes for itself what it is allowed at most
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with (folder / "haproxy.log").open("wb") as log:
        command = [str(binary(version)), "-db", "-f", str(folder / "haproxy.cfg")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _await_answer(haproxy: HAProxy, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while True:
        try:
            if "Pid" in haproxy.ask("show info"):
                return
        except OSError:
            _alive(process, haproxy.folder, deadline)


def _alive(process: subprocess.Popen[bytes], folder: Path, deadline: float) -> None:
    if process.poll() is not None or time.monotonic() > deadline:
        raise SystemExit(f"HAProxy does not start:\n{(folder / 'haproxy.log').read_text()}")
    time.sleep(0.01)
