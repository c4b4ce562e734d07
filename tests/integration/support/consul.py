"""A real Consul as a child process, alone or as three servers, that can be killed, frozen, wiped and put back."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tests.integration.support.consul_api import MANAGEMENT, ConsulAPI
from tests.integration.support.ports import a_port
from tests.integration.support.waiting import eventually

if TYPE_CHECKING:
    from tests.integration.support.certificates import Certificates

__all__ = ["Cluster", "Consul", "StartConsul", "a_port", "binary"]

REPOSITORY = Path(__file__).parents[3]


def binary() -> Path:
    """Return the Consul of these tests; `make consul` fetches it."""
    path = REPOSITORY / ".consul" / "consul"
    assert path.exists(), f"there is no {path}: run `make consul`"
    return path


class Consul(ConsulAPI):
    """One agent, a server in the datacenter dc1. As a context manager it is started, and closed at the end.

    By default it forgets everything when it ends (`-dev`); a *durable* one has a data directory. With *acl*,
    nobody may do anything without a token. With *certificates*, HTTPS is served, too; with *verify_clients* only to
    those who show a certificate. *extra* is configuration that comes after all of this.
    """

    def __init__(
        self,
        *,
        node: str = "consul",
        durable: bool = False,
        acl: bool = False,
        unix_socket: bool = False,
        certificates: Certificates | None = None,
        verify_clients: bool = False,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        self._resources = ExitStack()
        folder = tempfile.TemporaryDirectory(prefix="dynsrv-")  # a socket's path is at most 107 bytes
        self._folder = Path(self._resources.enter_context(folder))
        self.ports = {name: self._resources.enter_context(a_port()) for name in ("http", "https", "server", "serf_lan")}
        super().__init__(f"http://127.0.0.1:{self.ports['http']}", node=node)
        self.https_url = f"https://127.0.0.1:{self.ports['https']}" if certificates else None
        self.unix_socket = self._folder / "http.sock" if unix_socket else None
        self.log = self._folder / "consul.log"
        self._data = self._folder / "data"
        self._durable = durable
        self._process: asyncio.subprocess.Process | None = None
        self._frozen = False
        unused = {"dns": -1, "grpc": -1, "serf_wan": -1} | ({} if certificates else {"https": -1})
        configuration: dict[str, object] = {
            "node_name": node,
            # After its data was wiped it is the same node still, and may have its name again.
            "node_id": str(uuid.uuid5(uuid.NAMESPACE_OID, node)),
            "bind_addr": "127.0.0.1",
            "ports": self.ports | unused,
            "log_level": "info",
            "disable_update_check": True,
            "enable_debug": True,  # for `blocked`
        }
        if durable:
            configuration |= {"server": True, "bootstrap_expect": 1, "data_dir": str(self._data)}
            # The time-outs of elections as short as possible; by default five times as long.
            configuration["performance"] = {"raft_multiplier": 1}
        if acl:
            tokens = {"master": MANAGEMENT, "agent": MANAGEMENT}
            configuration["acl"] = {"enabled": True, "default_policy": "deny", "tokens": tokens}
        if self.unix_socket is not None:
            configuration["addresses"] = {"http": f"127.0.0.1 unix://{self.unix_socket}"}
        if certificates is not None:
            configuration |= {
                "ca_file": str(certificates.authority),
                "cert_file": str(certificates.server.certificate),
                "key_file": str(certificates.server.key),
                "verify_incoming_https": verify_clients,
            }
        (self._folder / "1.json").write_text(json.dumps(configuration))
        self.configure(extra or {})

    def __repr__(self) -> str:
        return f"<Consul {self.node} at {self.url}>"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def configure(self, extra: Mapping[str, object]) -> None:
        """Take *extra* instead of what was given as such, from the next start on."""
        (self._folder / "2.json").write_text(json.dumps(extra))

    @property
    def running(self) -> bool:
        """Whether it is a process, and not frozen."""
        return not self.ended and not self._frozen

    @property
    def ended(self) -> bool:
        """Whether there is no process, or none yet."""
        return self._process is None or self._process.returncode is not None

    async def start(self) -> None:
        """Start it and wait until there is a leader, and until the catalog holds all of its own node."""
        await self.launch()
        await eventually(self._ready, what=f"{self} is ready")

    async def launch(self) -> None:
        """Start it without waiting for anything, as a server must be that has no quorum yet."""
        assert self.ended
        files = [f"-config-file={self._folder / name}" for name in ("1.json", "2.json")]
        mode = [] if self._durable else ["-dev"]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                binary(), "agent", *mode, *files, stdout=log, stderr=log
            )

    async def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text()
        try:
            if not await self.leader_address():
                return False
            servers = await self.health("consul")
        except (OSError, EOFError):
            return False
        own = [one for one in servers.json if one["Node"]["Node"] == self.node] if servers.status == 200 else []
        # Of a node the catalog hears from the leader, and its tagged addresses from its agent, in any order.
        healthy = [check["Status"] for one in own for check in one["Checks"] if check["CheckID"] == "serfHealth"]
        return healthy == ["passing"] and bool(own[0]["Node"]["TaggedAddresses"])

    async def leader_address(self) -> str:
        """Return the address of the leader's server port, or nothing, as this agent knows it."""
        answer = await self.ask("/v1/status/leader")
        return str(answer.json) if answer.status == 200 else ""

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def terminate(self) -> None:
        """Stop it as an operator does, and wait for its end."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is not None and not self.ended:
            self._process.send_signal(number)
            self.thaw()
            async with asyncio.timeout(10):
                await self._process.wait()

    async def restart(self) -> None:
        """Terminate it and start it again; only a durable one knows then what it knew."""
        await self.terminate()
        await self.start()

    def reload(self) -> None:
        """Let it read what `configure` wrote without an end, as far as it does that: its limits."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    async def freeze(self) -> None:
        """Stop the process, and wait until it is stopped: a signal takes its time."""
        assert self._process is not None
        self._frozen = True
        self._process.send_signal(signal.SIGSTOP)
        status = Path(f"/proc/{self._process.pid}/status")
        await eventually(lambda: "State:\tT" in status.read_text())

    def thaw(self) -> None:
        if self._frozen:
            assert self._process is not None
            self._process.send_signal(signal.SIGCONT)
            self._frozen = False

    def wipe(self) -> None:
        """Remove the data of a durable agent that does not run."""
        assert self.ended
        shutil.rmtree(self._data)

    def copy_data(self) -> Path:
        """Return a copy of the data of a durable agent that does not run."""
        assert self.ended
        return shutil.copytree(self._data, Path(tempfile.mkdtemp(dir=self._folder), "data"))

    def restore(self, copy: Path) -> None:
        """Put *copy* in the place of the data of an agent that does not run."""
        self.wipe()
        shutil.copytree(copy, self._data)

    async def close(self) -> None:
        """End it, whatever state it is in, and remove what it wrote; its log is shown if the test failed."""
        await self._end(signal.SIGKILL)
        if self.log.exists():
            print(f"--- the last lines of {self}", *self.log.read_text().splitlines()[-30:], sep="\n")
        self._resources.close()


