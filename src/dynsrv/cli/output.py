"""How are results printed for people? In aligned columns, coloured on a terminal; nothing is cut or wrapped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from rich.console import Console
from rich.text import Text

from dynsrv.cli.apply import ApplyResult
from dynsrv.cli.check import Finding
from dynsrv.cli.running_daemon import RunningDaemon
from dynsrv.model import host_port
from dynsrv.planning import NO_LIMITS
from dynsrv.reconcile.view import BackendView
from dynsrv.steps import Add, Plan, SetWeight, Step

_STYLES = {
    "add": "green",
    "admit": "green",
    "delete": "red",
    "close_sessions": "red",
    "drain": "yellow",
    "disable": "yellow",
    "wait": "cyan",
    "held": "magenta",
    "ready": "green",
    "maint": "yellow",
    "down": "red",
    "failed": "red",
    "missing": "red",
    "good": "green",
    "bad": "red",
}
_console = Console(highlight=False, soft_wrap=True)
_CLEAR = "\x1b[H\x1b[J"  # without leaving the old screen in the scrollback


def print_plan(views: Sequence[BackendView], daemon: RunningDaemon) -> None:
    """Print what would be done, what is waited for, and the reasons."""
    steps = waits = 0
    for view in views:
        _heading(view)
        if view.plan is None:
            _console.print(f"  steps unknown: {_known(view)}")
            continue
        if view.converged:
            _console.print("  nothing to do")
        steps += len(view.plan.steps)
        waits += len(view.plan.waits)
        _rows(
            [
                *((step.kind, step.server, _details(step), step.reason) for step in view.plan.steps),
                *(("wait", wait.server, f"for {wait.waits_for}", wait.reason) for wait in view.plan.waits),
                *(("held", hold.server, "", hold.reason) for hold in view.plan.holds),
            ]
        )
        _refusals(view.plan)
    if daemon.absent is not None and any(view.policy.limits != NO_LIMITS for view in views):
        _console.print(f"  What the guard removed within its window is not known: {daemon.absent}.", markup=False)
    unknown = sum(view.plan is None for view in views)
    counted = [_count(steps, "step"), _count(waits, "wait")] if unknown < len(views) else []
    if unknown:
        counted.append(f"unknown for {_count(unknown, 'backend')}")
    _console.print(f"{', '.join(counted)}. Nothing was changed.")


def _known(view: BackendView) -> str:
    """Return what is known of a backend for which no plan could be made."""
    if view.observed is None:
        return "HAProxy could not be observed"
    servers = view.observed.servers
    serving = sum(server.serving for server in servers)
    desired = "the desired servers are not known" if view.desired is None else f"{len(view.desired)} desired"
    return f"HAProxy has {_count(len(servers), 'server')}, {serving} of them serving; {desired}"


def print_status(views: Sequence[BackendView]) -> None:
    """Print the live servers compared with the desired ones."""
    for view in views:
        _heading(view)
        if view.observed is None:
            continue
        status = view.status()
        rows = [
            (
                server.name,
                server.address or "-",
                "down" if server.state == "ready" and server.operational == "down" else server.state.value,
                f"check {server.check}",
                f"weight {server.weight}",
                "" if server.sessions is None else _count(server.sessions, "session"),
                server.why,
            )
            for server in status.servers
        ]
        rows += [("-", host_port(m.address, m.port), "missing", "", "", "", m.why) for m in status.missing]
        _rows(rows)
        if view.plan is None:
            _console.print(f"  not known whether it is in sync: {_known(view)}")
            continue
        _refusals(view.plan)
        live = sum(server.ours for server in status.servers)
        verdict = "in sync" if view.converged else "out of sync"
        _console.print(f"  {verdict}: {status.desired} desired, {live} live")


class LiveStatus:
    """The status, updated in place on a terminal; elsewhere printed again whenever it has changed."""

    def __init__(self, *, interval: float, now: Callable[[], datetime] = lambda: datetime.now().astimezone()) -> None:
        self._title = f"every {interval:g} s; Ctrl-C to stop"
        self._now = now
        self._shown = ""

    def show(self, views: Sequence[BackendView]) -> None:
        """Show the status as of now."""
        with _console.capture() as capture:
            print_status(views)
        text = capture.get()
        if _console.is_terminal and not _console.is_dumb_terminal:
            lines = [f"{self._now():%H:%M:%S}, {self._title}", *text.splitlines()]
            _write(_CLEAR + "".join(f"{line}\n" for line in _fitting(lines)))
        elif text != self._shown:
            _write(f"{self._now().isoformat(timespec='seconds')}\n{text}\n")
        self._shown = text


def _write(text: str) -> None:
    _console.file.write(text)
    _console.file.flush()


def _fitting(lines: Sequence[str]) -> list[str]:
    """Return as many of *lines* as fit on the screen, where a long one takes several rows."""
    width, height = _console.size
    rows = [max(1, -(-Text.from_ansi(line).cell_len // width)) for line in lines]
    room = height - 1  # the cursor needs a row
    if sum(rows) <= room:
        return list(lines)
    shown: list[str] = []
    for line, needed in zip(lines, rows, strict=True):
        room -= needed
        if room < 1:  # the last row says how many lines are missing
            break
        shown.append(line)
    return [*shown, f"... and {len(lines) - len(shown)} more lines"]


def print_applied(results: Iterable[ApplyResult]) -> None:
    """Print the result for each backend."""
    for one in results:
        where = f"{one.backend} on {one.proxy}"
        if one.error is not None:
            _console.print(Text(f"{where}: {one.error}", style=_STYLES["bad"]))
        elif one.converged:
            _console.print(f"{where}: in sync after {one.seconds:.2f} s, {_count(one.steps, 'step')}")
        else:
            _console.print(f"{where}: out of sync after {one.seconds:.2f} s, {_count(one.steps, 'step')}; remaining:")
            for sentence in one.left:
                _console.print(Text(f"  {sentence}"))


def print_findings(findings: Iterable[Finding], *, live: bool) -> None:
    """Print one line for each finding, and after a *live* check what the Runtime API does not show."""
    _rows([("good" if one.good else "bad", one.what, one.found) for one in findings])
    if live:
        _console.print(
            "  Not visible from outside: `default-server`, which servers added at runtime do not inherit;"
            " and `stats maxconn` (10 by default), of which dynsrv uses 4."
        )


def _heading(view: BackendView) -> None:
    process = view.observed.process if view.observed else None
    version = f" (HAProxy {process.version}, pid {process.pid})" if process else ""
    _console.print(Text(f"{view.backend} on {view.proxy}{version}", style="bold"))
    if view.error is not None:
        _console.print(Text(f"  {view.error}", style=_STYLES["bad"]))


def _refusals(plan: Plan) -> None:
    for refusal in plan.refusals:
        _console.print(Text(f"  guard: {refusal.reason}", style=_STYLES["bad"]))


def _details(step: Step) -> str:
    match step:
        case Add():
            words = [host_port(step.address, step.port), f"id {step.id}", f"weight {step.weight}", *step.options]
            return " ".join(words)
        case SetWeight():
            return f"weight {step.weight}"
        case _:
            return ""


def _rows(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with aligned columns, each as wide as its widest cell: a log file has no right edge."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = Text("  ")
        for cell, width in zip(row, widths, strict=True):
            line.append(cell.ljust(width + 2), style=_STYLES.get(cell, ""))
        line.rstrip()
        _console.print(line)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
