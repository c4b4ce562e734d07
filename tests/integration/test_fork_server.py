"""What the fork server starts is, for all that a test can see of it, what `python -m` would start."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support import process_report
from tests.integration.support.controller import Finished
from tests.integration.support.fork_server import Forked, ForkServer
from tests.integration.support.haproxy import environment
from tests.integration.support.waiting import eventually

REPORT = "process_report"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the processes, with a module that reports what it sees."""
    shutil.copy(process_report.__file__, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def _start(server: ForkServer | None, *module: str, out: Path) -> asyncio.subprocess.Process | Forked:
    """Start `python -m` *module*: as a fork, or, without a server, by executing it."""
    env = environment() | {"GREETING": "good day"}
    with out.open("wb") as stdout, out.with_suffix(".err").open("wb") as stderr:
        if server is None:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *module), stdout=stdout, stderr=stderr, env=env
            )
        return await server.start(*module, out=stdout.fileno(), err=stderr.fileno(), env=env)


async def _run(server: ForkServer | None, *module: str, folder: Path) -> Finished:
    """Start *module* as `_start` does, and return how it ended."""
    out = folder / "out"
    code = await (await _start(server, *module, out=out)).wait()
    return Finished(code, out.read_text(), out.with_suffix(".err").read_text())


@contextmanager
def _input(text: str, folder: Path) -> Iterator[None]:
    """Let our standard input be *text*."""
    path = folder / "input"
    path.write_text(text)
    before = os.dup(0)
    try:
        with path.open() as file:
            os.dup2(file.fileno(), 0)
            yield
    finally:
        os.dup2(before, 0)
        os.close(before)


async def test_it_sees_what_an_executed_program_sees(fork_server: ForkServer, folder: Path) -> None:
    reports: list[dict[str, Any]] = []
    for server in (fork_server, None):
        with _input("something to read", folder):
            finished = await _run(server, REPORT, "code", "0", folder=folder)
        assert finished.code == 0, finished
        reports.append(finished.json)
    forked, executed = reports
    assert forked == executed
    assert (forked["arguments"][1:], forked["input"]) == (["code", "0"], "something to read")
    assert (forked["folder"], forked["environment"]["GREETING"]) == (str(folder), "good day")


@pytest.mark.parametrize(
    ("how", "value", "code"),
    [
        ("code", "0", 0),
        ("code", "3", 3),
        ("code", "258", 2),
        ("text", "it ends so", 1),
        ("error", "it ends so", 1),
        ("signal", "SIGTERM", -15),
        ("signal", "SIGKILL", -9),
        ("signal", "SIGSEGV", -11),
    ],
)
async def test_it_ends_as_an_executed_program_ends(
    fork_server: ForkServer, folder: Path, how: str, value: str, *, code: int
) -> None:
    forked, executed = [await _run(one, REPORT, how, value, folder=folder) for one in (fork_server, None)]
    assert forked.code == executed.code == code
    assert forked.err.splitlines()[-1:] == executed.err.splitlines()[-1:]


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--nonsense"], ["check", "-c", "nowhere.yaml"], ["schema"]])
async def test_dynsrv_prints_the_same(fork_server: ForkServer, folder: Path, arguments: list[str]) -> None:
    forked, executed = [await _run(one, "dynsrv", *arguments, folder=folder) for one in (fork_server, None)]
    assert (forked.code, forked.out, forked.err) == (executed.code, executed.out, executed.err)


async def test_signals_reach_it(fork_server: ForkServer, folder: Path) -> None:
    process = await _start(fork_server, REPORT, "wait", "", out=folder / "out")
    await eventually(lambda: (folder / "out").read_text().endswith("}\n"))
    assert json.loads((folder / "out").read_text())["groups"] == [os.getpgid(0), os.getsid(0)]
    status = Path(f"/proc/{process.pid}/status")
    process.send_signal(signal.SIGSTOP)
    await eventually(lambda: "State:\tT" in status.read_text())
    process.send_signal(signal.SIGCONT)
    await eventually(lambda: "State:\tS" in status.read_text())
    assert process.returncode is None
    process.send_signal(signal.SIGINT)
    assert await process.wait() == -signal.SIGINT
    await eventually(lambda: not status.exists())
    process.send_signal(signal.SIGKILL)  # it ended already


async def test_many_run_at_once(fork_server: ForkServer, folder: Path) -> None:
    processes = [await _start(fork_server, REPORT, "wait", "", out=folder / f"{one}") for one in range(8)]
    last = await _start(fork_server, REPORT, "code", "0", out=folder / "last")
    assert await last.wait() == 0
    assert json.loads((folder / "last").read_text())["files"] == ["0", "1", "2", "3"]  # and nothing of the others
    assert len({process.pid for process in processes}) == 8
    for process in reversed(processes):
        process.kill()
        assert await process.wait() == -signal.SIGKILL


def test_an_environment_that_only_a_new_interpreter_would_heed_is_not_for_it(fork_server: ForkServer) -> None:
    assert fork_server.suits(environment() | {"AWS_REGION": "eu-central-1"})
    assert not fork_server.suits(environment() | {"PYTHONPATH": "/elsewhere"})
    assert not fork_server.suits(environment() | {"LC_ALL": "C"})
