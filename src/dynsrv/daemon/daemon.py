"""What runs, and until when? One group of tasks; SIGHUP takes over a new configuration, SIGTERM and SIGINT end it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

from dynsrv.daemon.operations import Operations
from dynsrv.daemon.runner import Running, Unit
from dynsrv.daemon.sd_notify import Notifier
from dynsrv.daemon.status import Status
from dynsrv.documents.values import is_loopback
from dynsrv.errors import ConfigurationError
from dynsrv.haproxy.liveness import ProcessWatch
from dynsrv.logs import Event, get_logger
from dynsrv.metrics import Metrics
from dynsrv.reconcile.reconciler import Reconciler
from dynsrv.runtime import parse_address
from dynsrv.settings import OnRemoved
from dynsrv.wiring import App, ManagedBackend, ManagedProxy

log = get_logger()


class Daemon:
    """`dynsrv run`. *read* makes what the configuration file names now, given what runs; *manager* is kept told.

    Each of *changes* makes it read again, as SIGHUP does.
    """

    def __init__(
        self,
        read: Callable[[App | None], App],
        manager: Notifier,
        *,
        changes: AsyncIterator[None] | None = None,
    ) -> None:
        self._read = read
        self._changes = changes
        self._manager = manager
        self._running = Running(read(None))
        self._status = Status(self._running)
        self._probing: dict[ManagedProxy, asyncio.Task[None]] = {}
        self._removals: dict[tuple[str, str], asyncio.Task[None]] = {}  # by names of backend and proxy

    async def run(self) -> None:
        """Keep all backends as desired until SIGTERM or SIGINT.

        Raises:
            ConfigurationError: `web.subscribe` cannot be listened on.
            ExceptionGroup: a task died, which is a bug; the others were stopped.
        """
        signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(one, signals.put_nowait, one)
        async with AsyncExitStack() as stack:
            stack.callback(self._close)
            await self._serve(stack)
            self._log_configuration(Event.STARTED)
            async with asyncio.TaskGroup() as tasks:
                await self._take_over(tasks, self._running.app)
                beside = [
                    tasks.create_task(self._manager.run(self._status), name="telling the service manager"),
                    tasks.create_task(self._follow_changes(signals), name="watching the configuration file"),
                ]
                while await signals.get() is signal.SIGHUP:
                    with self._manager.reloading():
                        await self._reload(tasks)
                self._manager.stopping()
                # HAProxy finishes what it has read of a batch, and holds the stage of every server, so that the
                # next start goes on from there
                working = [task for unit in self._running.units.values() for task in unit.tasks]
                for task in [*self._probing.values(), *self._removals.values(), *working, *beside]:
                    task.cancel()
        log.info(Event.STOPPED)

    async def _follow_changes(self, signals: asyncio.Queue[signal.Signals]) -> None:
        if self._changes is not None:
            async for _ in self._changes:
                log.info(Event.CONFIGURATION_CHANGED)
                signals.put_nowait(signal.SIGHUP)

    async def _reload(self, tasks: asyncio.TaskGroup) -> None:
        try:
            app = self._read(self._running.app)
        except ConfigurationError as error:
            self._running.app.metrics.config_good.set(0)
            log.error(Event.CONFIGURATION_RELOAD_FAILED, error=str(error))
            self._manager.message = f"configuration reload failed: {error}"
            return
        self._manager.message = ""
        if app.settings.web != self._running.app.settings.web:
            log.warning(Event.RESTART_REQUIRED)
        await self._take_over(tasks, app)
        self._log_configuration(Event.CONFIGURATION_RELOADED)

    async def _take_over(self, tasks: asyncio.TaskGroup, app: App) -> None:
        """Stop what *app* does not name any more, and start what is new; what is the same sees nothing of it."""
        before, self._running.app = self._running.app, app
        for backend in [one for one in self._running.units if one not in app.backends]:
            await self._running.units.pop(backend).stop()
            self._leave(tasks, backend, app)
        for proxy in [one for one in self._probing if one not in app.proxies.values()]:
            self._probing.pop(proxy).cancel()
            self._running.probes.pop(proxy.haproxy)
            proxy.client.close()
        for proxy in app.proxies.values():
            if proxy not in self._probing:
                master = parse_address(proxy.settings.master) if proxy.settings.master else None
                probe = ProcessWatch(
                    proxy.haproxy, interval=proxy.interval, metrics=app.metrics, master=master, opener=proxy.opener
                )
                self._running.probes[proxy.haproxy] = probe
                self._probing[proxy] = tasks.create_task(probe.run(), name=f"probe of {proxy.settings.name}")
        for backend in app.backends:
            if backend not in self._running.units:
                for proxy_name in [one.name for one in backend.proxies]:
                    if removal := self._removals.pop((backend.name, proxy_name), None):
                        removal.cancel()
                unit = self._running.units[backend] = Unit(backend, app)
                unit.start(tasks, self._running.probes)
        _forget(before, app)
        app.metrics.config_good.set(1)
        app.metrics.config_time.set_to_current_time()

    def _leave(self, tasks: asyncio.TaskGroup, backend: ManagedBackend, app: App) -> None:
        """Do with the servers of a backend that is no longer managed as it was configured to."""
        # by name: another address, or another interval, makes another object of the same proxy
        managed = {(one.name, proxy.name) for one in app.backends for proxy in one.proxies}
        for proxy in backend.proxies:
            if (backend.name, proxy.name) in managed:
                continue
            app.metrics.forget(backend=backend.name, proxy=proxy.name)
            drains = backend.settings.on_removed is OnRemoved.DRAIN
            log.info(Event.BACKEND_REMOVED, proxy=proxy.name, backend=backend.name, drains=drains)
            if drains:
                reconciler = backend.reconciler(proxy, app, force=True)
                name = f"removal of {backend.name} on {proxy.name}"
                task = tasks.create_task(_drain(reconciler, app.metrics), name=name)
                self._removals[backend.name, proxy.name] = task

    async def _serve(self, stack: AsyncExitStack) -> None:
        """Tell over HTTP what runs, if that is wanted."""
        app = self._running.app
        settings, address = app.settings.web, app.settings.web_address
        if settings is None or address is None:
            return
        from dynsrv.web import server  # noqa: PLC0415 - aiohttp, only for those who listen
        from dynsrv.web.server_metrics import ServerMetrics  # noqa: PLC0415

        tls = token_file = None
        if settings.tls is not None:
            key_file = app.directory / settings.tls.key_file if settings.tls.key_file else None
            tls = server.tls_context(app.directory / settings.tls.cert_file, key_file)
        if settings.token_file is not None:
            token_file = app.directory / settings.token_file
        if tls is None and not is_loopback(address[0]):
            log.warning(Event.WEB_EXPOSED, web=settings.listen)
        if settings.server_metrics:
            self._status.registry.register(ServerMetrics(self._status))
        site = server.application(self._status, Operations(self._running), token_file=token_file)
        await stack.enter_async_context(server.serving(site, host=address[0], port=address[1], tls=tls))

    def _close(self) -> None:
        self._running.app.close()  # not the one that was first: another may have been taken over

    def _log_configuration(self, event: Event) -> None:
        settings = self._running.app.settings
        listen = settings.web.listen if settings.web else None
        log.info(event, proxies=len(self._running.app.proxies), backends=len(self._running.app.backends), web=listen)


async def _drain(reconciler: Reconciler, metrics: Metrics) -> None:
    """Take every server of ours away, then end."""
    delay = await reconciler.attempt({})
    while reconciler.last is None or not reconciler.last.plan.converged:
        await asyncio.sleep(delay)
        delay = await reconciler.attempt({})
    metrics.forget(backend=reconciler.backend, proxy=reconciler.proxy.name)


def _forget(before: App, now: App) -> None:
    """Tell no more of what was named before and is no longer: an alert on it would never end."""

    def sources(app: App) -> set[tuple[str, str]]:
        return {(one.name, one.settings.source.kind) for one in app.backends}

    for proxy in before.proxies.keys() - now.proxies.keys():
        now.metrics.forget(proxy=proxy)
    for backend, kind in sources(before) - sources(now):
        now.metrics.forget(backend=backend, kind=kind)
    for backend in {one.name for one in before.backends} - {one.name for one in now.backends}:
        now.metrics.forget(backend=backend)
