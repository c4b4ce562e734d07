"""On what was it measured?"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from dynsrv import __version__


def describe() -> dict[str, str]:
    """Return what may matter of this machine, by name."""
    cpu = _field("/proc/cpuinfo", "model name") or platform.machine()
    memory = int(_field("/proc/meminfo", "MemTotal").split()[0]) / 2**20
    system = _field("/etc/os-release", "PRETTY_NAME", separator="=").strip('"')
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": f"{os.cpu_count()} of {cpu}",
        "memory": f"{memory:.0f} GiB",
        "system": f"{system}, Linux {platform.release()}",
        "python": platform.python_version(),
        "dynsrv": __version__,
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _field(path: str, name: str, *, separator: str = ":") -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(separator)
        if key.strip() == name:
            return value.strip()
    return ""
