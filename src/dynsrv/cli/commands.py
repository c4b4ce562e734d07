"""What can an operator ask of dynsrv? The commands, their output and their exit codes.

Each command imports what it needs, so that a completion of the shell or `dynsrv plan` loads neither the web nor the
demo.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from click.shell_completion import get_completion_class

from dynsrv import __version__, logs
from dynsrv.documents.values import parse_duration
from dynsrv.errors import ConfigurationError, DynsrvError
from dynsrv.settings import Settings, find, json_schema, load

if TYPE_CHECKING:
    from dynsrv.cli.session import Backend, Session
    from dynsrv.reconcile.view import BackendView

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_DIFFERS = 2
EXIT_DIED = 3
EXIT_NOT_CONVERGED = 4
EXIT_INTERRUPTED = 130

WATCH_INTERVAL = 2.0
"""Seconds between two looks of `status --watch`."""

T = TypeVar("T")
Command = Callable[..., Any]


def _config_option(command: Command) -> Command:
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        help="The configuration file.  [default: dynsrv.yaml, then /etc/dynsrv/dynsrv.yaml]",
    )(command)


def _json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, whose keys are stable.")(command)


def _backend_option(command: Command) -> Command:
    return click.option("--backend", metavar="NAME", help="This backend only.", shell_complete=_complete_backend)(
        command
    )


def _complete_backend(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Return the backends of the configuration file that begin so; none if it cannot be read: a shell has to go on."""
    try:
        settings = load(find(context.params.get("config")), os.environ)
    except ConfigurationError:
        return []
    return sorted({one.name for one in settings.backends if one.name.startswith(begun)})


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dynsrv")
def cli() -> None:
    """Keep the live servers of HAProxy backends equal to what service discovery says, without a reload."""


@cli.command()
@_config_option
@click.option("--reload-on-change", is_flag=True, help="Read the configuration file again when it changes.")
def run(config: Path | None, reload_on_change: bool) -> None:  # noqa: FBT001 - click's way
    """Run the daemon.

    It ends by SIGTERM or SIGINT; SIGHUP reads the configuration file again.

    Exit code: 0 after a signal, 1 for a wrong configuration, 3 if a task died.
    """
    from dynsrv.daemon.config_watch import watch_config
    from dynsrv.daemon.daemon import Daemon
    from dynsrv.daemon.sd_notify import Notifier

    notifier = Notifier(os.environ)
    try:
        path = find(config)
        changes = watch_config(path) if reload_on_change else None
        daemon = Daemon(partial(_read, path), notifier, directory=_directory(path), changes=changes)
        asyncio.run(daemon.run())
    except* ConfigurationError as errors:
        notifier.status(str(errors.exceptions[0]))
        _fail(str(errors.exceptions[0]))
    except* Exception as errors:  # noqa: BLE001 - whatever it was, an operator has to see it
        # a bug: the service manager should restart dynsrv, which continues from what HAProxy has
        from rich.console import Console

        Console(stderr=True).print_exception()
        notifier.status(f"a task died: {errors.exceptions[0]!r}")
        _fail(f"a task died: {errors.exceptions[0]!r}", code=EXIT_DIED)


