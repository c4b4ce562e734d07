"""Which web servers are there, and which of them does service discovery list? The demo's `servers.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dynsrv.demo.web_server import WebServer
from dynsrv.model import Server

NORMAL_WEIGHT = 100
PREFIX = "dyn-"
"""What dynsrv puts before the names of this list."""


def web_name(server: Server) -> str:
    """Return the name of the web server behind a server of HAProxy's."""
    return server.name.removeprefix(PREFIX)


class Fleet:
    """Web servers that run, and the list of those that are wanted, written to the file at *path*."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wanted: dict[str, int] = {}
        """The weights of those listed, by name, the oldest first."""
        self._running: dict[str, WebServer] = {}
        self._started = 0

    async def start(self, number: int) -> list[str]:
        """Start so many more web servers and return their names. They are not listed yet."""
        names = []
        for _ in range(number):
            self._started += 1
            server = WebServer(f"web-{self._started}")
            await server.start()
            self._running[server.name] = server
            names.append(server.name)
        return names

    def publish(self, wanted: dict[str, int]) -> None:
        """List these names with these weights, the oldest first. The file is replaced in one step."""
        self.wanted = wanted
        lines = [f"  {self._entry(name)}" for name in self._running if name in wanted]
        spare = [f"  # {self._entry(name)}" for name in self._running if name not in wanted]
        head = "# Change this list: the backend follows."
        if spare:
            head += " What is commented out runs as well."
        new = self.path.with_suffix(".new")
        new.write_text("\n".join((head, "servers:" if lines else "servers: []", *lines, *spare, "")))
        new.replace(self.path)

    def is_live(self, servers: Sequence[Server]) -> bool:
        """Whether HAProxy has the listed servers and no others, each with its weight, and gives them requests."""
        serving = {web_name(server): server.weight for server in servers if server.serving}
        return serving == self.wanted and len(servers) == len(serving)

    def answering(self, name: str) -> int:
        """Return how many requests a web server has and has not answered yet."""
        return self._running[name].answering

    def kill(self, name: str) -> int:
        """Let a web server die without notice; return how many requests it leaves unanswered."""
        return self._running.pop(name).kill()

    def stop_unlisted(self) -> None:
        """Stop the web servers that are no longer wanted."""
        for name in self._running.keys() - self.wanted.keys():
            self.kill(name)

    def close(self) -> None:
        """Stop all web servers."""
        for name in [*self._running]:
            self.kill(name)

    def _entry(self, name: str) -> str:
        weight = self.wanted.get(name, NORMAL_WEIGHT)
        return f"- {{name: {name}, address: 127.0.0.1, port: {self._running[name].port}, weight: {weight}}}"
