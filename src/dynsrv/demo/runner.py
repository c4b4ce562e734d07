"""How does the demo run? Starts everything in a temporary directory, runs the scenario, and cleans up."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from dynsrv import settings
from dynsrv.daemon.daemon import Daemon
from dynsrv.daemon.sd_notify import Notifier
from dynsrv.demo.changes import logging_to
from dynsrv.demo.fleet import PREFIX, Fleet
from dynsrv.demo.haproxy import BACKEND, SOCKET, RunningHaproxy, find, running
from dynsrv.demo.load import Load
from dynsrv.demo.observer import Observer
from dynsrv.demo.scenario import Scenario
from dynsrv.demo.summary import Outcome
from dynsrv.demo.view import Dashboard, Lines, View
from dynsrv.errors import DynsrvError

_SPARE = 3  # additional web servers for --keep, for the user to list

_CONFIGURATION = f"""\
proxies:
  - name: demo
    address: {SOCKET}
backends:
  - name: {BACKEND}
    source: {{kind: file, path: servers.yaml}}
    server: {{check: true, inter: 500ms, fall: 2, rise: 1}}
    drain: {{timeout: 3s}}
    limits: {{window: 5s}}  # short, because the demo scales down several times within a minute
    prefix: {PREFIX}
"""


async def run(*, haproxy: Path | None, keep: bool) -> int:
    """Run the demo and return its exit code: 0, 1 if a request was lost, 130 if it was interrupted.

    *haproxy* is the program to start, by default the one on PATH. With *keep*, everything keeps running after the
    scenario until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: there is no HAProxy, it does not start, or it is too old.
        DynsrvError: the scenario could not be completed.
    """
    binary = find(haproxy)
    _end_like_ctrl_c()
    console = _Output(highlight=False)
    with _first_known_error(), TemporaryDirectory(prefix="dynsrv-demo-") as folder:
        async with running(binary, Path(folder)) as proxy:
            outcome = await _run_scenario(Path(folder), proxy, keep=keep, console=console)
    return outcome.exit_code


async def _run_scenario(folder: Path, proxy: RunningHaproxy, *, keep: bool, console: Console) -> Outcome:
    """Run the scenario to its end, or until dynsrv receives a signal, and print the result."""
    configuration = folder / "dynsrv.yaml"
    page = f"127.0.0.1:{_free_port()}"
    configuration.write_text(f"{_CONFIGURATION}web: {{listen: {page}}}\n")
    fleet = Fleet(folder / "servers.yaml")
    fleet.publish({})
    observer = Observer(folder / SOCKET, backend=BACKEND)
    load = Load(proxy.port)
    title = f"dynsrv demo: HAProxy {proxy.version} at {proxy.url}, status page at http://{page}/"
    view: View = Lines(console, title=title, load=load)
    if console.is_terminal:
        view = Dashboard(console, title=title, observer=observer, load=load)
    with logging_to(folder / "dynsrv.log", view.note):
        outcome: Outcome | None = None
        daemon = Daemon(lambda: settings.load(configuration, {}), Notifier({}), directory=folder)
        try:
            async with asyncio.TaskGroup() as tasks:
                scenario = Scenario(fleet=fleet, observer=observer, load=load, view=view, tasks=tasks)
                others = [tasks.create_task(one) for one in (proxy.watch(), observer.run(), view.run())]
                dynsrv = tasks.create_task(daemon.run())
                running_scenario = tasks.create_task(scenario.run())
                # Only a signal makes dynsrv stop before the scenario is complete.
                await asyncio.wait((dynsrv, running_scenario), return_when=asyncio.FIRST_COMPLETED)
                running_scenario.cancel()
                if keep and not dynsrv.done():
                    await fleet.start(_SPARE)
                    fleet.publish(fleet.wanted)
                    outcome = Outcome.of(proxy.version, scenario.completed, load)
                    outcome.print(console)
                    _print_addresses(console, proxy, folder, page=page)
                    await dynsrv
                await load.finish()
                for task in (dynsrv, *others):
                    task.cancel()
        finally:
            fleet.close()
    if outcome is not None:  # requests after the scenario do not count
        console.print(f"Stopped. {load.sent} requests sent in total, {load.failed} failed.")
        return outcome
    outcome = Outcome.of(proxy.version, scenario.completed, load)
    outcome.print(console)
    return outcome


class _Output(Console):
    def on_broken_pipe(self) -> None:
        """Stop like Ctrl-C does, silently: nobody reads the output."""
        with suppress(SystemExit):  # raised by rich, it would stop the event loop before the clean-up
            super().on_broken_pipe()
        signal.raise_signal(signal.SIGINT)


def _end_like_ctrl_c() -> None:
    """Handle SIGTERM and a closed terminal like Ctrl-C, so that the demo cleans up."""
    loop = asyncio.get_running_loop()
    # dynsrv installs its own handlers for SIGTERM and SIGINT when it runs; until then asyncio handles SIGINT.
    loop.add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    loop.add_signal_handler(signal.SIGHUP, signal.raise_signal, signal.SIGTERM)


def _free_port() -> int:
    """Return a free port on loopback."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _print_addresses(console: Console, proxy: RunningHaproxy, folder: Path, *, page: str) -> None:
    """Print the addresses of everything that --keep keeps running."""
    lines = (
        "",
        "Everything runs until Ctrl-C:",
        f"  frontend      {proxy.url}",
        f"  status page   http://{page}/",
        f"  stats socket  {folder / SOCKET}",
        f"  servers       {folder / 'servers.yaml'}  (edit it and watch)",
        f"  dynsrv's log  {folder / 'dynsrv.log'}",
        f"  try           dynsrv status -c {folder / 'dynsrv.yaml'}",
        "",
    )
    console.print("\n".join(lines), markup=False, soft_wrap=True)


@contextmanager
def _first_known_error() -> Iterator[None]:
    """Replace a group that contains only DynsrvErrors by the first one: operators want a sentence, not a tree."""
    try:
        yield
    except ExceptionGroup as group:
        known, unknown = group.split(DynsrvError)
        if known is None or unknown is not None:
            raise
        error: Exception = known
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from None