@cli.command()
@_config_option
@_backend_option
@_json_option
def plan(config: Path | None, backend: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Print what would be done, and why.

    Nothing is changed.

    Exit code: 0 if there is nothing to do, 2 if there is, 1 for an error.
    """
    from dynsrv.api_model import Plan, to_json
    from dynsrv.cli import dry_run, output

    session = _open(config, quiet=True)
    views = _with(session, dry_run.plan_all(_select(session, backend)))
    if as_json:
        click.echo(to_json(Plan(backends=[view.planned() for view in views]), indent=2))
    else:
        output.print_plan(views)
    _exit_by(views)


@cli.command()
@_config_option
@_json_option
@click.option("--watch", is_flag=True, help="Look every two seconds, until Ctrl-C.")
def status(config: Path | None, as_json: bool, watch: bool) -> None:  # noqa: FBT001 - click's way
    """Print desired beside live.

    Per backend and server, from HAProxy itself, with the reason for each difference. With --watch it is drawn again and
    again on a terminal; elsewhere it is printed whenever something changed.

    Exit code: 0 if they are in sync, 2 if they are out of sync, 1 for an error, 130 after Ctrl-C.
    """
    from dynsrv.api_model import BackendStatuses, to_json
    from dynsrv.cli import dry_run, output

    if watch:
        if as_json:
            _fail("--watch prints no JSON; programs can follow /api/v1/events of the daemon")
        session = _open(config, quiet=True)
        _with(session, _watch(session))
    session = _open(config, quiet=True)
    views = _with(session, dry_run.plan_all(session.backends))
    if as_json:
        click.echo(to_json(BackendStatuses(backends=[view.status() for view in views]), indent=2))
    else:
        output.print_status(views)
    _exit_by(views)


@cli.command()
@_config_option
@_backend_option
@click.option("--timeout", default="60s", show_default=True, metavar="DURATION", help="How long to go on.")
@click.option("--force", is_flag=True, help="Take away what the guard (limits) would refuse to.")
def apply(config: Path | None, backend: str | None, timeout: str, force: bool) -> None:  # noqa: FBT001
    """Make passes until there is nothing left to do or to wait for.

    Exit code: 0 if converged, 1 for an error, 4 if not converged in time.
    """
    try:
        seconds = parse_duration(timeout)
    except ValueError as error:
        _fail(f"--timeout: {error}")
    from dynsrv.cli import output
    from dynsrv.cli.apply import Apply

    session = _open(config)
    results = _with(session, Apply(_select(session, backend), timeout=seconds, force=force).run())
    output.print_applied(results)
    if any(one.error for one in results):
        sys.exit(EXIT_ERROR)
    if not all(one.converged for one in results):
        sys.exit(EXIT_NOT_CONVERGED)


@cli.command()
@_config_option
@click.option("--live", is_flag=True, help="Also ask each HAProxy and each source.")
def check(config: Path | None, live: bool) -> None:  # noqa: FBT001 - click's way
    """Validate the configuration file.

    With --live also ask each HAProxy and each source that it names.

    Exit code: 0 if all is well, 1 if not.
    """
    path, settings = _load(config)
    click.echo(f"{path}: good ({len(settings.proxies)} proxies, {len(settings.backends)} backends)")
    if live:
        from dynsrv.cli import output
        from dynsrv.cli.check import check_live
        from dynsrv.cli.session import Session

        session = Session(settings, directory=_directory(path))
        findings = _with(session, check_live(session))
        output.print_findings(findings)
        if not all(finding.good for finding in findings):
            sys.exit(EXIT_ERROR)


@cli.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    click.echo(json.dumps(json_schema(), indent=2))


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets a shell complete dynsrv's commands, options and backends.

    For bash: source <(dynsrv completion bash)
    """
    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(cli, {}, "dynsrv", "_DYNSRV_COMPLETE").source())


@cli.command()
@click.option("--haproxy", type=click.Path(path_type=Path), help="The HAProxy to start.  [default: the one on PATH]")
@click.option("--keep", is_flag=True, help="Leave everything running at the end, and print the addresses.")
def demo(haproxy: Path | None, keep: bool) -> None:  # noqa: FBT001 - click's way
    """Show dynsrv at work, for half a minute.

    Starts a HAProxy of its own and a few web servers on loopback, and scales them up and down before your eyes.
    """
    from dynsrv.demo import run as run_demo

    try:
        sys.exit(asyncio.run(run_demo(haproxy=haproxy, keep=keep)))
    except DynsrvError as error:
        _fail(str(error))


def main() -> None:
    """Run the command line. A usage error exits with 1, as any error does: 2 means that HAProxy is out of sync."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_ERROR)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)


def _read(path: Path) -> Settings:
    settings = load(path, os.environ)
    logs.configure(level=settings.log.level, form=settings.log.format)
    return settings


def _directory(path: Path) -> Path:
    return path.absolute().parent


def _load(config: Path | None) -> tuple[Path, Settings]:
    try:
        path = find(config)
        return path, load(path, os.environ)
    except ConfigurationError as error:
        _fail(str(error))


def _open(config: Path | None, *, quiet: bool = False) -> Session:
    from dynsrv.cli.session import Session

    path, settings = _load(config)
    logs.configure(level="error" if quiet else settings.log.level, form=settings.log.format)
    return Session(settings, directory=_directory(path))


def _select(session: Session, name: str | None) -> list[Backend]:
    """Return the backends that --backend names; all without it."""
    selected = [backend for backend in session.backends if name in {None, backend.name}]
    if not selected:
        names = sorted({backend.name for backend in session.backends})
        _fail(f"--backend: found {name!r}, expected one of the configuration's backends: {', '.join(names)}")
    return selected


async def _watch(session: Session) -> NoReturn:
    from dynsrv.cli import dry_run, output

    live = output.LiveStatus(interval=WATCH_INTERVAL)
    while True:
        live.show(await dry_run.plan_all(session.backends))
        await asyncio.sleep(WATCH_INTERVAL)


def _with(session: Session, work: Coroutine[Any, Any, T]) -> T:
    async def run() -> T:
        try:
            return await work
        finally:
            session.close()

    return asyncio.run(run())


def _exit_by(views: list[BackendView]) -> None:
    if any(view.error for view in views):
        sys.exit(EXIT_ERROR)
    if not all(view.converged for view in views):
        sys.exit(EXIT_DIFFERS)


def _fail(message: str, *, code: int = EXIT_ERROR) -> NoReturn:
    click.echo(f"dynsrv: {message}", err=True)
    sys.exit(code)
