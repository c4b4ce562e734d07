"""Prints, as JSON, what a process can see of how it was started, and ends as its arguments say.

python -m tests.integration.support.process_report [code NUMBER | text TEXT | error TEXT | signal NAME | wait]
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path


def _report() -> dict[str, object]:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    main = sys.modules["__main__"]
    return {
        "arguments": sys.argv,
        "module": [main.__name__, main.__package__, main.__file__],
        "path": sys.path,
        "folder": str(Path.cwd()),
        "environment": dict(os.environ),
        "input": sys.stdin.read(),
        "streams": [[one.encoding, one.errors, one.isatty()] for one in (sys.stdin, sys.stdout, sys.stderr)],
        "files": sorted(path.name for path in Path("/proc/self/fd").iterdir()),
        "rights": [status[key] for key in ("Uid", "Gid", "Groups", "CapEff", "NoNewPrivs")],
        "signals": [status[key] for key in ("SigBlk", "SigIgn", "SigCgt")],
        "handlers": [str(signal.getsignal(one)) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "groups": [os.getpgid(0), os.getsid(0)],
        "limits": [resource.getrlimit(one) for one in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)],
        "umask": status["Umask"],
        "niceness": os.nice(0),
        "threads": threading.active_count(),
        "collector": [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), sys.getswitchinterval()],
        "flags": list(sys.flags),
        "warnings": sys.warnoptions,
    }


def _end(how: str, value: str) -> None:
    match how:
        case "code":
            sys.exit(int(value))
        case "text":
            sys.exit(value)
        case "error":
            raise RuntimeError(value)
        case "signal":
            os.kill(os.getpid(), signal.Signals[value])
        case _:
            time.sleep(60)


if __name__ == "__main__":
    print(json.dumps(_report()), flush=True)
    _end(*sys.argv[1:])
