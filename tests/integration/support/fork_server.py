"""Starts `python -m dynsrv` without its imports, which take longer than most of what a test then waits for.

A server process imports dynsrv once; each start is a fork of it that goes on as `python -m MODULE` does, by `runpy`.
What a test can see of such a process is what it would see of one that was executed, as test_fork_server.py shows:
pid, process group, arguments, environment, folder, standard streams, open files, signals, exit code, and how it ends
(the interpreter finalizes itself, since the fork returns into the main program of the server). The server has one
thread, starts no event loop and installs no handler, so there is nothing that a fork could inherit half.

What differs: the parent, the command line in /proc, the seed of hashes, and that imports which dynsrv postpones were
made. Where one of these, or the start itself, is what a test is about, it executes the program.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import dynsrv

_REPOSITORY = Path(__file__).parents[3]
_MESSAGE = 2**18  # bytes; an environment and a command line are far smaller
_OF_THE_INTERPRETER = ("PYTHON", "LANG", "LC_", "TZ")
"""Begins of the names of variables that an interpreter reads at its start alone."""


class Forked:
    """A process that was forked; its methods are those of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, end: socket.socket) -> None:
        self.pid = pid
        self._end = end
        self._returncode: int | None = None

    @property
    def returncode(self) -> int | None:
        """The exit code, or the negative number of the signal that killed it; None while it runs."""
        if self._returncode is None:
            with suppress(BlockingIOError):
                self._ended(self._end.recv(_MESSAGE))
        return self._returncode

    async def wait(self) -> int:
        """Wait until it ended, and return `returncode`."""
        while (code := self.returncode) is None:
            self._ended(await asyncio.get_running_loop().sock_recv(self._end, _MESSAGE))
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it ended already."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, message: bytes) -> None:
        assert message, "the fork server is gone"
        self._returncode = int(message)
        self._end.close()


class ForkServer:
    """The server process, which lives as long as the `with` block."""

    def __enter__(self) -> Self:
        self._environment = dict(os.environ) | {"PYTHONUNBUFFERED": "1"}
        self._control, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, str(theirs.fileno())],
                cwd=_REPOSITORY,
                env=self._environment,
                pass_fds=[theirs.fileno()],
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._process.wait()

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Return whether *environment* has what the server's interpreter read of it at its start."""
        return all(
            self._environment.get(name) == environment.get(name)
            for name in self._environment.keys() | environment.keys()
            if name.startswith(_OF_THE_INTERPRETER)
        )

    async def start(self, module: str, *arguments: str, out: int, err: int, env: Mapping[str, str]) -> Forked:
        """Start `python -m` *module* in our folder, with our standard input; *out* and *err* are descriptors."""
        assert self.suits(env)
        request = {"module": module, "arguments": arguments, "folder": str(Path.cwd()), "environment": dict(env)}
        end, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        end.settimeout(0)
        with theirs:
            socket.send_fds(self._control, [json.dumps(request).encode()], [theirs.fileno(), 0, out, err])
        message = await asyncio.get_running_loop().sock_recv(end, _MESSAGE)
        assert message, "the fork server is gone"
        return Forked(int(message), end)


def _serve(control: socket.socket) -> dict[str, Any]:
    """Fork whenever that is asked for, and tell how it ended; return, in each child, what it has to be."""
    ends: dict[int, socket.socket] = {}  # by what polls as readable when the process has ended
    while True:
        ready, _, _ = select.select([control.fileno(), *ends], [], [])
        for process in ends.keys() & ready:
            ended = os.waitid(os.P_PIDFD, process, os.WEXITED)
            assert ended is not None
            os.close(process)
            with ends.pop(process) as end, suppress(BrokenPipeError):
                end.send(str(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status).encode())
        if control.fileno() in ready:
            data, streams, _, _ = socket.recv_fds(control, _MESSAGE, 4)
            if not data:
                sys.exit()
            end = socket.socket(fileno=streams.pop(0))
            if (pid := os.fork()) == 0:
                for one in (control, end, *ends.values()):
                    one.close()
                for process in ends:
                    os.close(process)
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                    os.close(stream)
                return dict(json.loads(data))
            for stream in streams:
                os.close(stream)
            ends[os.pidfd_open(pid)] = end
            end.send(str(pid).encode())


def _main(control: socket.socket) -> None:
    for module in pkgutil.walk_packages(dynsrv.__path__, "dynsrv."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a thread would not be in the forks"
    # Ctrl-C is for the tests, which end this by closing their end
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    start = _serve(control)
    signal.signal(signal.SIGINT, interrupt)
    os.chdir(start["folder"])
    os.environ.clear()
    os.environ.update(start["environment"])
    sys.path[0] = start["folder"]
    sys.argv[1:] = start["arguments"]
    runpy.run_module(start["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main(socket.socket(fileno=int(sys.argv[1])))
