"""Who plays in the demo? Builds the stage in a temporary folder, has the story played, and leaves nothing behind."""

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
from dynsrv.demo.changes import recorded
from dynsrv.demo.fleet import PREFIX, Fleet
from dynsrv.demo.haproxy import BACKEND, SOCKET, RunningHaproxy, find, running
from dynsrv.demo.load import Load
from dynsrv.demo.observer import Observer
from dynsrv.demo.story import Story
from dynsrv.demo.summary import Outcome
from dynsrv.demo.view import Lines, Picture, View
from dynsrv.errors import DynsrvError

_SPARE = 3  # web servers that run for who wants to list them, with --keep

_CONFIGURATION = f"""\
proxies:
  - name: demo
    address: {SOCKET}
backends:
  - name: {BACKEND}
    source: {{kind: file, path: servers.yaml}}
    server: {{check: true, inter: 500ms, fall: 2, rise: 1}}
    drain: {{timeout: 3s}}
    limits: {{window: 5s}}  # the story scales down more often than a minute lets it
    prefix: {PREFIX}
"""


async def run(*, haproxy: Path | None, keep: bool) -> int:
    """Play the demo and return its exit code: 0, 1 if a request was lost, 130 if it was interrupted.

    *haproxy* is the program to start, by default the one on PATH. With *keep*, everything stays up after the story
    until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: there is no HAProxy, it does not start, or it is too old.
        DynsrvError: the story could not be told to its end.
    """
    binary = find(haproxy)
    _end_like_ctrl_c()
    console = _Output(highlight=False)
    with _first_known_error(), TemporaryDirectory(prefix="dynsrv-demo-") as folder:
        async with running(binary, Path(folder)) as proxy:
            outcome = await _perform(Path(folder), proxy, keep=keep, console=console)
    return outcome.exit_code


async def _perform(folder: Path, proxy: RunningHaproxy, *, keep: bool, console: Console) -> Outcome:
    """Play the story to its end, or until dynsrv has a signal to stop, and tell how it went."""
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
        view = Picture(console, title=title, observer=observer, load=load)
    with recorded(folder / "dynsrv.log", view.tell):
        told: Outcome | None = None
        daemon = Daemon(lambda: settings.load(configuration, {}), Notifier({}), directory=folder)
        try:
            async with asyncio.TaskGroup() as tasks:
                story = Story(fleet=fleet, observer=observer, load=load, view=view, tasks=tasks)
                around = [tasks.create_task(one) for one in (proxy.watch(), observer.run(), view.run())]
                dynsrv = tasks.create_task(daemon.run())
                play = tasks.create_task(story.play())
                # Only a signal makes dynsrv end before the story does.
                await asyncio.wait((dynsrv, play), return_when=asyncio.FIRST_COMPLETED)
                play.cancel()
                if keep and not dynsrv.done():
                    await fleet.start(_SPARE)
                    fleet.publish(fleet.wanted)
                    told = Outcome.of(proxy.version, story.played, load)
                    told.print(console)
                    _print_addresses(console, proxy, folder, page=page)
                    await dynsrv
                await load.finish()
                for task in (dynsrv, *around):
                    task.cancel()
        finally:
            fleet.close()
    if told is not None:  # what became of requests later is no part of the story
        console.print(f"Stopped. In all, {load.sent} requests sent, {load.failed} failed.")
        return told
    outcome = Outcome.of(proxy.version, story.played, load)
    outcome.print(console)
    return outcome


class _Output(Console):
    def on_broken_pipe(self) -> None:
        """End as Ctrl-C does, without a word: nobody reads any more."""
        with suppress(SystemExit):  # with which rich would end the event loop, and nothing could be awaited
            super().on_broken_pipe()
        signal.raise_signal(signal.SIGINT)


def _end_like_ctrl_c() -> None:
    """Let SIGTERM, and a terminal that is closed, end the demo as Ctrl-C does: nothing may stay behind."""
    loop = asyncio.get_running_loop()
    # dynsrv takes SIGTERM and SIGINT over when it runs; until then SIGINT is asyncio's own.
    loop.add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    loop.add_signal_handler(signal.SIGHUP, signal.raise_signal, signal.SIGTERM)


def _free_port() -> int:
    """Return a port on loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _print_addresses(console: Console, proxy: RunningHaproxy, folder: Path, *, page: str) -> None:
    """Say where everything is that --keep keeps."""
    lines = (
        "",
        "Everything runs until Ctrl-C:",
        f"  frontend      {proxy.url}",
        f"  status page   http://{page}/",
        f"  stats socket  {folder / SOCKET}",
        f"  servers       {folder / 'servers.yaml'}  (edit it, and see)",
        f"  dynsrv's log  {folder / 'dynsrv.log'}",
        f"  try           dynsrv status -c {folder / 'dynsrv.yaml'}",
        "",
    )
    console.print("\n".join(lines), markup=False, soft_wrap=True)


@contextmanager
def _first_known_error() -> Iterator[None]:
    """Raise the first DynsrvError of a group that has no others: an operator reads one sentence, not a tree."""
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
