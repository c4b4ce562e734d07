"""How is the demo displayed? Live on a terminal, as lines elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dynsrv.demo.fleet import web_name
from dynsrv.demo.load import Load
from dynsrv.demo.observer import Observer
from dynsrv.model import AdminState, Check, OperationalState, Server, host_port

_REFRESH = 0.125  # seconds
_CHANGES = 6
_STATES = {AdminState.READY: "green", AdminState.DRAIN: "yellow", AdminState.MAINT: "dim"}
_CHECKS = {Check.PASSED: "green", Check.FAILED: "bold red"}


class View(Protocol):
    """Displays the progress of the demo."""

    def begin(self, number: int, sentence: str) -> None:
        """A phase starts."""

    def end(self, seconds: float) -> None:
        """The phase is complete: HAProxy was in sync after *seconds*."""

    def note(self, change: str) -> None:
        """Something changed."""

    async def run(self) -> None:
        """Display until cancelled."""


class Lines:
    """A `View` that prints one line for each phase and each change."""

    def __init__(self, console: Console, *, title: str, load: Load) -> None:
        self._console = console
        self._title = title
        self._load = load
        self._began = time.monotonic()

    def begin(self, number: int, sentence: str) -> None:
        self._print(f"{number}. {sentence}")

    def end(self, seconds: float) -> None:
        self._print(f"   done in {seconds:.1f} s; {self._load.sent} requests sent, {self._load.failed} failed")

    def note(self, change: str) -> None:
        self._print(f"   - {change}")

    async def run(self) -> None:
        """Print the title; everything else is printed when it happens."""
        self._print(self._title)

    def _print(self, line: str) -> None:
        self._console.print(f"{time.monotonic() - self._began:5.1f}  {line}", markup=False, soft_wrap=True)


class Dashboard:
    """A `View` that shows the live servers, the load and the last changes."""

    def __init__(self, console: Console, *, title: str, observer: Observer, load: Load) -> None:
        self._console = console
        self._title = title
        self._observer = observer
        self._load = load
        self._phase = ""
        self._state = ""
        self._changes: deque[str] = deque(maxlen=_CHANGES)

    def begin(self, number: int, sentence: str) -> None:
        self._phase = f"{number}. {sentence}"
        self._state = "…"

    def end(self, seconds: float) -> None:
        self._state = f"done in {seconds:.1f} s"

    def note(self, change: str) -> None:
        self._changes.append(change)

    async def run(self) -> None:
        # Refreshed here and not in rich's thread, which would read data while it changes.
        with Live(self, console=self._console, auto_refresh=False) as live:
            while True:
                live.refresh()
                await asyncio.sleep(_REFRESH)

    def __rich__(self) -> Group:
        return Group(
            Text(self._title, style="bold"),
            Text(),
            Text.assemble(self._phase, (f"  {self._state}", "cyan")),
            Text(),
            self._servers(),
            Text(),
            self._requests(),
            Text(),
            *(Text(change, style="dim", no_wrap=True, overflow="ellipsis") for change in self._changes),
        )

    def _servers(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column, width in (("server", 9), ("address", 15), ("state", 13), ("check", 8)):
            table.add_column(column, min_width=width, no_wrap=True)
        for column in ("weight", "requests", "req/s"):
            table.add_column(column, justify="right", no_wrap=True)
        rates = self._load.rates()
        for server in sorted(self._observer.servers, key=lambda one: (len(one.name), one.name)):
            name = web_name(server)
            table.add_row(
                server.name,
                host_port(server.address or "-", server.port),
                _state(server),
                Text(server.check, style=_CHECKS.get(server.check, "dim")),
                str(server.weight),
                str(self._load.answered[name]),
                f"{self._load.rate(rates[name]):.0f}",
            )
        return table

    def _requests(self) -> Text:
        failed = self._load.failed
        return Text.assemble(
            f"requests sent {self._load.sent}, ",
            (f"failed {failed}", "bold red" if failed else "bold green"),
            f", {self._load.rate(self._load.rates().total()):.0f} per second",
        )


def _state(server: Server) -> Text:
    text = Text(server.admin, style=_STATES[server.admin])
    if server.sessions:
        text.append(f", {server.sessions} left")
    if server.operational is OperationalState.DOWN and server.admin is AdminState.READY:
        text.append(", down", style="bold red")
    return text
