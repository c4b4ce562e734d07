"""`dynsrv status --watch` shows what changes until Ctrl-C: on a terminal in place, elsewhere block by block."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import pty
import signal
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.integration.support.api import name_of
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version

CLEAR = "\x1b[H\x1b[J"
# pytest-xdist has a size of its own for its workers
_ENVIRONMENT = {**{key: value for key, value in os.environ.items() if key not in {"LINES", "COLUMNS"}}, "TERM": "xterm"}


def _heed_ctrl_c() -> None:
    """Undo what a shell does to tests that run in its background: there SIGINT is ignored, by all children too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A terminal of *rows* and *columns*, and what was drawn on it."""

    def __init__(self, rows: int, columns: int) -> None:
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._text = b""

    @property
    def frames(self) -> list[str]:
        """Each drawing of the whole screen."""
        return self._text.decode(errors="replace").replace("\r\n", "\n").split(CLEAR)[1:]

    def shows(self, text: str) -> bool:
        return bool(self.frames) and text in self.frames[-1]

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    @asynccontextmanager
    async def running(self, command: list[str]) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run *command* on it, which is in the foreground."""

        def take_the_terminal() -> None:
            _heed_ctrl_c()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=_ENVIRONMENT,
            start_new_session=True,
            preexec_fn=take_the_terminal,
        )
        loop = asyncio.get_running_loop()
        loop.add_reader(self._master, self._read)
        try:
            yield process
        finally:
            loop.remove_reader(self._master)
            if process.returncode is None:
                process.kill()
                await process.wait()
            os.close(self._master)
            os.close(self._slave)

    def _read(self) -> None:
        self._text += os.read(self._master, 65536)


@pytest.fixture
async def controller(haproxy: HAProxy, web_servers: WebServers, dynsrv: Install) -> Dynsrv:
    servers = await web_servers(1)
    controller = dynsrv(haproxy)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    return controller


async def test_on_a_terminal_it_is_drawn_again_until_ctrl_c(
    haproxy: HAProxy, controller: Dynsrv, web_servers: WebServers
) -> None:
    terminal = Terminal(rows=24, columns=200)
    async with terminal.running(controller.command("status", "--watch")) as process:
        await eventually(lambda: terminal.shows("in sync: 1 desired, 1 live"))
        (server,) = await web_servers(1)
        controller.want([server])
        await eventually(lambda: terminal.shows(name_of(server)))
        await eventually(lambda: terminal.shows("in sync: 1 desired, 1 live"))
        await haproxy.stop()
        await eventually(lambda: terminal.shows("connection refused"))
        frames = len(terminal.frames)
        await eventually(lambda: len(terminal.frames) > frames)  # though nothing changes
        assert "every 2 s; Ctrl-C to stop" in terminal.frames[-1].splitlines()[0]
        terminal.press_ctrl_c()
        assert await process.wait() == 130
    assert "Traceback" not in "".join(terminal.frames)


async def test_a_small_terminal_shows_the_top(controller: Dynsrv, haproxy: HAProxy, web_servers: WebServers) -> None:
    servers = await web_servers(9)
    controller.want(servers)
    await serves(haproxy, servers)
    terminal = Terminal(rows=8, columns=80)
    async with terminal.running(controller.command("status", "--watch")):
        await eventually(lambda: terminal.shows("more lines"))
        lines = terminal.frames[-1].splitlines()
        assert lines[1].startswith("\x1b[1mbe_app on lb1")
        assert len(lines) <= 7


async def test_elsewhere_a_block_is_printed_each_time_that_something_changed(
    haproxy: HAProxy, controller: Dynsrv, web_servers: WebServers
) -> None:
    process = await asyncio.create_subprocess_exec(
        *controller.command("status", "--watch"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=_heed_ctrl_c,
    )
    assert process.stdout is not None
    blocks = [""]

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if line == b"\n":
                blocks.append("")
            else:
                blocks[-1] += line.decode()

    reading = asyncio.create_task(read())
    await eventually(lambda: any("in sync: 1 desired, 1 live" in block for block in blocks))
    servers = await web_servers(2)
    controller.want(servers)
    await eventually(lambda: any("in sync: 2 desired, 2 live" in block for block in blocks))
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    await reading
    whole = [block.partition("\n")[2] for block in blocks if block]
    assert all(one != other for one, other in itertools.pairwise(whole))
    assert not any("\x1b" in block for block in blocks)


async def test_it_prints_no_json(controller: Dynsrv) -> None:
    finished = await controller.run("status", "--watch", "--json")
    assert finished.code == 1
    assert finished.err == "dynsrv: --watch does not print JSON; use /api/v1/events of the daemon instead\n"
