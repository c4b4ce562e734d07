"""`dynsrv`, and `python -m dynsrv`: the command line, ready to be ended before all else is imported."""

from __future__ import annotations

import gc
import signal
import sys


def main() -> None:
    """Run the command line."""
    # As the first process of a container it would not get a signal that it has no handler for, and what follows takes
    # a third of a second to import.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    from dynsrv.cli.commands import main as command_line  # noqa: PLC0415

    spare_the_event_loop()
    command_line()


def spare_the_event_loop() -> None:
    """Let neither garbage collection nor a thread hold it up for long. To be called after the imports.

    Thousands of servers are hundreds of thousands of objects. To look through all of them for cycles takes a tenth of a
    second, and there are hardly any.
    """
    gc.freeze()  # what was imported stays, and need not be looked at
    gc.set_threshold(50_000, 20, 20)
    sys.setswitchinterval(0.0005)  # after so many seconds a thread gives way; by default it is ten times that


if __name__ == "__main__":
    main()
