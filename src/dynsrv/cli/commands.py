"""What can an operator ask for? The commands, their options and their exit codes.

Each command imports what it needs, so that completion in a shell or `dynsrv plan` loads neither the web nor the demo.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.shell_completion import get_completion_class

from dynsrv import __version__, logs
from dynsrv.documents.values import parse_duration
from dynsrv.errors import ConfigurationError, DynsrvError
from dynsrv.settings import Settings, find, json_schema, load

if TYPE_CHECKING:
    from dynsrv.cli.apply import ApplyResult
    from dynsrv.cli.running_daemon import RunningDaemon
    from dynsrv.cli.session import Session
    from dynsrv.reconcile.view import BackendView

EXIT_ERROR = 1
EXIT_OUT_OF_SYNC = 2
EXIT_DIED = 3
EXIT_TIMEOUT = 4
EXIT_INTERRUPTED = 130

WATCH_INTERVAL = 2.0
"""Seconds between two updates of `status --watch`."""

LOG_TIMEOUT = 1.0
"""Seconds that the last log lines get to be written."""

Command = Callable[..., Any]


def _config_option(command: Command) -> Command:
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        help="The configuration file.  [default: dynsrv.yaml, then /etc/dynsrv/dynsrv.yaml]",
    )(command)


def _json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON; its keys are stable.")(command)


def _backend_option(command: Command) -> Command:
    return click.option("--backend", metavar="NAME", help="Only this backend.", shell_complete=_complete_backend)(
        command
    )


def _complete_backend(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Return the backends whose names begin with *begun*; none if the configuration cannot be read."""
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
@click.option("--reload-on-change", is_flag=True, help="Reload the configuration file when it changes.")
def run(config: Path | None, reload_on_change: bool) -> None:  # noqa: FBT001 - click's way
    """Run the daemon.

    Stops on SIGTERM or SIGINT within five seconds; SIGHUP reloads the configuration.

    Exit code: 0 after a signal, 1 if the configuration is invalid, 3 if a task died.
    """
    from dynsrv.daemon.config_watch import watch_config
    from dynsrv.daemon.daemon import Daemon
    from dynsrv.daemon.sd_notify import Notifier
    from dynsrv.daemon.stop_deadline import StopDeadline, ignore_user_signals

    ignore_user_signals()
    notifier = Notifier(os.environ)
    try:
        path = find(config)
        changes = watch_config(path) if reload_on_change else None
        daemon = Daemon(
            partial(_read, path),
            notifier,
            directory=_directory(path),
            changes=changes,
            on_stop=StopDeadline().begin,
        )
        try:
            asyncio.run(daemon.run())
        finally:
            logs.drain(timeout=LOG_TIMEOUT)
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
    """Print the next steps and the reason for each. Changes nothing.

    Exit code: 0 if there is nothing to do, 2 if there is, 1 for an error.
    """
    from dynsrv.api_model import Plan, to_json
    from dynsrv.cli import output
    from dynsrv.cli.dry_run import plan_all

    session = _open(config, quiet=True)
    selected = session.select(backend)

    async def ask() -> tuple[list[BackendView], RunningDaemon]:
        daemon = await session.daemon()
        return await plan_all(selected, daemon), daemon

    views, daemon = session.run(ask())
    if as_json:
        click.echo(to_json(Plan(backends=[view.planned() for view in views]), indent=2))
    else:
        output.print_plan(views, daemon)
    _exit_by(views)


@cli.command()
@_config_option
@_json_option
@click.option("--watch", is_flag=True, help="Repeat every two seconds, until Ctrl-C.")
def status(config: Path | None, as_json: bool, watch: bool) -> None:  # noqa: FBT001 - click's way
    """Compare the desired servers with the live ones.

    Prints every server as HAProxy has it, and the reason for each difference. With --watch, a terminal is redrawn;
    elsewhere the status is printed again whenever it has changed.

    Exit code: 0 if they are in sync, 2 if they are out of sync, 1 for an error, 130 after Ctrl-C.
    """
    from dynsrv.api_model import BackendStatuses, to_json
    from dynsrv.cli import output

    if watch and as_json:
        _fail("--watch does not print JSON; use /api/v1/events of the daemon instead")
    session = _open(config, quiet=True)
    if watch:
        session.run(_watch(session))
    views = session.run(_status(session))
    if as_json:
        click.echo(to_json(BackendStatuses(backends=[view.status() for view in views]), indent=2))
    else:
        output.print_status(views)
    _exit_by(views)


@cli.command()
@_config_option
@_backend_option
@click.option("--timeout", default="60s", show_default=True, metavar="DURATION", help="How long to try.")
@click.option("--force", is_flag=True, help="Ignore the guard: remove servers even beyond `limits`.")
def apply(config: Path | None, backend: str | None, timeout: str, force: bool) -> None:  # noqa: FBT001
    """Reconcile until every backend is in sync, or the timeout expires.

    Exit code: 0 if they are in sync, 1 for an error or if the guard blocks a removal, 4 after the timeout.
    """
    from dynsrv.cli import output
    from dynsrv.cli.apply import Apply

    try:
        seconds = parse_duration(timeout)
    except ValueError as error:
        _fail(f"--timeout: {error}")
    session = _open(config)
    selected = session.select(backend)

    async def reconcile() -> list[ApplyResult]:
        async with session.config_files_kept():
            return await Apply(selected, timeout=seconds, daemon=await session.daemon(), force=force).run()

    results = session.run(reconcile())
    output.print_applied(results)
    if any(one.error for one in results):
        sys.exit(EXIT_ERROR)
    if not all(one.converged for one in results):
        sys.exit(EXIT_TIMEOUT)


