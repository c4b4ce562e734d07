"""What runs, and until when? SIGHUP reloads the configuration; SIGTERM and SIGINT end it."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from dynsrv.daemon.operations import Operations
from dynsrv.daemon.preflight import check_files
from dynsrv.daemon.runner import RunningSet
from dynsrv.daemon.sd_notify import Notifier
from dynsrv.daemon.status import Status
from dynsrv.daemon.supervisor import Supervisor
from dynsrv.documents.values import is_loopback
from dynsrv.errors import ConfigurationError
from dynsrv.logs import Event, get_logger, on_lines_lost
from dynsrv.settings import Settings
from dynsrv.specs import specs_of
from dynsrv.wiring import Factory

log = get_logger()


class Daemon:
    """`dynsrv run`. *read* returns what the configuration file in *directory* says now.

    Each of *changes* reloads the configuration, as SIGHUP does. *on_stop* is called by the handler of SIGTERM and
    SIGINT, even while the event loop is blocked.

    Raises:
        ConfigurationError: by *read*.
    """

    def __init__(
        self,
        read: Callable[[], Settings],
        notifier: Notifier,
        *,
        directory: Path,
        changes: AsyncIterator[None] | None = None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._read = read
        self._notifier = notifier
        self._directory = directory
        self._changes = changes
        self._on_stop = on_stop
        self._settings = read()
        self._listens = self._settings.web.listen if self._settings.web else None  # until it ends
        self._factory = Factory()
        on_lines_lost(self._factory.metrics.log_lines_lost.inc)
        self._running = RunningSet()
        self._status = Status(self._running, self._factory.metrics.registry, self._factory.audit_log)

    async def run(self) -> None:
        """Reconcile all backends until SIGTERM or SIGINT.

        Raises:
            ConfigurationError: `web.listen` cannot be listened on.
            ExceptionGroup: a task died, which is a bug; the others were stopped.
        """
        _raise_descriptor_limit()
        signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def received(number: int, _: object) -> None:
            one = signal.Signals(number)
            if one is not signal.SIGHUP:
                self._on_stop()
            with suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(signals.put_nowait, one)

        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(one, received)  # the loop's own handlers would wait for the loop
        async with AsyncExitStack() as stack:
            await self._serve(stack)
            self._log_settings(Event.STARTED)
            async with asyncio.TaskGroup() as group:
                supervisor = Supervisor(self._running, self._factory, group)
                await self._apply(supervisor, self._settings)
                beside = [
                    group.create_task(self._notifier.run(self._status), name="notifying the service manager"),
                    group.create_task(self._watch_changes(signals), name="watching the configuration file"),
                ]
                while await signals.get() is signal.SIGHUP:
                    with self._notifier.reloading():
                        await self._reload(supervisor)
                self._notifier.stopping()
                await supervisor.stop()
                for task in beside:
                    task.cancel()
        log.info(Event.STOPPED)

    async def _watch_changes(self, signals: asyncio.Queue[signal.Signals]) -> None:
        if self._changes is not None:
            async for _ in self._changes:
                log.info(Event.CONFIGURATION_CHANGED)
                signals.put_nowait(signal.SIGHUP)

    async def _reload(self, supervisor: Supervisor) -> None:
        try:
            settings = self._read()
            await self._apply(supervisor, settings)
        except ConfigurationError as error:
            self._factory.metrics.config_good.set(0)
            log.error(Event.CONFIGURATION_RELOAD_FAILED, error=str(error))
            self._notifier.message = f"configuration reload failed: {error}"
            self._status.configuration_error = str(error)
            return
        self._notifier.message = ""
        self._status.configuration_error = None
        if settings.web != self._settings.web:
            log.warning(Event.RESTART_REQUIRED)
        self._settings = settings
        self._log_settings(Event.CONFIGURATION_RELOADED)

    async def _apply(self, supervisor: Supervisor, settings: Settings) -> None:
        for warning in await asyncio.to_thread(check_files, settings, directory=self._directory):
            log.warning(Event.FILE_EXPOSED, what=warning)
        await supervisor.apply(specs_of(settings, directory=self._directory))
        self._factory.audit_log.audit = self._directory / settings.audit.path if settings.audit else None
        self._factory.metrics.config_good.set(1)
        self._factory.metrics.config_time.set_to_current_time()

    async def _serve(self, stack: AsyncExitStack) -> None:
        """Serve HTTP until *stack* ends, if `web.listen` is set."""
        settings, address = self._settings.web, self._settings.web_address
        if settings is None or address is None:
            return
        from dynsrv.web import server  # noqa: PLC0415 - aiohttp, only for those who listen
        from dynsrv.web.server_metrics import ServerMetrics  # noqa: PLC0415

        tls = token_file = None
        if settings.tls is not None:
            key_file = self._directory / settings.tls.key_file if settings.tls.key_file else None
            tls = server.tls_context(self._directory / settings.tls.cert_file, key_file)
        if settings.token_file is not None:
            token_file = self._directory / settings.token_file
        if tls is None and not is_loopback(address[0]):
            log.warning(Event.WEB_EXPOSED, web=settings.listen)
        if settings.server_metrics:
            self._status.registry.register(ServerMetrics(self._status))
        site = server.application(
            self._status,
            Operations(self._running),
            token_file=token_file,
            hosts=[name.lower() for name in settings.hosts] if is_loopback(address[0]) else None,
        )
        await stack.enter_async_context(server.serving(site, host=address[0], port=address[1], tls=tls))

    def _log_settings(self, event: Event) -> None:
        settings = self._settings
        log.info(event, proxies=len(settings.proxies), backends=len(settings.backends), web=self._listens)


def _raise_descriptor_limit() -> None:
    """Allow this process as many open file descriptors as it may have: the soft limit is often 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
