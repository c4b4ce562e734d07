"""Which HAProxy does the demo use, and how does it run? As a child process in a temporary directory."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dynsrv.errors import ConfigurationError, DynsrvError
from dynsrv.runtime import Capabilities, Client, commands
from dynsrv.runtime.errors import ConnectFailed

BACKEND = "be_app"
SOCKET = "haproxy.sock"
_LOG = "haproxy.log"
_START_TIMEOUT = 10.0
_STOP_TIMEOUT = 5.0
_LINES = 20  # of HAProxy's log in an error
_PAUSE = 0.05  # seconds between two attempts to reach a starting HAProxy

_CONFIGURATION = """\
global
    maxconn 500
    stats socket unix@{socket} mode 600 level admin

defaults
    mode http
    timeout connect 2s
    timeout client 10s
    timeout server 10s

frontend fe_app
    bind fd@{listener}    # an inherited listening socket, so that nothing else can take the port
    default_backend {backend}

backend {backend}
    balance roundrobin
    # Requests that a failing server leaves unanswered are retried on another one.
    option redispatch
    retries 3
    retry-on conn-failure empty-response response-timeout
"""


class HaproxyEnded(DynsrvError):
    """The demo's own HAProxy exited during the demo."""


@dataclass(frozen=True, slots=True)
class RunningHaproxy:
    """A HAProxy that is running and responds."""

    version: str
    port: int
    """The frontend's, on 127.0.0.1."""
    process: Process
    log: Path

    @property
    def url(self) -> str:
        """The address at which it serves."""
        return f"http://127.0.0.1:{self.port}/"

    async def watch(self) -> None:
        """Never return.

        Raises:
            HaproxyEnded: it exited.
        """
        code = await self.process.wait()
        raise HaproxyEnded(f"HAProxy exited with code {code}. {_said(self.log)}")


def find(explicit: Path | None) -> Path:
    """Return the HAProxy to run: *explicit*, or the one on PATH or in Debian's directory.

    Raises:
        ConfigurationError: there is none.
    """
    if explicit is not None:
        found = shutil.which(explicit)
        if found is None:
            raise ConfigurationError("--haproxy", f"{explicit} is not an executable program")
        return Path(found).absolute()
    found = shutil.which("haproxy", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin")))
    if found is None:
        problem = "the demo needs HAProxy, but found none on PATH or in /usr/sbin"
        remedy = "install 2.5.1 or later (Debian and Ubuntu: apt-get install haproxy), or set --haproxy"
        raise ConfigurationError("haproxy", f"{problem}; {remedy}")
    return Path(found).absolute()


@asynccontextmanager
async def running(binary: Path, folder: Path) -> AsyncIterator[RunningHaproxy]:
    """Run *binary* inside the block, with its files in *folder*.

    Raises:
        ConfigurationError: it does not start, or is too old.
    """
    log = folder / _LOG
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        port = listener.getsockname()[1]
        text = _CONFIGURATION.format(socket=SOCKET, listener=listener.fileno(), backend=BACKEND)
        (folder / "haproxy.cfg").write_text(text)
        try:
            process = await asyncio.create_subprocess_exec(
                binary,
                "-db",
                "-f",
                "haproxy.cfg",
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(listener.fileno(),),
                process_group=0,  # Ctrl-C must stop dynsrv only: HAProxy serves until the last request is answered
            )
        except OSError as error:
            raise ConfigurationError(str(binary), f"cannot be run: {error.strerror}") from None
    try:
        version = await _answering(process, binary=binary, address=str(folder / SOCKET), log=log)
        yield RunningHaproxy(version, port, process, log)
    finally:
        await _stop(process)


async def _answering(process: Process, *, binary: Path, address: str, log: Path) -> str:
    """Wait until the Runtime API answers, and return HAProxy's version."""
    why: Exception | None = None
    async with Client(address) as client:
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                while process.returncode is None:
                    try:
                        info = await client.run(commands.info())
                    except ConnectFailed as error:
                        why = error
                        await asyncio.sleep(_PAUSE)
                        continue
                    if not Capabilities.of(info.version).add_server:
                        problem = f"HAProxy {info.version} cannot add servers at runtime; dynsrv needs 2.5.1 or later"
                        raise ConfigurationError(str(binary), problem)
                    return info.version
        except TimeoutError:
            problem = f"no answer within {_START_TIMEOUT:g} s ({why}). {_said(log)}"
            raise ConfigurationError(str(binary), problem) from None
    problem = f"HAProxy did not start (exit code {process.returncode}). {_said(log)}"
    raise ConfigurationError(str(binary), problem)


def _said(log: Path) -> str:
    said = log.read_text(errors="replace").splitlines()[-_LINES:]
    return "\n".join(("Its output:", *said)) if said else "It printed nothing."


async def _stop(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_TIMEOUT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