@cli.command()
@_config_option
@click.option("--live", is_flag=True, help="Also query each HAProxy and each source.")
def check(config: Path | None, live: bool) -> None:  # noqa: FBT001 - click's way
    """Validate the configuration file, and HAProxy's own where proxies[].config_file names it.

    Exit code: 0 if everything is good, 1 if not.
    """
    from dynsrv.daemon.preflight import check_files

    path = find(config)
    settings = load(path, os.environ)
    for warning in check_files(settings, directory=_directory(path)):
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{path}: good ({len(settings.proxies)} proxies, {len(settings.backends)} backends)")
    if not live and not any(proxy.files for proxy in settings.proxies):
        return
    from dynsrv.cli import output
    from dynsrv.cli.check import check_live
    from dynsrv.cli.check_config_files import check_config_files
    from dynsrv.cli.session import Session

    session = Session(settings, directory=_directory(path))
    findings = list(check_config_files(session, live=live))
    if live:
        findings += session.run(check_live(session))
    output.print_findings(findings, live=live)
    if not all(finding.good for finding in findings):
        sys.exit(EXIT_ERROR)


@cli.command()
@_config_option
@click.option("--proxy", metavar="NAME", help="Only the files that this proxy reads.")
@_backend_option
@click.option("--mark", metavar="BACKEND", help="Only add the marks to this backend's section.")
@click.option("--check", "dry", is_flag=True, help="Write nothing; exit with 2 if a file differs.")
@click.option("--wait", default="0s", show_default=True, metavar="DURATION", help="How long to retry the sources.")
@click.option("--output", metavar="FILE", help="Write to this file instead; - prints it.")
def render(
    *,
    config: Path | None,
    proxy: str | None,
    backend: str | None,
    mark: str | None,
    dry: bool,
    wait: str,
    output: str | None,
) -> None:
    """Write the servers into HAProxy's configuration, from the sources alone.

    No HAProxy is asked, so this is for the time before it starts: an init container, ExecStartPre, an image. Each file
    is one of proxies[].config_file.

    Exit code: 0 if it is done, 2 if a file differs (--check), 1 for an error.
    """
    from dynsrv.cli.render import Render

    try:
        seconds = parse_duration(wait)
    except ValueError as error:
        _fail(f"--wait: {error}")
    session = _open(config)
    session.select(backend)
    work = Render(session, proxy=proxy, dry=dry or output is not None)
    results = session.run(work.mark(mark) if mark else work.run(only=backend, wait=seconds))
    if output is not None:
        if len(results) != 1:
            _fail(f"--output: there are {len(results)} files; choose one with --proxy")
        if not results[0].problems:
            with click.open_file(output, "wb") as file:
                file.write(results[0].content)
    for one in results:
        for problem in one.problems:
            click.echo(f"dynsrv: {problem}", err=True)
        if output is None and not one.problems:
            became = ("differs" if dry else "written") if one.differs else "up to date"
            click.echo(f"{one.path}: {became}" + ("" if mark else f" ({one.servers} servers)"))
    if any(one.problems for one in results):
        sys.exit(EXIT_ERROR)
    if dry and any(one.differs for one in results):
        sys.exit(EXIT_OUT_OF_SYNC)


@cli.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    click.echo(json.dumps(json_schema(), indent=2))


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's script that completes commands, options and the names of backends.

    For bash: source <(dynsrv completion bash)
    """
    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(cli, {}, "dynsrv", "_DYNSRV_COMPLETE").source())


@cli.command()
@click.option("--haproxy", type=click.Path(path_type=Path), help="The HAProxy to start.  [default: the one on PATH]")
@click.option("--keep", is_flag=True, help="Leave everything running at the end, and print the addresses.")
def demo(haproxy: Path | None, keep: bool) -> None:  # noqa: FBT001 - click's way
    """Demonstrate dynsrv, for half a minute.

    Starts a HAProxy of its own and a few web servers on loopback, and scales them up and down.
    """
    from dynsrv.demo import run as run_demo

    sys.exit(asyncio.run(run_demo(haproxy=haproxy, keep=keep)))


def main() -> None:
    """Run the command line. A usage error exits with 1, as any error does: 2 means that HAProxy is out of sync."""
    try:
        cli.main(standalone_mode=False)
    except DynsrvError as error:
        _fail(str(error))
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_ERROR)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)


def _read(path: Path) -> Settings:
    settings = load(path, os.environ)
    logs.configure(level=settings.log.level, form=settings.log.format, in_thread=True)
    return settings


def _directory(path: Path) -> Path:
    return path.absolute().parent


def _open(config: Path | None, *, quiet: bool = False) -> Session:
    """Return a session of the configuration file; a *quiet* one logs errors alone."""
    from dynsrv.cli.session import Session

    path = find(config)
    settings = load(path, os.environ)
    logs.configure(level="error" if quiet else settings.log.level, form=settings.log.format)
    return Session(settings, directory=_directory(path))


async def _status(session: Session) -> list[BackendView]:
    from dynsrv.cli.dry_run import plan_all

    return await plan_all(session.backends, await session.daemon())


async def _watch(session: Session) -> NoReturn:
    from dynsrv.cli import output

    live = output.LiveStatus(interval=WATCH_INTERVAL)
    while True:
        live.show(await _status(session))
        await asyncio.sleep(WATCH_INTERVAL)


def _exit_by(views: list[BackendView]) -> None:
    if any(view.error for view in views):
        sys.exit(EXIT_ERROR)
    if not all(view.converged for view in views):
        sys.exit(EXIT_OUT_OF_SYNC)


def _fail(message: str, *, code: int = EXIT_ERROR) -> NoReturn:
    click.echo(f"dynsrv: {message}", err=True)
    sys.exit(code)
