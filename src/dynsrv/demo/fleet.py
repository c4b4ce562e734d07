"""Which web servers are running, and which does service discovery list? The demo's `servers.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dynsrv.demo.web_server import WebServer
from dynsrv.model import Server

NORMAL_WEIGHT = 100
PREFIX = "dyn-"
"""The prefix that dynsrv adds to the names in this list."""


def web_name(server: Server) -> str:
    """Return the name of the web server behind one of HAProxy's servers."""
    return server.name.removeprefix(PREFIX)


class Fleet:
    """The running web servers, and the list of the desired ones in the file at *path*."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wanted: dict[str, int] = {}
        """The weights of the listed servers by name, the oldest first."""
        self._running: dict[str, WebServer] = {}
        self._started = 0

    async def start(self, number: int) -> list[str]:
        """Start *number* more web servers and return their names. They are not listed yet."""
        names = []
        for _ in range(number):
            self._started += 1
            server = WebServer(f"web-{self._started}")
            await server.start()
            self._running[server.name] = server
            names.append(server.name)
        return names

    def publish(self, wanted: dict[str, int]) -> None:
        """List these names with these weights, the oldest first. Replaces the file atomically."""
        self.wanted = wanted
        lines = [f"  {self._entry(name)}" for name in self._running if name in wanted]
        spare = [f"  # {self._entry(name)}" for name in self._running if name not in wanted]
        head = "# Change this list, and the backend follows."
        if spare:
            head += " The commented-out servers are running, too."
        new = self.path.with_suffix(".new")
        new.write_text("\n".join((head, "servers:" if lines else "servers: []", *lines, *spare, "")))
        new.replace(self.path)

    def is_live(self, servers: Sequence[Server]) -> bool:
        """Whether HAProxy serves with the listed servers and no others, each with its weight."""
        serving = {web_name(server): server.weight for server in servers if server.serving}
        return serving == self.wanted and len(servers) == len(serving)

    def answering(self, name: str) -> int:
        """Return how many requests a web server is processing."""
        return self._running[name].answering

    def kill(self, name: str) -> int:
        """Kill a web server; return how many requests it leaves unanswered."""
        return self._running.pop(name).kill()

    def stop_unlisted(self) -> None:
        """Stop the web servers that are not listed."""
        for name in self._running.keys() - self.wanted.keys():
            self.kill(name)

    def close(self) -> None:
        """Stop all web servers."""
        for name in [*self._running]:
            self.kill(name)

    def _entry(self, name: str) -> str:
        weight = self.wanted.get(name, NORMAL_WEIGHT)
        return f"- {{name: {name}, address: 127.0.0.1, port: {self._running[name].port}, weight: {weight}}}"
