"""What runs, and until when? One group of tasks; SIGHUP takes over a new configuration, SIGTERM and SIGINT end it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial

import structlog

from dynsrv import web
from dynsrv.app import App, ManagedBackend, ManagedProxy
from dynsrv.errors import ConfigurationError
from dynsrv.feed import Feed
from dynsrv.probe import Probe
from dynsrv.proxy import HAProxy
from dynsrv.reconciler import Reconciler
from dynsrv.runtime import parse_address
from dynsrv.settings import OnRemoved

log = structlog.get_logger()


class Unit:
    """A backend at work: its feed, and a reconciler for each of its proxies."""

    def __init__(self, backend: ManagedBackend, app: App) -> None:
        self.backend = backend
        self.feed = Feed(
            backend.source,
            backend=backend.name,
            kind=backend.settings.source.kind,
            policy=backend.policy,
            metrics=app.metrics,
        )
        self.reconcilers = [backend.reconciler(proxy, app.metrics) for proxy in backend.proxies]
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, tasks: asyncio.TaskGroup, probes: dict[HAProxy, Probe]) -> None:
        """Begin to work in *tasks*."""
        name = self.backend.name
        self.tasks = [tasks.create_task(self.feed.run(), name=f"feed of {name}")]
        for proxy, reconciler in zip(self.backend.proxies, self.reconcilers, strict=True):
            self.feed.listen(reconciler.wake)
            probes[proxy].listen(reconciler.wake)
            task = tasks.create_task(reconciler.run(self.feed), name=f"reconciler of {name} on {proxy.name}")
            task.add_done_callback(partial(_stop_listening, probes[proxy], reconciler))
            self.tasks.append(task)

    async def stop(self) -> None:
        """End the work; a batch that is being sent is cut off."""
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)

    def not_ready(self) -> Iterator[str]:
        """Yield why this backend had no first pass yet, for each proxy where that is so."""
        for reconciler in self.reconcilers:
            if reconciler.last is not None:
                continue
            if self.feed.targets is None:
                why = self.feed.failure or "the source has not answered yet"
                yield f"{_where(reconciler)}: {why}"
            else:
                yield str(reconciler.failure or f"{_where(reconciler)}: the first pass is not over")

    def degraded(self) -> Iterator[str]:
        """Yield what is wrong though this backend is managed."""
        if self.feed.failure is not None:
            yield f"backend {self.backend.name}: {self.feed.failure}"
        for reconciler in self.reconcilers:
            if reconciler.failure is not None:
                yield f"{_where(reconciler)}: {reconciler.failure}"
            elif reconciler.last is not None:
                for refusal in reconciler.last.plan.refusals:
                    yield f"{_where(reconciler)}: guard: {refusal.reason}"


class Daemon:
    """`dynsrv run`. *read* makes what the configuration file names now, given what runs."""

    def __init__(self, read: Callable[[App | None], App]) -> None:
        self._read = read
        self._app = read(None)
        self._units: dict[ManagedBackend, Unit] = {}
        self._probes: dict[HAProxy, Probe] = {}
        self._probing: dict[ManagedProxy, asyncio.Task[None]] = {}
        self._removals: dict[tuple[str, str], asyncio.Task[None]] = {}  # by names of backend and proxy

    async def run(self) -> None:
        """Keep all backends as desired until SIGTERM or SIGINT.

        Raises:
            ConfigurationError: `web.listen` cannot be listened on.
            ExceptionGroup: a task died, which is a bug; the others were stopped.
        """
        signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(one, signals.put_nowait, one)
        async with AsyncExitStack() as stack:
            stack.callback(self._close)
            if address := self._app.settings.web_address:
                site = web.application(self._app.metrics.registry, not_ready=self._not_ready, degraded=self._degraded)
                await stack.enter_async_context(web.serving(site, host=address[0], port=address[1]))
            self._told("started")
            async with asyncio.TaskGroup() as tasks:
                await self._take_over(tasks, self._app)
                while await signals.get() is signal.SIGHUP:
                    await self._reload(tasks)
                # HAProxy finishes what it has read of a batch, and holds the stage of every server, so that the
                # next start goes on from there
                working = [task for unit in self._units.values() for task in unit.tasks]
                for task in [*self._probing.values(), *self._removals.values(), *working]:
                    task.cancel()
        log.info("stopped; the servers stay as they are")

    async def _reload(self, tasks: asyncio.TaskGroup) -> None:
        try:
            app = self._read(self._app)
        except ConfigurationError as error:
            self._app.metrics.config_good.set(0)
            log.error("configuration not taken over; the old one stays", error=str(error))
            return
        if app.settings.web != self._app.settings.web:
            log.warning("web.listen is taken over at the next start only")
        await self._take_over(tasks, app)
        self._told("configuration taken over")

    async def _take_over(self, tasks: asyncio.TaskGroup, app: App) -> None:
        """Stop what *app* does not name any more, and start what is new; what is the same sees nothing of it."""
        before, self._app = self._app.backends, app
        for backend in [one for one in self._units if one not in app.backends]:
            await self._units.pop(backend).stop()
            self._leave(tasks, backend, app)
        for proxy in [one for one in self._probing if one not in app.proxies.values()]:
            self._probing.pop(proxy).cancel()
            self._probes.pop(proxy.haproxy)
            proxy.client.close()
        for proxy in app.proxies.values():
            if proxy not in self._probing:
                master = parse_address(proxy.settings.master) if proxy.settings.master else None
                probe = Probe(proxy.haproxy, interval=proxy.interval, metrics=app.metrics, master=master)
                self._probes[proxy.haproxy] = probe
                self._probing[proxy] = tasks.create_task(probe.run(), name=f"probe of {proxy.settings.name}")
        for backend in app.backends:
            if backend not in self._units:
                for proxy_name in [one.name for one in backend.proxies]:
                    if removal := self._removals.pop((backend.name, proxy_name), None):
                        removal.cancel()
                unit = self._units[backend] = Unit(backend, app)
                unit.start(tasks, self._probes)
        names = {one.name for one in app.backends}
        for name in {one.name for one in before} - names:
            app.metrics.forget(name)
        app.metrics.config_good.set(1)
        app.metrics.config_time.set_to_current_time()

    def _leave(self, tasks: asyncio.TaskGroup, backend: ManagedBackend, app: App) -> None:
        """Do with the servers of a backend that is no longer managed as it was configured to."""
        # by name: another address, or another interval, makes another object of the same proxy
        managed = {(one.name, proxy.name) for one in app.backends for proxy in one.proxies}
        for proxy in backend.proxies:
            if (backend.name, proxy.name) in managed:
                continue
            app.metrics.forget(backend.name, proxy=proxy.name)
            drains = backend.settings.on_removed is OnRemoved.DRAIN
            log.info("backend is no longer managed", proxy=proxy.name, backend=backend.name, drains=drains)
            if drains:
                reconciler = backend.reconciler(proxy, app.metrics, force=True)
                task = tasks.create_task(_drain(reconciler), name=f"removal of {backend.name} on {proxy.name}")
                self._removals[backend.name, proxy.name] = task

    def _close(self) -> None:
        self._app.close()  # not the one that was first: another may have been taken over

    def _not_ready(self) -> Iterator[str]:
        for unit in self._units.values():
            yield from unit.not_ready()

    def _degraded(self) -> Iterator[str]:
        for unit in self._units.values():
            yield from unit.degraded()

    def _told(self, sentence: str) -> None:
        settings = self._app.settings
        listen = settings.web.listen if settings.web else None
        log.info(sentence, proxies=len(self._app.proxies), backends=len(self._app.backends), web=listen)


async def _drain(reconciler: Reconciler) -> None:
    """Take every server of ours away, then end."""
    delay = await reconciler.attempt({})
    while reconciler.last is None or not reconciler.last.plan.converged:
        await asyncio.sleep(delay)
        delay = await reconciler.attempt({})


def _stop_listening(probe: Probe, reconciler: Reconciler, _: asyncio.Task[None]) -> None:
    probe.forget(reconciler.wake)


def _where(reconciler: Reconciler) -> str:
    return f"backend {reconciler.backend} on {reconciler.proxy.name}"
