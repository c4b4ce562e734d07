"""A service manager is told by sd_notify when dynsrv is ready, what it does, and that it lives.

It is played by a socket; tests/integration/test_systemd.py has the real one.
"""

from __future__ import annotations

import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version

READY = "STATUS=1 backend on 1 proxy, all in sync\nREADY=1"


class Listening:
    """What listens where `NOTIFY_SOCKET` says; *address* is as that variable has it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(address.replace("@", "\0", 1))

    @property
    def messages(self) -> list[str]:
        """Everything that was heard, in its order."""
        try:
            while True:
                self._messages.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return self._messages

    def hears(self, message: str, *, times: int = 1) -> bool:
        return self.messages.count(message) >= times

    @property
    def status(self) -> str:
        """The last sentence."""
        lines = [line for message in self.messages for line in message.split("\n") if line.startswith("STATUS=")]
        return lines[-1].removeprefix("STATUS=") if lines else ""

    def close(self) -> None:
        self._socket.close()
        if not self.address.startswith("@"):
            Path(self.address).unlink(missing_ok=True)


@pytest.fixture
def fork_server() -> None:
    """As a service manager does, it is `python -m dynsrv` that is executed."""


@pytest.fixture
def kind() -> str:
    return "path"


@pytest.fixture
def listening(kind: str) -> Iterator[Listening]:
    with tempfile.TemporaryDirectory(prefix="dynsrv-") as folder:
        address = f"{folder}/notify"
        with closing(Listening(address if kind == "path" else f"@{address}")) as listening:
            yield listening


def _environment(listening: Listening, **variables: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": listening.address, **variables}


@pytest.mark.parametrize("kind", ["path", "abstract"])
async def test_dynsrv_is_ready_after_the_first_pass_and_not_before(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, listening: Listening
) -> None:
    await haproxy.stop()
    servers = await web_servers(2)
    controller = dynsrv(haproxy, environment=_environment(listening))
    controller.want(servers)
    await controller.start()
    await eventually(lambda: "waiting for the first pass: lb1: unix://" in listening.status)
    # systemd would end a start after TimeoutStartSec, but not as long as it hears this
    await eventually(lambda: listening.hears("EXTEND_TIMEOUT_USEC=15000000", times=3))
    assert "READY=1" not in "".join(listening.messages)
    await haproxy.start()
    await eventually(lambda: "READY=1" in "".join(listening.messages))
    await serves(haproxy, servers)
    await eventually(lambda: listening.status == "1 backend on 1 proxy, all in sync")
    assert await controller.stop() == 0
    assert listening.messages[-1] == "STOPPING=1\nSTATUS=stopped; HAProxy keeps its current servers"


async def _ready(controller: Dynsrv, listening: Listening) -> None:
    controller.want([])
    await controller.start()
    await eventually(lambda: listening.hears(READY), what="dynsrv is ready")


async def test_a_reload_is_told_and_so_is_a_configuration_that_was_not_taken_over(
    haproxy: HAProxy, dynsrv: Install, listening: Listening
) -> None:
    controller = dynsrv(haproxy, environment=_environment(listening))
    await _ready(controller, listening)
    good, before = controller.configuration.read_text(), time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    controller.configuration.write_text("nonsense: 1\n")
    controller.signal(signal.SIGHUP)
    await eventually(lambda: listening.status.startswith("configuration reload failed: "))
    assert f"{controller.configuration}:1: nonsense" in listening.status
    assert "; 1 backend on 1 proxy" in listening.status, listening.status
    reloading, ready = listening.messages[-3:-1]
    assert ready == "READY=1"
    name, _, since = reloading.partition("\nMONOTONIC_USEC=")
    assert name == "RELOADING=1"
    assert before < int(since) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    controller.configuration.write_text(good)
    controller.signal(signal.SIGHUP)
    await eventually(lambda: listening.status == "1 backend on 1 proxy, all in sync")


async def test_a_watchdog_hears_from_dynsrv_until_it_is_stuck(
    haproxy: HAProxy, dynsrv: Install, listening: Listening
) -> None:
    controller = dynsrv(haproxy, environment=_environment(listening, WATCHDOG_USEC="400000"))
    await _ready(controller, listening)
    begin = time.monotonic()
    heard = listening.messages.count("WATCHDOG=1")
    await eventually(lambda: listening.hears("WATCHDOG=1", times=heard + 10))
    assert time.monotonic() - begin > 1.5  # ten times half of 0.4 s
    controller.signal(signal.SIGSTOP)
    await eventually(lambda: "State:\tT" in Path(f"/proc/{controller.pid}/status").read_text())
    heard = listening.messages.count("WATCHDOG=1")
    silent_since = time.monotonic()
    await eventually(lambda: time.monotonic() - silent_since > 1.0)
    assert listening.messages.count("WATCHDOG=1") == heard
    controller.signal(signal.SIGCONT)
    await eventually(lambda: listening.hears("WATCHDOG=1", times=heard + 2))


async def test_a_wrong_configuration_is_told_before_dynsrv_ends(dynsrv: Install, listening: Listening) -> None:
    controller = dynsrv(environment=_environment(listening))
    controller.configuration.write_text("nonsense: 1\n")
    finished = await controller.run("run")
    assert finished.code == 1
    (message,) = listening.messages
    assert f"{controller.configuration}:1: nonsense: unknown key" in message
    # all of what is wrong, in one line
    assert message == f"STATUS={'; '.join(finished.err.removeprefix('dynsrv: ').splitlines())}"


async def test_a_service_manager_that_does_not_listen_any_more_hinders_nothing(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, listening: Listening
) -> None:
    servers = await web_servers(1)
    controller = dynsrv(haproxy, environment=_environment(listening, WATCHDOG_USEC="100000"))
    await _ready(controller, listening)
    listening.close()
    controller.want(servers)
    await serves(haproxy, servers)
    controller.signal(signal.SIGHUP)
    await controller.logged(Event.CONFIGURATION_RELOADED)
    assert await controller.stop() == 0


async def test_a_service_manager_that_does_not_read_hinders_nothing(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, listening: Listening
) -> None:
    servers = await web_servers(1)
    # a queue of a unix socket has room for net.unix.max_dgram_qlen messages: a few dozen at most
    controller = dynsrv(haproxy, environment=_environment(listening, WATCHDOG_USEC="2000"))
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    assert await controller.stop() == 0
