"""What was changed in HAProxy? The last changes are in memory, and every command in a file, if configured."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from dynsrv.api_model import Change, utc_time
from dynsrv.logs import Event, get_logger
from dynsrv.reconcile.observer import PassObserver
from dynsrv.steps import Applied, Outcome, Step

RECENT = 200
"""Changes kept in memory."""

WRITE_TIMEOUT = 5.0
"""Seconds; lines that the audit file does not take within that are lost."""

log = get_logger()


class AuditLog:
    """Keeps the last changes, and appends all commands to the file *audit*, which may be rotated at any time."""

    def __init__(self, audit: Path | None = None) -> None:
        self.audit = audit
        self.recent: deque[Change] = deque(maxlen=RECENT)
        self._number = 0
        self._lock = asyncio.Lock()  # so that the lines of two backends do not mix
        self._writing: asyncio.Future[str | None] | None = None
        self._failure: str | None = None

    def observer(self, *, proxy: str, backend: str, clock: Callable[[], float] = time.time) -> PassObserver:
        """Return an observer that records every step sent to *backend* of *proxy*; *clock* is Unix time."""
        return _Recorder(self, proxy=proxy, backend=backend, clock=clock)

    async def record(self, applied: Applied, *, proxy: str, backend: str, now: float) -> None:
        """Record the results of steps, at Unix time *now*."""
        changes = [one for one in applied.results if one.outcome is Outcome.DONE or not one.expected]
        self._number += len(changes)
        for number, one in enumerate(changes[-RECENT:], self._number - len(changes[-RECENT:]) + 1):
            step = one.step
            self.recent.append(
                Change(
                    number=number,
                    time=utc_time(now),
                    proxy=proxy,
                    backend=backend,
                    step=step.kind,
                    server=step.server,
                    reason=step.reason,
                    outcome=one.outcome,
                    detail=one.detail,
                )
            )
        if self.audit is not None and (applied.results or applied.unanswered):
            where = {"time": datetime.fromtimestamp(now, UTC).isoformat(), "proxy": proxy, "backend": backend}
            answered = (
                _line(where, one.step, one.outcome, command=one.command, reply=one.detail, seconds=one.seconds)
                for one in applied.results
            )
            lost = (_line(where, step, "unanswered") for step in applied.unanswered)
            await self._append(self.audit, "".join([*answered, *lost]))

    async def _append(self, path: Path, lines: str) -> None:
        """Append *lines*, and wait until that is done, but not for long: the pass waits, too."""
        async with self._lock:
            problem: str | None = f"no answer within {WRITE_TIMEOUT:g} s"
            if self._writing is None or self._writing.done():
                # in a thread, because a network file system may hang
                self._writing = asyncio.get_running_loop().run_in_executor(None, _append, path, lines)
                with suppress(TimeoutError):
                    async with asyncio.timeout(WRITE_TIMEOUT):
                        problem = await asyncio.shield(self._writing)
            if problem is not None and problem != self._failure:
                log.error(Event.AUDIT_WRITE_FAILED, path=str(path), error=problem)
            elif problem is None and self._failure is not None:
                log.info(Event.AUDIT_WRITE_RECOVERED, path=str(path))
            self._failure = problem


class _Recorder(PassObserver):
    def __init__(self, audit_log: AuditLog, *, proxy: str, backend: str, clock: Callable[[], float]) -> None:
        self._record = partial(audit_log.record, proxy=proxy, backend=backend)
        self._clock = clock

    async def on_steps(self, applied: Applied) -> None:
        await self._record(applied, now=self._clock())


def _line(where: dict[str, str], step: Step, outcome: str, **answered: str | float) -> str:
    answer = {"command": None, "reply": None, "seconds": None, **answered}
    step_of = {"step": step.kind, "server": step.server, "reason": step.reason}
    return json.dumps({**where, **step_of, "outcome": outcome, **answer}) + "\n"


def why_not_writable(path: Path) -> str | None:
    """Return why no lines can be appended to *path*, or None. The file is not created."""
    try:
        os.close(_opener(str(path), os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
    except FileNotFoundError:
        if path.parent.is_dir() and not os.access(path.parent, os.W_OK | os.X_OK):
            return _why(PermissionError())
        return None if path.parent.is_dir() else _why(FileNotFoundError())
    except OSError as error:
        return None if error.errno == errno.ENXIO else _why(error)  # a FIFO that nobody reads yet
    return None


def _opener(path: str, flags: int) -> int:
    # Only its owner may read it, and whoever may write to its directory cannot direct it to another file.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _why(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "there is no such directory; create it, or correct the path"
        case PermissionError():
            return f"the user with id {os.geteuid()} has no permission to write it; grant it"
        case IsADirectoryError():
            return "it is a directory; give the path of a file"
        case _ if error.errno == errno.ELOOP:
            return "it is a symbolic link, which is not followed; give the path of the file itself"
        case _:
            return f"it cannot be written: {error.strerror or error}"


def _append(path: Path, lines: str) -> str | None:
    """Append all of *lines* or nothing, and return what is wrong, if anything is."""
    left = memoryview(lines.encode())
    try:
        # opened each time, so that the file can be rotated
        with open(path, "ab", buffering=0, opener=_opener) as file:
            begin = file.tell() if file.seekable() else None
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError:
                with suppress(OSError):  # for example of a device
                    if begin is not None:
                        file.truncate(begin)
                raise
    except OSError as error:
        return _why(error)
    return None
