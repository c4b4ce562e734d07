"""When is HAProxy's configuration file written? Soon after a pass that observed a change, at most once a second.

A server that begins to serve is in the file at most a second later. A failure changes nothing in HAProxy. What other
programs write outside the marks is kept; what they write between the marks is replaced.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dynsrv.errors import ConfigFileError
from dynsrv.logs import Event, get_logger
from dynsrv.metrics import Metrics
from dynsrv.persist.file import ChangedMeanwhile
from dynsrv.persist.rendered_file import Look, RenderedFile, Written
from dynsrv.persist.server_lines import SeenServers

WRITE_INTERVAL = 1.0
"""Seconds from the beginning of one write to that of the next."""
_LOOK_INTERVAL = 0.2  # seconds between two checks for changes by other programs
_GATHERING = 0.05  # seconds from a change to its write, so that simultaneous changes share one
_RETRY, _LONGEST_RETRY = 2.0, 30.0  # seconds after a failure, whose cause may be fixed without a change of the file
_OUTRUN = 50  # how often another program may write it first before that is a failure
_LAST_WRITE = 2.0  # seconds that dynsrv's exit waits for it

REASONS = ("changing", "io", "missing", "permission", "space", "validation")
"""Why a whole file cannot be kept current: `ConfigFileError.reason`."""

log = get_logger()


class Writer:
    """Keeps *file* current with what passes observe. *clock* is monotonic.

    Each of *listeners* is called after each attempt to bring it up to date.
    """

    def __init__(self, file: RenderedFile, *, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._metrics = metrics
        self._clock = clock
        self._log = log.bind(path=str(file.path))
        metrics.config_file_writes.labels(str(file.path))  # from the start, or the first one would not count
        for reason in REASONS:
            metrics.config_file_errors.labels(str(file.path), reason)
        self.listeners: list[Callable[[], None]] = []
        self.failure: ConfigFileError | None = None
        """Why the whole file cannot be kept current now."""
        self.problems: Mapping[str, ConfigFileError] = {}
        """Why the servers of a backend cannot be in it, by backend."""
        self.written_at: float | None = None
        """When it was last written, in Unix time; None: not since dynsrv started."""
        self._names: Mapping[str, frozenset[str]] | None = None
        self._seen: dict[str, dict[str, SeenServers | None]] = {}  # by backend and proxy
        self._forgotten: set[tuple[str, str]] = set()
        self._due = asyncio.Event()
        self._next_write = 0.0
        self._next_try = 0.0
        self._retry = _RETRY
        self._outrun = 0
        self._writing: Mapping[str, Sequence[SeenServers]] = {}  # what is being written, by backend
        self._working: asyncio.Future[Written] | None = None

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._file.path

    @property
    def next_write(self) -> float:
        """When the next write may begin, by *clock*."""
        return max(self._next_write, self._clock())

    def names(self, backend: str) -> frozenset[str] | None:
        """Return the servers of *backend* that the file has, or is about to have; None: it was not read yet.

        If the file cannot be written, there are none: nothing has to wait for it.
        """
        if self.failure is not None:
            return frozenset()
        if self._names is None:
            return None
        names = self._names.get(backend, frozenset())
        pending = [one for one in self._seen.get(backend, {}).values() if one] if self._due.is_set() else []
        return names.union(*(one.serving() for one in (*self._writing.get(backend, ()), *pending)))

    def manage(self, backend: str, proxy: str) -> None:
        """Expect passes over *backend* of *proxy*; its lines are not changed before the first."""
        self._forgotten.discard((backend, proxy))
        self._seen.setdefault(backend, {})[proxy] = None
        self._due.set()

    def see(self, backend: str, proxy: str, seen: SeenServers) -> None:
        """Note what a pass observed."""
        self._seen.setdefault(backend, {})[proxy] = seen
        self._due.set()

    def lose(self, backend: str, proxy: str) -> None:
        """Rely on what was observed on *proxy* only if there is no other proxy: its current state is unknown."""
        seen = self._seen[backend][proxy]
        if seen is not None and not seen.stale:
            self.see(backend, proxy, replace(seen, stale=True))

    def forget(self, backend: str, proxy: str) -> None:
        """Write the last observation, then leave the lines of *backend* alone: *proxy* no longer manages it."""
        self._forgotten.add((backend, proxy))
        if not self._due.is_set() and self._working is None:
            self._drop_forgotten()

    async def run(self) -> None:
        """Keep the file current until cancelled."""
        await asyncio.to_thread(self._file.remove_leftovers)
        while True:
            await self._pause()
            try:
                look = await asyncio.to_thread(self._file.look)
            except ConfigFileError as error:
                self._fail(error)
                self._notify()
                continue
            if look is Look.CHANGING:
                await asyncio.sleep(_LOOK_INTERVAL)
                continue
            now = self._clock()
            if now >= self._next_write and (look is Look.CHANGED or (self._due.is_set() and now >= self._next_try)):
                await self._bring_up_to_date()

    async def finish(self) -> None:
        """Complete the write that was running when `run` was cancelled, and write what is still due."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WRITE):
                if self._working is not None:
                    with suppress(ChangedMeanwhile, ConfigFileError):
                        await self._working
                        self._working = None
                if self._working is not None or self._due.is_set():
                    await self._bring_up_to_date()

    async def _pause(self) -> None:
        """Wait until a write may be due."""
        if self._due.is_set():  # and could not be done
            allowed_in = max(self._next_write, self._next_try) - self._clock()
            await asyncio.sleep(min(_LOOK_INTERVAL, max(_GATHERING, allowed_in)))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_INTERVAL):
                await self._due.wait()
        if self._due.is_set():
            await asyncio.sleep(_GATHERING)

    async def _bring_up_to_date(self) -> None:
        self._due.clear()
        began = self._clock()
        self._writing = {backend: _freshest(proxies.values()) for backend, proxies in self._seen.items()}
        loop = asyncio.get_running_loop()
        self._working = loop.run_in_executor(None, self._file.write, self._writing)
        try:
            written = await asyncio.shield(self._working)
        except ChangedMeanwhile:
            self._due.set()
            self._outrun += 1
            if self._outrun % _OUTRUN == 0:
                self._fail(ConfigFileError(self.path, "changing", "another program keeps writing it"))
        except ConfigFileError as error:
            self._due.set()
            self._fail(error)
        else:
            self._succeed(written, began=began)
        self._working, self._writing = None, {}
        self._notify()

    def _succeed(self, written: Written, *, began: float) -> None:
        if written.differs:
            self._next_write = began + WRITE_INTERVAL
            self.written_at = time.time()
            self._log.info(Event.CONFIG_FILE_WRITTEN, servers=sum(map(len, written.names.values())))
            self._metrics.config_file_writes.labels(str(self.path)).inc()
            self._metrics.config_file_last_write.labels(str(self.path)).set(self.written_at)
        if self.failure is not None:
            self._log.info(Event.CONFIG_FILE_RECOVERED)
        if not self._due.is_set():
            self._drop_forgotten()
        self._names, self.problems, self.failure = written.names, written.problems, None
        self._outrun, self._retry = 0, _RETRY

    def _drop_forgotten(self) -> None:
        for backend, proxy in self._forgotten:
            self._seen[backend][proxy] = None
        self._forgotten.clear()

    def _fail(self, error: ConfigFileError) -> None:
        self._next_try = self._clock() + self._retry
        self._retry = min(self._retry * 2, _LONGEST_RETRY)
        self._metrics.config_file_errors.labels(str(self.path), error.reason).inc()
        before, self.failure = self.failure, error
        if str(before) != str(error):
            self._log.error(Event.CONFIG_FILE_FAILED, reason=error.reason, error=str(error))

    def _notify(self) -> None:
        for listener in self.listeners:
            listener()


def _freshest(seen: Iterable[SeenServers | None]) -> Sequence[SeenServers]:
    known = [one for one in seen if one is not None]
    return [one for one in known if not one.stale] or known
