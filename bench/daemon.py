"""What does `dynsrv run` do and cost? The real daemon as a child process, and what the kernel and its log say of it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from bench.dynsrv import Dynsrv
from bench.haproxy import REPOSITORY
from dynsrv.logs import Event

_TIMEOUT = 180.0


class Daemon:
    """A daemon that runs."""

    def __init__(self, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._process = process
        self._log = log.open("r")
        self._line = ""

    def logged(self, event: Event) -> float:
        """Wait until *event* is logged after what was waited for last, and return when it was, in Unix time."""
        deadline = time.monotonic() + _TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            self._line += self._log.readline()
            if not self._line.endswith("\n"):
                time.sleep(0.005)
                continue
            line, self._line = self._line, ""
            if event in line:
                return datetime.fromisoformat(line.split(" ", 1)[0]).timestamp()
        raise SystemExit(f"dynsrv did not log '{event}' within {_TIMEOUT:g} s; exit code {self._process.poll()}")

    @property
    def peak(self) -> float:
        """The most memory that it ever had resident, in MiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


@contextmanager
def running(dynsrv: Dynsrv, *, module: str = "dynsrv") -> Iterator[Daemon]:
    """Run the daemon inside the block; *module* is what is run."""
    command = [sys.executable, "-m", module, "run", "-c", str(dynsrv.configuration)]
    with dynsrv.log.open("wb") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
    try:
        yield Daemon(dynsrv.log, process)
    finally:
        process.terminate()
        process.wait()
