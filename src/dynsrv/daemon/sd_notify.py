"""What does the service manager know about dynsrv? Sends notifications with sd_notify's protocol, if requested.

systemd (`Type=notify`, `WatchdogSec=`) and others understand it. It needs only the standard library.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress

from dynsrv.daemon.status import Status

_INTERVAL = 0.5  # seconds between two checks for a new status
_PATIENCE = 15_000_000  # microseconds without a notification after which a start times out
_LENGTH = 1000  # characters of a sentence; systemd ignores a message of more than 4096 bytes


class Notifier:
    """The service manager that set `NOTIFY_SOCKET` in *environment*.

    The variables are removed from *environment*, so that no child process sends notifications. Nothing here waits or
    raises: if the service manager is unreachable, dynsrv continues. *message*, if set, precedes the status of the
    backends.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = _address(address) if address[:1] in {"/", "@"} else None
        self._watchdog = _watchdog(environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", ""))
        self._ready = False
        self.message = ""

    async def run(self, status: Status) -> None:
        """Send *status* when it changes, readiness once, and the watchdog's keep-alive while the event loop runs.

        Returns immediately if there is no service manager.
        """
        if self._address is not None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_status(status))
                if self._watchdog is not None:
                    tasks.create_task(self._keep_alive(self._watchdog / 2))

    def status(self, sentence: str) -> None:
        """Send *sentence*, which `systemctl status` shows."""
        self._send(_status(sentence))

    def stopping(self) -> None:
        """Announce that dynsrv stops."""
        self._send("STOPPING=1", _status("stopped; HAProxy keeps its current servers"))

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Announce a reload, and then its end."""
        if not self._ready:  # READY=1 would end the start
            yield
            return
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        try:
            yield
        finally:
            self._ready = self._send("READY=1")  # if it was not delivered, the next status repeats it

    async def _keep_status(self, status: Status) -> None:
        sent = ""
        while True:
            waits_for = list(status.not_ready())
            sentence = "; ".join(filter(None, [self.message, _sentence(status, waits_for)]))
            lines = [_status(sentence)] if sentence != sent else []
            if not self._ready:
                lines.append(f"EXTEND_TIMEOUT_USEC={_PATIENCE}" if waits_for else "READY=1")
            if lines and self._send(*lines):
                sent = sentence
                self._ready = self._ready or not waits_for
            await asyncio.sleep(_INTERVAL)

    async def _keep_alive(self, interval: float) -> None:
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(interval)

    def _send(self, *lines: str) -> bool:
        """Send *lines*, and return whether they were."""
        if self._address is None:
            return False
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(0)  # its queue may be full
            sender.sendto("\n".join(lines).encode(errors="replace"), self._address)
            return True
        return False


def _address(path: str) -> str:
    """Return *path* in the kernel's form: `@` stands for the zero byte of an abstract address."""
    return f"\0{path[1:]}" if path.startswith("@") else path


def _watchdog(microseconds: str, pid: str) -> float | None:
    """Return the watchdog's timeout in seconds, if it applies to this process (sd_watchdog_enabled(3))."""
    if not microseconds.isdecimal() or int(microseconds) == 0 or pid not in {"", str(os.getpid())}:
        return None
    return int(microseconds) / 1_000_000


def _status(sentence: str) -> str:
    """Return the status line for *sentence*, without line breaks."""
    words = "; ".join(filter(None, map(str.strip, sentence.splitlines())))
    return f"STATUS={words if len(words) <= _LENGTH else f'{words[: _LENGTH - 1]}…'}"


def _sentence(status: Status, waits_for: Sequence[str]) -> str:
    """Return the status in one sentence, the most important first."""
    if waits_for:
        return f"waiting for the first pass: {_first(waits_for)}"
    looks = list(status.backends())
    backends, proxies = len({view.backend for view in looks}), len({view.proxy for view in looks})
    managed = f"{_count(backends, 'backend')} on {_count(proxies, 'proxy', 'proxies')}"
    if degraded := list(status.degraded()):
        return f"{managed}; degraded: {_first(degraded)}"
    if differ := [f"{view.backend} on {view.proxy}" for view in looks if not view.converged]:
        return f"{managed}; out of sync: {_first(differ)}"
    return f"{managed}, all in sync"


def _first(reasons: Sequence[str]) -> str:
    return reasons[0] if len(reasons) == 1 else f"{reasons[0]}; and {len(reasons) - 1} more"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"
