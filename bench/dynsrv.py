"""How is dynsrv run to be measured? With a configuration file and a file of servers, as users run it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from bench.haproxy import REPOSITORY, HAProxy
from bench.servers import BACKEND, Kind, Server, write_file

UNGUARDED = {"max_removed": "100%", "min_ready": 0, "on_empty": "remove"}


class Dynsrv:
    """An installation in *folder*, for the HAProxies at *sockets*. Its log goes to a file, at the usual level."""

    def __init__(self, folder: Path, *sockets: Path, kind: Kind, backend: dict[str, object], web: int | None) -> None:
        self.servers_file = folder / "servers.json"
        self.configuration = folder / "dynsrv.yaml"
        self.log = folder / "dynsrv.log"
        managed = {
            "name": BACKEND,
            "source": {"kind": "file", "path": self.servers_file.name},
            "server": kind.settings,
            "admit": "immediately",
            "limits": UNGUARDED,
            **backend,
        }
        settings = {
            "proxies": [{"name": f"lb{number}", "address": str(one)} for number, one in enumerate(sockets, 1)],
            "backends": [managed],
            "web": {"listen": f"127.0.0.1:{web}"} if web else None,
        }
        self.configuration.write_text(yaml.safe_dump(settings))

    def want(self, servers: Sequence[Server]) -> None:
        """Write the file of servers."""
        write_file(self.servers_file, servers)

    def apply(self) -> float:
        """Do what `dynsrv apply` does, and return its seconds from the snapshot to the end."""
        seconds: float = self._worker("apply")
        return seconds

    def passes(self, number: int) -> list[float]:
        """Return the seconds of so many passes of one reconciler that has nothing to do."""
        seconds: list[float] = self._worker("passes", str(number))
        return seconds

    def change(self, servers: Sequence[Server]) -> float:
        """Return the seconds from a source's new snapshot to what it changed in HAProxy, as the daemon does it."""
        changed = self.servers_file.with_name("changed.json")
        write_file(changed, servers)
        seconds: float = self._worker("change", str(changed))
        return seconds

    def _worker(self, what: str, *more: str) -> Any:
        command = [sys.executable, "-m", "bench.worker", what, str(self.configuration), *more]
        with self.log.open("ab") as log:
            done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=log, check=False)
        if done.returncode:
            raise SystemExit(f"dynsrv did not do what it was to do:\n{self.log.read_text()[-3000:]}")
        return json.loads(done.stdout)


@contextmanager
def installed(
    *proxies: HAProxy, kind: Kind, backend: dict[str, object] | None = None, web: int | None = None
) -> Iterator[Dynsrv]:
    """Install dynsrv for *proxies* inside the block; *backend* are more keys of the backend."""
    with tempfile.TemporaryDirectory(prefix="dynsrv-") as folder:
        yield Dynsrv(Path(folder), *(one.socket for one in proxies), kind=kind, backend=backend or {}, web=web)
