"""What if stopping takes too long? A file that hangs, such as one on a dead NFS, must not keep the process alive."""

from __future__ import annotations

import os
import signal
import threading
import time

from dynsrv import logs
from dynsrv.logs import Event, get_logger

SECONDS = 4.0
"""From the signal until the process ends, whatever it waits for."""

_LOG_SECONDS = 0.5

log = get_logger()


class StopDeadline:
    """Ends the process with exit code 0 in *seconds* after `begin`, unless it has ended by itself.

    Python waits for its threads before it exits, and a thread that reads or writes a file cannot be interrupted.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        # A pipe, because a signal's handler may interrupt code that holds a lock of `threading`.
        self._read, self._write = os.pipe()
        threading.Thread(target=self._run, name="stop deadline", daemon=True).start()

    def begin(self) -> None:
        """Start the time. May be called by a signal's handler, and more than once."""
        os.write(self._write, b"\0")

    def _run(self) -> None:
        os.read(self._read, 1)
        time.sleep(self._seconds)
        log.warning(Event.STOPPED_EARLY)
        logs.drain(timeout=_LOG_SECONDS)
        os._exit(0)


def ignore_user_signals() -> None:
    """Do nothing on SIGUSR1 and SIGUSR2, which other daemons use to reopen their logs, and which end a process."""
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which child processes would inherit
