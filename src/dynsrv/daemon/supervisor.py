"""What has to start or stop so that everything runs as specified, and nothing else? Decided by comparing specs.

The caller says what should run, never what changed. What is equal before and after is not touched: its connections,
feeds and reconcilers keep running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from dynsrv.daemon.runner import BackendRunner, ConfigFileRunner, DesiredRunner, ProxyRunner, RunningSet, SourceRunner
from dynsrv.logs import Event, get_logger
from dynsrv.reconcile.reconciler import Backoff
from dynsrv.settings import OnRemoved
from dynsrv.specs import BackendKey, Specs
from dynsrv.wiring import Factory

_FIRST_RESTART = Backoff(0.2, limit=30.0)

log = get_logger()

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class Runner(Protocol[S_co]):
    """Something that runs in a task of its own, made from a spec."""

    @property
    def spec(self) -> S_co: ...

    async def run(self) -> None: ...


R = TypeVar("R", bound=Runner[object])


@dataclass(frozen=True, slots=True)
class Difference(Generic[K]):
    """How two sets of specs differ, by key. *gone* and *changed* ones stop; *changed* and *new* ones start."""

    gone: tuple[K, ...] = ()
    changed: tuple[K, ...] = ()
    new: tuple[K, ...] = ()


def difference(before: Mapping[K, S], after: Mapping[K, S]) -> Difference[K]:
    """Return the difference between two sets of specs. Pure."""
    return Difference(
        gone=tuple(key for key in before if key not in after),
        changed=tuple(key for key in after if key in before and before[key] != after[key]),
        new=tuple(key for key in after if key not in before),
    )


@dataclass(frozen=True, slots=True)
class _Renewal(Generic[K, R]):
    """All *runners* from now on, those of them that *start*, and those that *stop*, some of which are *gone*."""

    runners: dict[K, R]
    start: list[R]
    stop: list[R]
    gone: list[R]


def _renew(running: Mapping[K, R], specs: Mapping[K, S], create: Callable[[S], R]) -> _Renewal[K, R]:
    changes = difference({key: runner.spec for key, runner in running.items()}, specs)
    created = {key: create(specs[key]) for key in (*changes.changed, *changes.new)}
    return _Renewal(
        runners={key: created.get(key) or running[key] for key in specs},
        start=list(created.values()),
        stop=[running[key] for key in (*changes.gone, *changes.changed)],
        gone=[running[key] for key in changes.gone],
    )


class Supervisor:
    """Keeps *running* equal to the specs that were applied last, each runner in a task of *group*."""

    def __init__(self, running: RunningSet, factory: Factory, group: asyncio.TaskGroup) -> None:
        self._running = running
        self._factory = factory
        self._group = group
        self._tasks: dict[Runner[object], asyncio.Task[None]] = {}
        self._removals: dict[BackendKey, asyncio.Task[None]] = {}

    async def apply(self, specs: Specs) -> None:
        """Stop what is gone or changed, all at the same time, then start what is new or changed.

        `on_removed` is applied to the servers of backends that are gone. If one comes back, its removal is cancelled.

        Raises:
            ConfigurationError: something could not be created; everything keeps running as before.
        """
        running, factory = self._running, self._factory
        # Created before anything stops: it may fail, and what several sources share lives only as long as one of them.
        proxies = _renew(running.proxies, specs.proxies, lambda spec: ProxyRunner(spec, factory))
        config_files = _renew(running.config_files, specs.config_files, lambda spec: ConfigFileRunner(spec, factory))
        sources = _renew(running.sources, specs.sources, lambda spec: SourceRunner(spec, factory))
        desired = _renew(
            running.desired,
            specs.desired,
            lambda spec: DesiredRunner(spec, factory, [sources.runners[one.key].feed for one in spec.sources]),
        )
        backends = _renew(
            running.backends,
            specs.backends,
            lambda spec: BackendRunner(
                spec,
                factory,
                desired.runners[spec.desired.key],
                proxies.runners[spec.proxy.key],
                config_files=[config_files.runners[one.key] for one in spec.proxy.config_files],
            ),
        )
        several = (proxies, config_files, sources, desired, backends)
        stop: list[Runner[object]] = [runner for one in several for runner in one.stop]
        start: list[Runner[object]] = [runner for one in several for runner in one.start]
        back = [self._removals.pop(key) for key in specs.backends if key in self._removals]
        await self._end(stop, back)
        self._forget_metrics(specs)
        running.proxies, running.config_files = proxies.runners, config_files.runners
        running.sources = sources.runners
        running.desired, running.backends = desired.runners, backends.runners
        for runner in start:
            self._tasks[runner] = self._group.create_task(self._keep_running(runner), name=str(runner))
        for gone in backends.gone:
            self._on_removed(gone)

    async def stop(self) -> None:
        """End everything, pending removals too.

        HAProxy completes a batch that it has read, and holds the stage of every server, so the next start continues
        from there.
        """
        await self._end(list(self._tasks), list(self._removals.values()))

    async def _end(self, runners: Collection[Runner[object]], removals: Collection[asyncio.Task[None]]) -> None:
        """Cancel these, and wait until they have ended: writers last, who write what the others saw at their end."""
        writers = [runner for runner in runners if isinstance(runner, ConfigFileRunner)]
        others = [runner for runner in runners if not isinstance(runner, ConfigFileRunner)]
        for tasks in ([*map(self._tasks.pop, others), *removals], [*map(self._tasks.pop, writers)]):
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _keep_running(self, runner: Runner[object]) -> None:
        """Run *runner*, again after a pause whenever a bug has ended it: nothing else may be affected by it."""
        now = asyncio.get_running_loop().time
        backoff = _FIRST_RESTART
        while True:
            began = now()
            try:
                return await runner.run()
            except Exception as error:
                self._factory.metrics.internal_errors.labels("task").inc()
                log.error(Event.INTERNAL_ERROR, part=str(runner), exc_info=error)
            if now() - began > backoff.limit:
                backoff = _FIRST_RESTART
            await asyncio.sleep(backoff.delay)
            backoff = backoff.next()

    def _on_removed(self, runner: BackendRunner) -> None:
        """Apply `on_removed` to the servers of a backend that is gone."""
        spec = runner.spec
        drains = spec.on_removed is OnRemoved.DRAIN
        log.info(Event.BACKEND_REMOVED, proxy=spec.proxy.key, backend=spec.name, drains=drains)
        if drains:
            name = f"removal of {spec.name} on {spec.proxy.key}"
            self._removals[spec.key] = self._group.create_task(self._drain(runner), name=name)

    async def _drain(self, runner: BackendRunner) -> None:
        """Remove all of dynsrv's servers from a backend that is gone, whatever the guard says.

        If its proxy is gone too, the client is closed, which then opens a connection for each batch.
        """
        spec = runner.spec
        files = self._running.config_files
        writers = [files[one.key].writer for one in spec.proxy.config_files if one.key in files]
        persisted = self._factory.persisted_backend(spec, writers)
        reconciler = self._factory.reconciler(spec, runner.reconciler.proxy, persisted=persisted, force=True)
        with persisted.kept(reconciler.wake):
            delay = await reconciler.attempt({})
            while reconciler.last is None or not reconciler.last.plan.converged:
                await asyncio.sleep(delay)
                delay = await reconciler.attempt({})
        self._factory.metrics.forget(backend=spec.name, proxy=spec.proxy.key)

    def _forget_metrics(self, specs: Specs) -> None:
        """Forget the metrics of what is gone: an alert on them would never end."""
        metrics, running = self._factory.metrics, self._running
        for proxy in running.proxies.keys() - specs.proxies.keys():
            metrics.forget(proxy=proxy)
        for path in running.config_files.keys() - specs.config_files.keys():
            metrics.forget(path=str(path))
        for backend, proxy in running.backends.keys() - specs.backends.keys():
            metrics.forget(backend=backend, proxy=proxy)
        for backend in {name for name, _ in running.backends} - {name for name, _ in specs.backends}:
            metrics.forget(backend=backend)
        kinds = {(one.spec.backend, one.spec.settings.kind) for one in running.sources.values()}
        for backend, kind in kinds - {(one.backend, one.settings.kind) for one in specs.sources.values()}:
            metrics.forget(backend=backend, kind=kind)
