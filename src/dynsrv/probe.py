"""Is HAProxy there, and is it still the same process? Asked again and again, for everyone who wants to know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from dynsrv.errors import DynsrvError
from dynsrv.metrics import Metrics
from dynsrv.model import Process
from dynsrv.proxy import HAProxy

log = structlog.get_logger()


class Probe:
    """Asks *proxy* who it is every *interval* seconds, and wakes those who listen when it is someone else.

    A reload and a restart both make another process, which has none of the servers that were added at runtime.
    """

    def __init__(self, proxy: HAProxy, *, interval: float, metrics: Metrics) -> None:
        self._proxy = proxy
        self._interval = interval
        self._metrics = metrics
        self._listeners: list[Callable[[], None]] = []
        self._log = log.bind(proxy=proxy.name)
        self._process: Process | None = None
        self.failure: DynsrvError | None = None
        """Why HAProxy does not answer now; None while it does."""

    def listen(self, wake: Callable[[], None]) -> None:
        """Call *wake* when HAProxy answers again, and when it is another process."""
        self._listeners.append(wake)

    def forget(self, wake: Callable[[], None]) -> None:
        """Call *wake* no more."""
        self._listeners.remove(wake)

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            try:
                process = await self._proxy.identify()
            except DynsrvError as error:
                self._lost(error)
            else:
                self._found(process)
            await asyncio.sleep(self._interval)

    def _lost(self, error: DynsrvError) -> None:
        self._metrics.proxy_up.labels(self._proxy.name).set(0)
        if self.failure is None or str(self.failure) != str(error):
            self._log.warning("HAProxy does not answer; its servers cannot be changed until it does", error=str(error))
        self.failure = error

    def _found(self, process: Process) -> None:
        self._metrics.proxy_up.labels(self._proxy.name).set(1)
        known, self._process = self._process, process
        back = self.failure is not None
        self.failure = None
        if known is None:
            self._log.info("HAProxy answers", pid=process.pid, version=process.version)
        elif known != process:
            self._metrics.proxy_reloads.labels(self._proxy.name).inc()
            self._log.warning(
                "HAProxy was reloaded or restarted; its servers are added again",
                old_pid=known.pid,
                pid=process.pid,
                version=process.version,
            )
        elif back:
            self._log.info("HAProxy answers again", pid=process.pid)
        if back or (known is not None and known != process):
            for wake in self._listeners:
                wake()
