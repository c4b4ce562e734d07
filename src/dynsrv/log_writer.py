"""How do lines of the log reach stderr? Through a bounded queue and a thread, so that logging never blocks or fails."""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress

CAPACITY = 10_000
"""Lines that wait to be written; further ones are lost until there is room."""


class LogWriter:
    """Writes lines to a file descriptor in a thread of its own. It has the methods that structlog expects of a file.

    A pipe that nobody reads blocks the thread alone; a full disk or a closed pipe loses lines. *count* is called with
    their number at once, from any thread; the line that *report* returns for it is written when writing works again.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        report: Callable[[int], str],
        count: Callable[[int], None] = lambda _: None,
        capacity: int = CAPACITY,
    ) -> None:
        self._descriptor = descriptor
        self._report = report
        self._count = count
        self._lines: queue.Queue[str] = queue.Queue(capacity)
        self._lock = threading.Lock()
        self._unreported = 0
        self._torn = False  # the last line was written in part
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, line: str) -> None:
        """Have *line* written, or lose it if too many are waiting."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._lose(1)

    def flush(self) -> None:
        """Do nothing: see `drain`."""

    def drain(self, *, timeout: float) -> None:
        """Wait until all lines are written or lost, but at most *timeout* seconds."""
        end = time.monotonic() + timeout
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.002)

    def _lose(self, lines: int) -> None:
        with self._lock:
            self._unreported += lines
        self._count(lines)

    def _run(self) -> None:
        while True:
            line = self._lines.get()
            try:
                if not self._written(line):
                    self._lose(1)
                elif self._unreported:
                    self._report_lost()
            finally:
                self._lines.task_done()

    def _report_lost(self) -> None:
        with self._lock:
            lines, self._unreported = self._unreported, 0
        if not self._written(self._report(lines)):
            with self._lock:
                self._unreported += lines

    def _written(self, line: str) -> bool:
        """Write *line*, and return whether that was possible. Blocks while nobody reads the other end of a pipe."""
        left = memoryview((f"\n{line}" if self._torn else line).encode(errors="backslashreplace"))
        whole = len(left)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # whoever started dynsrv made the descriptor non-blocking
                with suppress(OSError):
                    select.select((), (self._descriptor,), (), 1.0)
            except OSError:
                self._torn = self._torn or len(left) < whole
                return False
        self._torn = False
        return True
