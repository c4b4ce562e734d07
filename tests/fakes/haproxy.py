"""A HAProxy without a process: its Runtime API at the level of text, and what a test makes happen to it.

It refuses what the real one refuses, with the same sentences in each version, and holds servers with the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from copy import deepcopy

from tests.fakes.haproxy_cli import Session
from tests.fakes.haproxy_process import FakeBackend, FakeServer, Process

__all__ = ["FakeBackend", "FakeHAProxy", "FakeServer", "Session"]

_STARTED = 1_700_000_000
_QUESTION = re.compile(r"show |prompt|experimental-mode|add server \S+/probe$")


class FakeHAProxy:
    """A HAProxy whose configuration file has *backends*, by default one, `be_app`, that has no server.

    Time is its own: it passes only in `advance`.
    """

    def __init__(
        self, version: str = "3.2.26-1", *, backends: Iterable[FakeBackend] | None = None, level: str = "admin"
    ) -> None:
        self.version = version
        self.level = level
        self.journal: list[str] = []
        """All lines that all its processes received."""
        self._configured = [FakeBackend()] if backends is None else list(backends)
        self._seconds = 0.0
        self._pid = 100
        self.process = self._new_process()
        """The process that takes new connections."""
        self._session = self._first_session()

    def __repr__(self) -> str:
        return f"<FakeHAProxy {self.version} pid={self.process.pid}>"

    def connect(self, process: Process | None = None) -> Session:
        """Return a new connection to the process that takes new ones, or to *process*."""
        return Session(process or self.process, level=self.level, journal=self.journal)

    def answer(self, line: str) -> str:
        """Return the reply to *line*, without the prompt, on an interactive connection to the newest process."""
        if self._session.process is not self.process:
            self._session = self._first_session()
        self.journal.append(line)
        return self._session.answer(line)

    @property
    def changes(self) -> list[str]:
        """The lines received so far that asked for a change of a server."""
        return [line for line in self.journal if not _QUESTION.match(line)]

    def backend(self, name: str = "be_app") -> FakeBackend:
        """Return a backend of the newest process."""
        return self.process.backends[name]

    def server(self, name: str, backend: str = "be_app") -> FakeServer:
        """Return a server of the newest process."""
        server = self.backend(backend).find(name)
        assert server is not None, f"no server {name} in {backend}"
        return server

    def traffic(self, name: str, backend: str = "be_app") -> bool:
        """Return whether a new request may be given to the server."""
        server = self.backend(backend).find(name)
        return server is not None and server.takes_traffic

    # ---- what a test makes happen

    def run_checks(self, passing: Collection[str] | Callable[[FakeServer], bool] = lambda _: True) -> None:
        """Run the checks that HAProxy runs now; those of the servers in *passing* pass, all by default."""
        for server in self.process.servers():
            if server.checked:
                passes = passing(server) if callable(passing) else server.name in passing
                server.run_check(passes=passes, process=self.process)

    def agent_says(self, name: str, reply: str, backend: str = "be_app") -> None:
        """Let the server's agent say *reply*, if it is asked."""
        self.server(name, backend).hear_agent(reply, self.process)

    def open_session(self, name: str, backend: str = "be_app") -> None:
        """Begin a session with the server."""
        server = self.server(name, backend)
        server.sessions += 1
        server.total += 1

    def close_session(self, name: str, backend: str = "be_app") -> None:
        """End a session with the server, whose connection stays open, idle."""
        server = self.server(name, backend)
        server.sessions -= 1
        server.idle += 1

    def advance(self, seconds: float) -> None:
        """Let time pass, and with it happen what HAProxy does a moment after it answered."""
        self._seconds += seconds
        self.process.settle()

    def clock(self) -> float:
        """Return the seconds that have passed."""
        return self._seconds

    def reload(self) -> None:
        """Start another process from the configuration file; the old one answers on, on its old connections."""
        self.process.stopping = True
        self.process = self._new_process()

    def stop(self) -> None:
        """Begin to stop, without another process that takes over."""
        self.process.stopping = True

    def _new_process(self) -> Process:
        self._pid += 1
        numbers = re.match(r"(\d+)\.(\d+)", self.version)
        assert numbers is not None
        process = Process(
            version=self.version,
            number=(int(numbers[1]), int(numbers[2])),
            pid=self._pid,
            started=_STARTED + int(self._seconds),
            now=lambda: _STARTED + self._seconds,
            backends={},
        )
        for number, backend in enumerate(deepcopy(self._configured), 3):
            backend.id = backend.id or number
            servers, backend.servers = backend.servers, []
            for server in servers:
                server.changed_at = process.now()
                backend.add(server)
            process.backends[backend.name] = backend
        return process

    def _first_session(self) -> Session:
        session = Session(self.process, level=self.level)
        session.answer("prompt")
        if self.process.number < (2, 6):
            session.answer("experimental-mode on")
        return session
