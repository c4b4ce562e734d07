"""`dynsrv`, and `python -m dynsrv`: the command line, ready to be ended before all else is imported."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line."""
    # As the first process of a container it would not get a signal that it has no handler for, and what follows takes
    # a third of a second to import.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    from dynsrv.cli import main as command_line  # noqa: PLC0415

    command_line()


if __name__ == "__main__":
    main()
