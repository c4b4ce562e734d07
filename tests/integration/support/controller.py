"""dynsrv as users start it: a configuration file, a file of servers, and the command line."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import yaml

from dynsrv.logs import Event
from tests.integration.support.consul_api import ConsulAPI
from tests.integration.support.fork_server import Forked, ForkServer
from tests.integration.support.haproxy import HAProxy, environment
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer

Endpoints = Iterable[WebServer | Mapping[str, object]]

UNGUARDED = {"max_removed": "100%", "min_ready": 0, "on_empty": "remove"}
"""For tests of other things than the guard, which would not let the last server of a backend go."""
FAST_CHECK = {"check": True, "inter": "100ms", "fall": 1, "rise": 1}

PATIENCE = 10.0
"""Seconds in which a daemon has to end: far less than anything that it may be waiting for in a test."""


def from_consul(address: object, **keys: object) -> dict[str, object]:
    """Return the source that follows the service web of the Consul at *address*, with *keys* besides."""
    return {"kind": "consul", "address": address, "service": "web", **keys}


async def register(consul: ConsulAPI, *servers: WebServer, service: str = "web") -> None:
    """Register an instance of *service* for each of *servers*, whose check passes."""
    for server in servers:
        await consul.register(service, address="127.0.0.1", port=server.port)


class Finished:
    """A command that ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Dynsrv:
    """One installation: `dynsrv.yaml` and `servers.yaml` in *folder*, for *proxies*.

    Its processes have our environment, without the variables of Consul's and AWS' tools, and with *environment*.
    They are forks of *server*, wherever that makes no difference; without it `command` is executed.
    """

    def __init__(
        self,
        folder: Path,
        *proxies: HAProxy,
        backend: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
        server: ForkServer | None = None,
        **top: object,
    ) -> None:
        self.environment = _our_environment() | dict(environment or {})
        self._server = server
        self.folder = folder
        self.servers_file = folder / "servers.yaml"
        self.configuration = folder / "dynsrv.yaml"
        self.log = folder / "dynsrv.log"
        self._process: asyncio.subprocess.Process | Forked | None = None
        settings = {
            "proxies": [{"name": f"lb{number}", "address": str(one.socket)} for number, one in enumerate(proxies, 1)],
            "backends": [
                {
                    "name": "be_app",
                    "source": {"kind": "file", "path": "servers.yaml"},
                    "server": FAST_CHECK,
                    "limits": UNGUARDED,
                    **(backend or {}),
                }
            ],
            "web": None,
            **top,
        }
        self.configuration.write_text(yaml.safe_dump(settings))

    def want(self, endpoints: Endpoints) -> None:
        """Write the file of servers, as a careful writer does: a new file, renamed."""
        servers = [dict(one.endpoint) if isinstance(one, WebServer) else dict(one) for one in endpoints]
        new = self.servers_file.with_suffix(".new")
        new.write_text(yaml.safe_dump({"servers": servers}))
        new.rename(self.servers_file)

    def command(self, command: str, *arguments: str) -> list[str]:
        """Return the command line of `dynsrv` *command*."""
        return [sys.executable, "-m", *self._module(command, *arguments)]

    def _module(self, command: str, *arguments: str) -> list[str]:
        return ["dynsrv", command, "-c", str(self.configuration), *arguments]

    async def start(self, *arguments: str) -> None:
        with self.log.open("ab") as log:
            self._process = await self._start("run", *arguments, out=log, err=log)

    async def _start(self, *arguments: str, out: IO[bytes], err: IO[bytes]) -> asyncio.subprocess.Process | Forked:
        if self._server is None or not self._server.suits(self.environment):
            command = self.command(*arguments)
            return await asyncio.create_subprocess_exec(*command, stdout=out, stderr=err, env=self.environment)
        module = self._module(*arguments)
        return await self._server.start(*module, out=out.fileno(), err=err.fileno(), env=self.environment)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop the daemon and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(number)
        try:
            async with asyncio.timeout(PATIENCE):
                return await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"dynsrv did not stop within {PATIENCE:g} s\n{self.log.read_text()}") from None

    @property
    def pid(self) -> int:
        """The process of the daemon, which runs."""
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send the daemon a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def run(self, *arguments: str) -> Finished:
        """Run another command to its end."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = await self._start(*arguments, out=out, err=err)
            try:
                async with asyncio.timeout(60):
                    code = await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
                raise
            out.seek(0)
            err.seek(0)
            return Finished(code, out.read().decode(), err.read().decode())

    def lines(self, *parts: Event | str) -> list[str]:
        """Return the lines that the daemon logged so far and that have all *parts*: an event, or some other text."""
        return [line for line in self.log.read_text().splitlines() if all(part in line for part in parts)]

    async def logged(self, *parts: Event | str, within: float = 30.0) -> str:
        """Wait until the daemon logged a line with all *parts*, and return the first."""
        (line, *_) = await eventually(lambda: self.lines(*parts), within=within, what=f"a line of the log with {parts}")
        return str(line)

    def log_data(self) -> list[dict[str, Any]]:
        """Return the lines that the daemon logged so far as JSON, but for one that is being written.

        Their `event` is the member of the table, no longer its code.
        """
        lines = [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [{**line, "event": Event[line["event"].upper()]} for line in lines]


Install = Callable[..., Dynsrv]
"""The fixture `dynsrv`: takes what `Dynsrv` takes, without the folder."""


def _our_environment() -> dict[str, str]:
    return {name: value for name, value in environment().items() if not name.startswith(("AWS_", "CONSUL_"))}
