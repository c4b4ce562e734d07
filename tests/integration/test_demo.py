"""The demo tells its story on every supported HAProxy without losing a request, and would say so if it lost one."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dynsrv.demo.load import Load
from dynsrv.demo.web_server import WebServer
from dynsrv.logs import Event
from tests.integration.support.haproxy import binary

pytestmark = pytest.mark.integration


@contextmanager
def a_demo(haproxy: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the demo without a terminal, and check that nothing stays behind."""
    command = [sys.executable, "-m", "dynsrv", "demo", "--haproxy", str(haproxy)]
    with TemporaryDirectory() as folder:  # not pytest's: the path of a unix socket is short
        with subprocess.Popen(
            command, env={"TMPDIR": folder}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as demo:
            try:
                yield demo
            finally:
                demo.kill()
        assert list(Path(folder).iterdir()) == []


@pytest.mark.any_version
def test_the_demo_ends_by_itself_and_loses_no_request(version: str) -> None:
    with a_demo(binary(version)) as demo:
        output, _ = demo.communicate(timeout=60)

        assert demo.returncode == 0, output
        assert re.search(rf"^HAProxy {re.escape(version)}\S*: \d{{4,}} requests sent, 0 failed$", output, re.MULTILINE)


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_with_one_line(name: signal.Signals) -> None:
    with a_demo(binary("3.2")) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if Event.SERVER_ENABLED in line:
                demo.send_signal(name)
                break
        output, _ = demo.communicate(timeout=10)

        assert demo.returncode == 130, output
        assert re.match(r"interrupted after \d of 7 phases; .*, 0 failed$", output.splitlines()[-1])


def test_the_demo_ends_when_nobody_reads_what_it_prints() -> None:
    with a_demo(binary("3.2")) as demo:
        assert demo.stdout is not None
        assert "dynsrv demo" in demo.stdout.readline()
        demo.stdout.close()

        assert demo.wait(timeout=20) == 130


def test_a_haproxy_without_dynamic_servers_is_refused() -> None:
    with a_demo(binary("2.2")) as demo:
        output, _ = demo.communicate(timeout=20)

        assert demo.returncode == 1
        assert "cannot add servers at runtime; dynsrv needs 2.5.1 or later" in output


def test_what_haproxy_says_is_told_when_it_does_not_start() -> None:
    with a_demo(Path("/bin/cat")) as demo:
        output, _ = demo.communicate(timeout=20)

        assert demo.returncode == 1
        assert "did not start" in output
        assert "/bin/cat: invalid option" in output


async def sent_by(load: Load) -> None:
    """Let *load* send some requests, and wait for what becomes of them."""
    async with asyncio.TaskGroup() as tasks:
        load.start(tasks)
        while load.sent < 50:  # noqa: ASYNC110 - the load counts, and tells nobody
            await asyncio.sleep(0.01)
        await load.finish()


async def test_the_load_counts_every_answer_by_who_gave_it() -> None:
    server = WebServer("web-1")
    await server.start()
    load = Load(server.port)
    try:
        await sent_by(load)
    finally:
        server.kill()

    assert (load.failed, load.answered) == (0, {"web-1": load.sent})


LOSSES = {
    "a status other than 200": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    "a truncated body": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nweb",
    "a truncated head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no answer": b"",
}


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("answer", LOSSES.values(), ids=LOSSES.keys())
async def test_the_load_counts_every_lost_request(answer: bytes, *, reset: bool) -> None:
    async def lose(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if reset:
            linger = struct.pack("ii", 1, 0)  # close is a reset
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    server = await asyncio.start_server(lose, "127.0.0.1")
    load = Load(server.sockets[0].getsockname()[1])
    async with server:
        await sent_by(load)

    assert load.failed == load.sent
    assert not load.answered
