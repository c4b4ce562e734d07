"""HAProxy's own configuration, as dynsrv keeps it current: what to configure, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.support.haproxy import HAProxy

MARKS = "# dynsrv begin\n# dynsrv end"
MARKED = f"balance roundrobin\n{MARKS}"
"""The shipped backend, with a place for servers."""


def keeping(*proxies: HAProxy, **keys: Any) -> list[dict[str, Any]]:
    """Return the `proxies` of a configuration that keeps the file of each, with *keys* of `config_file` besides."""
    return [
        {
            "name": f"lb{number}",
            "address": str(proxy.socket),
            "config_file": {"path": str(proxy.configuration), **keys},
        }
        for number, proxy in enumerate(proxies, 1)
    ]


def kept(path: Path) -> dict[str, str]:
    """Return the `server` lines of a file by the servers' names; a file that is not whole fails."""
    text = path.read_text()
    assert text.count("# dynsrv begin") == text.count("# dynsrv end") == 1, text
    between = text.partition("# dynsrv begin")[2].partition("# dynsrv end")[0]
    lines = [line.strip() for line in between.splitlines() if line.strip()]
    assert all(line.startswith("server ") for line in lines), text
    return {line.split()[1]: line for line in lines}


def kept_ports(path: Path, *, disabled: bool = False) -> set[int]:
    """Return the ports of the servers that a new process would have serving, or those that it would have disabled."""
    lines = kept(path).values()
    return {int(line.split()[2].rpartition(":")[2]) for line in lines if (" disabled" in line) is disabled}
