"""What does a one-shot command work on? The backends of a configuration, with their sources and proxies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dynsrv.cli.running_daemon import RunningDaemon, ask_daemon
from dynsrv.documents.messages import listed
from dynsrv.errors import ConfigurationError, SourceError
from dynsrv.haproxy.proxy import HAProxy
from dynsrv.model import Snapshot
from dynsrv.persist.rendered_file import RenderedFile
from dynsrv.persist.writer import Writer
from dynsrv.planning import Desired, Policy, desired_servers
from dynsrv.reconcile.merge import merge
from dynsrv.reconcile.reconciler import Reconciler
from dynsrv.settings import Settings
from dynsrv.sources.source import Source
from dynsrv.specs import BackendSpec, DesiredSpec, specs_of
from dynsrv.wiring import Factory

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backend:
    """One backend, the sources of its servers, and its proxies, in the order of their specs."""

    spec: DesiredSpec
    sources: Sequence[Source]
    on: Sequence[tuple[BackendSpec, HAProxy]]
    factory: Factory
    writers: Mapping[Path, Writer] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """HAProxy's name for it."""
        return self.spec.backend

    @property
    def policy(self) -> Policy:
        """The operator's choices."""
        return self.spec.policy

    @property
    def proxies(self) -> list[HAProxy]:
        """The proxies that have it."""
        return [proxy for _, proxy in self.on]

    async def desired(self, *, timeout: float) -> Desired:
        """Return the desired servers.

        Raises:
            SourceError: a source failed, or did not answer within *timeout* seconds.
        """
        merged = merge(await asyncio.gather(*(first_snapshot(source, timeout=timeout) for source in self.sources)))
        assert merged is not None
        return desired_servers(merged.snapshot, self.policy)

    @contextmanager
    def reconcilers(self, *, force: bool) -> Iterator[list[Reconciler]]:
        """Provide a reconciler for each proxy, which keeps its files current; with *force*, without the guard."""
        with ExitStack() as stack:
            reconcilers = []
            for spec, proxy in self.on:
                writers = [self.writers[one.key] for one in spec.proxy.config_files]
                persisted = self.factory.persisted_backend(spec, writers)
                reconciler = self.factory.reconciler(spec, proxy, persisted=persisted, force=force)
                stack.enter_context(persisted.kept(reconciler.wake))
                reconcilers.append(reconciler)
            yield reconcilers


class Session:
    """Everything that *settings* describe, for one command. Nothing connects before it has to."""

    def __init__(self, settings: Settings, *, directory: Path) -> None:
        specs, factory = specs_of(settings, directory=directory), Factory()
        self._settings, self._directory = settings, directory
        self.proxies = {key: factory.proxy(spec) for key, spec in specs.proxies.items()}
        self.config_files = {key: factory.rendered_file(spec) for key, spec in specs.config_files.items()}
        self.read_by = {key: [file.key for file in spec.config_files] for key, spec in specs.proxies.items()}
        """The files that each proxy reads, as far as they are kept current."""
        self.writers = {key: factory.writer(spec) for key, spec in specs.config_files.items()}
        self.backends = [
            Backend(
                spec,
                [factory.source(source) for source in spec.sources],
                [(one, self.proxies[one.proxy.key]) for one in specs.backends.values() if one.desired.key == key],
                factory,
                self.writers,
            )
            for key, spec in specs.desired.items()
        ]

    async def daemon(self) -> RunningDaemon:
        """Return what the running daemon knows, if there is one."""
        return await ask_daemon(self._settings, directory=self._directory)

    def select(self, name: str | None) -> list[Backend]:
        """Return the backends of this *name*, each for other proxies; all for None.

        Raises:
            ConfigurationError: there is none.
        """
        selected = [backend for backend in self.backends if name in {None, backend.name}]
        if not selected:
            names = listed(sorted({backend.name for backend in self.backends}))
            raise ConfigurationError("--backend", f"found {name!r}, expected one of {names}")
        return selected

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* to its end, close the connections, and return its result."""

        async def run() -> T:
            try:
                return await work
            finally:
                for proxy in self.proxies.values():
                    proxy.close()

        return asyncio.run(run())

    def files_of(self, proxy: str | None) -> dict[Path, RenderedFile]:
        """Return the files of HAProxy's configuration that this proxy reads; all for None.

        Raises:
            ConfigurationError: there is no such proxy, or no file.
        """
        if proxy not in {None, *self.proxies}:
            raise ConfigurationError("--proxy", f"found {proxy!r}, expected one of {', '.join(sorted(self.proxies))}")
        files = self.config_files if proxy is None else {key: self.config_files[key] for key in self.read_by[proxy]}
        if not files:
            of = f"of the proxy {proxy}" if proxy else "of any proxy"
            raise ConfigurationError("proxies", f"there is no config_file {of}; write one")
        return dict(files)

    def backends_in(self, path: Path) -> dict[str, list[Backend]]:
        """Return the backends, by name, of the proxies that read the file at *path*."""
        backends: dict[str, list[Backend]] = {}
        for backend in self.backends:
            if any(path in self.read_by[proxy.name] for proxy in backend.proxies):
                backends.setdefault(backend.name, []).append(backend)
        return backends

    @asynccontextmanager
    async def config_files_kept(self) -> AsyncIterator[None]:
        """Keep the files of HAProxy's configuration current, to the last change."""
        tasks = [asyncio.create_task(writer.run()) for writer in self.writers.values()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(writer.finish() for writer in self.writers.values()))


async def first_snapshot(source: Source, *, timeout: float) -> Snapshot:
    """Return the first snapshot of *source*.

    Raises:
        SourceError: it failed, or did not answer within *timeout* seconds.
    """
    try:
        async with asyncio.timeout(timeout), aclosing(source.watch()) as snapshots:
            async for snapshot in snapshots:
                return snapshot
    except TimeoutError:
        raise SourceError("timeout", f"the source did not answer within {timeout:g} s") from None
    raise SourceError("ended", "the source ended by itself")