class Cluster:
    """Three durable servers that have one leader; *extra* is for each of them, *arguments* as those of `Consul`."""

    def __init__(self, *, extra: Mapping[str, object] | None = None, **arguments: Any) -> None:
        self.members = [Consul(node=f"consul-{number}", durable=True, **arguments) for number in (1, 2, 3)]
        together: dict[str, object] = {
            "bootstrap_expect": 3,
            "retry_join": [f"127.0.0.1:{member.ports['serf_lan']}" for member in self.members],
            "retry_interval": "200ms",
            # One that was killed stays a member: the quorum is two of three, always.
            "autopilot": {"cleanup_dead_servers": False},
        }
        for member in self.members:
            member.configure(together | dict(extra or {}))

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Start those that ended, thaw the others, and wait until all of them know the same leader."""
        for member in self.members:
            member.thaw()
        async with asyncio.TaskGroup() as tasks:
            for member in self.members:
                if member.ended:
                    tasks.create_task(member.start())
        await self.leader()

    async def leader(self) -> Consul:
        """Return the one that leads, once all that run agree that it does, and it runs."""

        async def agreed() -> Consul | None:
            running = [member for member in self.members if member.running]
            try:
                named = {await member.leader_address() for member in running}
            except (OSError, EOFError):
                return None
            return next((one for one in running if named == {f"127.0.0.1:{one.ports['server']}"}), None)

        leader = await eventually(agreed, what="those that run agree on a leader")
        assert isinstance(leader, Consul)
        return leader

    async def followers(self) -> list[Consul]:
        """Return those that run and do not lead."""
        leader = await self.leader()
        return [member for member in self.members if member.running and member is not leader]

    async def close(self) -> None:
        for member in self.members:
            await member.close()


StartConsul = Callable[..., Awaitable[Consul]]
"""The fixture `a_consul`: takes what `Consul` takes."""
