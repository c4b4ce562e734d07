"""A real HAProxy as a child process, and what it says of itself: asked without dynsrv's own client."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer

REPOSITORY = Path(__file__).parents[3]
CONFIGURATION = REPOSITORY / "deploy" / "haproxy.cfg"
VERSIONS = ("2.6", "3.0", "3.2", "3.4")
_NOT_READY = 0x3B  # what in srv_admin_state keeps requests away


def binary(version: str) -> Path:
    """Return the HAProxy of *version*; `make haproxy` fetches it."""
    path = REPOSITORY / ".haproxy" / version / "haproxy"
    assert path.exists(), f"there is no {path}: run `make haproxy`"
    return path


@dataclass(frozen=True)
class Row:
    """One line of `show servers state`, and the row of `show stat` that belongs to it."""

    name: str
    id: int
    address: str
    port: int
    operational: int
    admin: int
    weight: int
    check_result: int
    status: str
    sessions: int
    total: int

    @property
    def ready(self) -> bool:
        return self.admin & _NOT_READY == 0

    @property
    def maintenance(self) -> bool:
        return bool(self.admin & 0x23)

    @property
    def draining(self) -> bool:
        return not self.maintenance and bool(self.admin & 0x18)


class HAProxy:
    """One HAProxy; its stats socket and its frontend are unix sockets in a short folder of its own."""

    def __init__(
        self,
        version: str,
        *,
        backend: str | None = None,
        level: str = "admin",
        extra: str = "",
        master_worker: bool = False,
    ) -> None:
        self.version = version
        self._master_worker = master_worker
        self._folder = tempfile.TemporaryDirectory(prefix="dynsrv-")  # a socket's path is at most 107 bytes
        folder = Path(self._folder.name)
        self.socket = folder / "admin.sock"
        self.frontend = folder / "frontend.sock"
        self.master = folder / "master.sock"
        self.log = folder / "haproxy.log"
        self.configuration = folder / "haproxy.cfg"
        self.configure(backend=backend, level=level, extra=extra)
        self._process: asyncio.subprocess.Process | None = None
        self._old: list[asyncio.subprocess.Process] = []  # which -sf replaced

    def configure(self, *, backend: str | None = None, level: str = "admin", extra: str = "") -> None:
        """Write the shipped configuration, with *backend* instead of its `balance` line."""
        text = CONFIGURATION.read_text()
        assert "    balance roundrobin\n" in text
        if backend is not None:
            text = text.replace("    balance roundrobin\n", "".join(f"    {line}\n" for line in backend.split("\n")))
        text = text.replace("level admin", f"level {level}").replace(
            "timeout server 30s", "timeout server 30s\n    log stdout format raw local0 info"
        )
        # 2.2 does not know "${NAME-default}"
        text = text.replace("${STATS_SOCKET-/run/haproxy/admin.sock}", str(self.socket))
        text = text.replace("${FRONTEND-:8080}", f"unix@{self.frontend}")
        self.configuration.write_text(text + extra)

    async def start(self) -> None:
        mode = ["-W", "-db", "-S", str(self.master)] if self._master_worker else ["-db"]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                binary(self.version), *mode, "-f", self.configuration, stdout=log, stderr=log
            )
        await eventually(self._answers, what=f"HAProxy {self.version} answers: {self.log.read_text()}")

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text()
        try:
            # a master loses the signals that come before it waits for its workers, which is when its own socket answers
            master_waits = not self._master_worker or "worker" in await self.ask("show proc", of=self.master)
            return master_waits and "Pid" in await self.ask("show info")
        except OSError:
            return False

    async def stop(self, *, kill: bool = False) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            if kill:
                self._process.kill()
            else:
                self._process.terminate()
            await self._process.wait()
        self._process = None

    async def replace(self, *, listeners: bool = False) -> None:
        """Start another process that takes over from this one (`haproxy -sf`), and wait until it answers.

        With *listeners* it gets the old one's (`-x`), for which the socket's level is `admin expose-fd listeners`.
        """
        old = await self.pid()
        assert self._process is not None
        self._old.append(self._process)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                binary(self.version),
                *["-db", "-f", str(self.configuration)],
                *(["-x", str(self.socket)] if listeners else []),
                *["-sf", str(old)],
                stdout=log,
                stderr=log,
            )

        async def another() -> bool:
            return await self.pid() != old

        await eventually(another)

    async def begin_reload(self) -> int:
        """Let the master reload, and return the pid of the worker that answers still."""
        await eventually(self._answers)  # a master that has not come back from the last reload loses the signal
        old = await self.pid()
        self.signal(signal.SIGUSR2)
        return old

    async def reload(self) -> None:
        """Reload (master-worker mode) and wait until another worker answers."""
        old = await self.begin_reload()

        async def another() -> bool:
            info = await self.ask("show info")
            return "Stopping: 0" in info and f"Pid: {old}\n" not in info

        await eventually(another, what=f"another worker answers: {self.log.read_text()}")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def close(self) -> None:
        for old in self._old:
            with suppress(ProcessLookupError):
                old.kill()
            await old.wait()
        await self.stop(kill=True)
        self._folder.cleanup()

    async def pid(self) -> int:
        info = await self.ask("show info")
        return next(int(line[5:]) for line in info.splitlines() if line.startswith("Pid: "))

    async def freeze(self) -> None:
        """Stop the process, and wait until it is stopped: a signal takes its time."""
        assert self._process is not None
        self.signal(signal.SIGSTOP)
        status = Path(f"/proc/{self._process.pid}/status")
        await eventually(lambda: "State:\tT" in status.read_text())

    def lives(self, pid: int) -> bool:
        return Path(f"/proc/{pid}").exists()

    async def ask(self, command: str, *, of: Path | None = None) -> str:
        """Send one command on a connection of its own and return the whole answer."""
        reader, writer = await asyncio.open_unix_connection(of or self.socket, limit=2**26)
        try:
            writer.write(f"{command}\n".encode())
            if of is not None:
                writer.write_eof()  # a master keeps the connection open
            async with asyncio.timeout(5):
                return (await reader.read(-1)).decode()
        finally:
            writer.close()

    async def do(self, command: str) -> None:
        """Send a command whose success is silence, or a sentence of success."""
        answer = (await self.ask(command)).strip()
        assert answer in {"", "New server registered.", "Server deleted."}, f"{command}: {answer}"

    async def servers(self, backend: str = "be_app") -> dict[str, Row]:
        """Return the live servers by name, in HAProxy's order."""
        state = await self._state(backend)
        stat = (await self.ask(f"show stat {backend} 4 -1")).splitlines()
        columns = stat[0][2:].split(",")
        rows_of_stat = [dict(zip(columns, line.split(","), strict=True)) for line in stat[1:] if line]
        stats = {cells["svname"]: cells for cells in rows_of_stat}
        rows = {}
        for cells in state:
            name = cells["srv_name"]
            if name not in stats:  # deleted between the two questions
                continue
            rows[name] = Row(
                name=name,
                id=int(cells["srv_id"]),
                address=cells["srv_addr"],
                port=int(cells["srv_port"]),
                operational=int(cells["srv_op_state"]),
                admin=int(cells["srv_admin_state"]),
                weight=int(cells["srv_uweight"]),
                check_result=int(cells["srv_check_result"]),
                status=stats[name]["status"],
                sessions=int(stats[name]["scur"]),
                total=int(stats[name]["stot"]),
            )
        return rows

    async def ready_ports(self) -> set[int]:
        """Return the ports of the servers that get requests, as one answer tells them: nothing changes meanwhile."""
        state = await self._state("be_app")
        return {
            int(cells["srv_port"])
            for cells in state
            if int(cells["srv_admin_state"]) & _NOT_READY == 0 and cells["srv_op_state"] == "2"
        }

    async def _state(self, backend: str) -> list[dict[str, str]]:
        _, header, *lines = (await self.ask(f"show servers state {backend}")).splitlines()
        return [dict(zip(header[2:].split(" "), line.split(" "), strict=True)) for line in lines if line]


StartHAProxy = Callable[..., Awaitable[HAProxy]]
"""The fixture `a_haproxy`: takes what `HAProxy` takes."""


async def serves(haproxy: HAProxy, servers: Iterable[WebServer]) -> None:
    """Wait until exactly *servers* are live, and all of them get requests."""
    wanted = {server.port for server in servers}

    async def exactly() -> bool:
        live = await haproxy.servers()
        assert {row.port for row in live.values()} == wanted, live
        assert await haproxy.ready_ports() == wanted, live
        return True

    await eventually(exactly)


def environment() -> dict[str, str]:
    """Return the environment for child processes: ours, without buffering."""
    return {**os.environ, "PYTHONUNBUFFERED": "1"}
