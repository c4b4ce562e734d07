"""How does `dynsrv` start? Handles SIGTERM before anything else is imported, then runs the command line."""

from __future__ import annotations

import gc
import signal
import sys


def main() -> None:
    """Run the command line."""
    # Process 1 of a container does not receive a signal without a handler, and the imports below take a third of a
    # second.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    from dynsrv.cli.commands import main as command_line  # noqa: PLC0415

    spare_the_event_loop()
    try:
        command_line()
    finally:
        gc.freeze()  # or Python would run a full collection at exit, which may take a second


def spare_the_event_loop() -> None:
    """Let neither garbage collection nor a thread block the event loop for long. Call it after the imports.

    This is the only place that touches the garbage collector. Thousands of servers, or the clients of AWS, are hundreds
    of thousands of objects, hardly any of which are in cycles; a full collection of them takes a tenth of a second.
    With these thresholds it comes after 20 million new objects; a young one takes 10 ms.
    """
    gc.freeze()  # what was imported stays, and need not be scanned
    gc.set_threshold(50_000, 20, 20)
    sys.setswitchinterval(0.0005)  # seconds after which a thread yields to another; Python's default is 0.005


if __name__ == "__main__":
    main()
