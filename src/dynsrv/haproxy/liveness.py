"""Does HAProxy respond, and is it still the same process? Probed periodically, and when something hints at a reload."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

from dynsrv.errors import DynsrvError, InternalError
from dynsrv.haproxy.proxy import HAProxy
from dynsrv.logs import Event, get_logger
from dynsrv.metrics import Metrics
from dynsrv.model import Process
from dynsrv.runtime import Address, RuntimeApiError, UnixAddress
from dynsrv.runtime.connecting import Opener, open_streams

log = get_logger()

_STAT_INTERVAL = 0.05  # seconds; `stat` of the socket takes a microsecond
_RELOAD_SECONDS = 10.0  # a reload that takes longer is noticed by the periodic probe
_READ_SIZE = 64 * 1024
_MASTER_RETRY = 0.02
_MASTER_RELOADS = 0.1  # during a reload, the master refuses connections for 10 to 60 ms
_MASTER_MISSING = 1.0


class ProcessWatch:
    """Asks *proxy* every *interval* seconds which process it is, and wakes the subscribers when it is another one.

    A reload and a restart both start another process, which has none of the servers that were added at runtime. It is
    asked at once when its unix socket has been replaced, as by a restart, and when the connection to its *master* ends,
    which is closed on reload (2.6-3.4).
    """

    def __init__(
        self,
        proxy: HAProxy,
        *,
        interval: float,
        metrics: Metrics,
        master: Address | None = None,
        opener: Opener = open_streams,
    ) -> None:
        self._proxy = proxy
        self._opener = opener
        self._interval = interval
        self._metrics = metrics
        metrics.proxy_reloads.labels(proxy.name)  # starts at 0, so that `rate()` sees the first one
        self._master = master
        self._subscribers: list[Callable[[], None]] = []
        self._log = log.bind(proxy=proxy.name)
        self.process: Process | None = None
        """The process that answered last; None: none has yet."""
        self._probe_now = asyncio.Event()
        self.failure: DynsrvError | None = None
        """Why HAProxy does not respond; None while it does."""

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call *wake* when HAProxy stops responding, when it responds again, and when it is another process."""
        self._subscribers.append(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Do not call *wake* any more."""
        self._subscribers.remove(wake)

    async def run(self) -> None:
        """Probe until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._master is not None:
                tasks.create_task(self._watch_master(self._master))
            if isinstance(self._proxy.address, UnixAddress):
                tasks.create_task(self._watch_file(self._proxy.address.path))
            while True:
                await self.probe()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._interval):
                        await self._probe_now.wait()
                if self._probe_now.is_set():
                    self._probe_now.clear()
                    await self._probe_during_reload()

    async def probe(self) -> None:
        """Ask once, and report what has changed."""
        try:
            process = await self._proxy.identify()
        except DynsrvError as error:
            self._down(error)
        except Exception as error:  # noqa: BLE001 - a bug costs this proxy its probe, and nothing else
            self._metrics.internal_errors.labels("proxy").inc()
            if not isinstance(self.failure, InternalError):
                self._log.error(Event.INTERNAL_ERROR, exc_info=error)
            self._down(InternalError(error))
        else:
            self._up(process)

    async def _probe_during_reload(self) -> None:
        """Ask repeatedly until it is another process: the old one answers until the new one is ready."""
        known = self.process
        with suppress(TimeoutError):
            async with asyncio.timeout(_RELOAD_SECONDS):
                while self.process == known:
                    await self.probe()
                    await asyncio.sleep(_STAT_INTERVAL)

    async def _watch_file(self, path: str) -> None:
        """Have HAProxy probed when the file at *path* is replaced."""
        known = _inode(path)
        while True:
            await asyncio.sleep(_STAT_INTERVAL)
            found = _inode(path)
            if found != known and found is not None:
                known = found
                self._probe_now.set()

    async def _watch_master(self, master: Address) -> None:
        """Have HAProxy probed whenever a connection to the master ends."""
        failures = 0
        lost = False
        while True:
            try:
                reader, writer = await self._opener(master)
            except (OSError, RuntimeApiError) as error:
                failures += 1
                if failures == 2:  # the first failure may be due to a reload
                    self._log.warning(Event.MASTER_UNREACHABLE, error=str(error))
                await asyncio.sleep(_MASTER_RELOADS if failures == 1 else _MASTER_MISSING)
                continue
            if lost:
                self._probe_now.set()  # in case of another reload while there was no connection
            failures, lost = 0, True
            try:
                while await reader.read(_READ_SIZE):  # HAProxy sends nothing unasked; whatever comes is not kept
                    pass
            except OSError:
                pass
            finally:
                writer.transport.abort()
            self._probe_now.set()
            await asyncio.sleep(_MASTER_RETRY)

    def _down(self, error: DynsrvError) -> None:
        self._metrics.proxy_up.labels(self._proxy.name).set(0)
        known, self.failure = self.failure, error
        if known is None or str(known) != str(error):
            self._log.warning(Event.HAPROXY_UNREACHABLE, error=str(error))
        if known is None:
            self._wake()

    def _up(self, process: Process) -> None:
        self._metrics.proxy_up.labels(self._proxy.name).set(1)
        known, self.process = self.process, process
        back = self.failure is not None
        self.failure = None
        another = known is not None and known != process
        if known is None:
            self._log.info(Event.HAPROXY_CONNECTED, pid=process.pid, version=process.version)
        elif another:
            self._metrics.proxy_reloads.labels(self._proxy.name).inc()
            self._log.warning(
                Event.HAPROXY_RELOADED,
                old_pid=known.pid,
                pid=process.pid,
                version=process.version,
            )
        elif back:
            self._log.info(Event.HAPROXY_RECOVERED, pid=process.pid)
        if back or another:
            self._wake()

    def _wake(self) -> None:
        for wake in self._subscribers:
            wake()


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - twenty times a second, so without creating a Path each time
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns
