"""Which servers of a backend would HAProxy's next process find, and which have to wait before they leave?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from dynsrv.errors import ConfigFileError, DynsrvError, ProxyChanged
from dynsrv.haproxy.proxy import Proxy
from dynsrv.logs import Event, get_logger
from dynsrv.metrics import Metrics
from dynsrv.model import Backend, Server
from dynsrv.persist.server_lines import SeenServers
from dynsrv.persist.writer import Writer
from dynsrv.planning import Desired, Policy, held
from dynsrv.reconcile.observer import PassObserver
from dynsrv.reconcile.result import Pass
from dynsrv.steps import Delete, Disable, Drain, Plan, SetWeight, WaitsFor

DRAIN_PATIENCE = 1.0
"""Seconds that a drain waits for a write that may begin; after that the server leaves anyway."""

_LAST_OBSERVATION = 1.0  # seconds that it may take

log = get_logger()


class PersistedBackend(PassObserver):
    """Passes on what each pass over *backend* observed to the *writers* of the files that *proxy* reads."""

    def __init__(
        self,
        writers: Sequence[Writer],
        *,
        backend: str,
        proxy: str,
        policy: Policy,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writers = writers
        self._where = (backend, proxy)
        self._policy = policy
        self._metrics = metrics
        self._clock = clock
        self._log = log.bind(proxy=proxy, backend=backend)
        self._deadlines: dict[str, float] = {}  # the time until which a server waits for the files
        self._seen: SeenServers | None = None
        self._relevant: list[Server] = []
        self._logged: str | None = None

    @contextmanager
    def kept(self, wake: Callable[[], None]) -> Iterator[None]:
        """Keep the backend in the files; call *wake* when a server that waited for them may leave."""

        def on_change() -> None:
            self._note_problem()
            if self._deadlines:
                wake()

        for writer in self._writers:
            writer.manage(*self._where)
            writer.listeners.append(on_change)
        try:
            yield
        finally:
            for writer in self._writers:
                writer.listeners.remove(on_change)
                writer.forget(*self._where)

    @property
    def problem(self) -> ConfigFileError | None:
        """Why its servers cannot be in any of the files, although those can be read."""
        backend, _ = self._where
        problems = [writer.problems.get(backend) for writer in self._writers]
        # one of the files has the section
        found = [one for one in problems if one is None or one.reason != "section"]
        return (found or problems or [None])[0]

    def in_config_file(self, observed: Backend) -> frozenset[str]:
        """Return the names of the servers that may not start to leave yet: a reload would bring them back."""
        backend, _ = self._where
        names: set[str] = set()
        for writer in self._writers:
            found = writer.names(backend)
            names.update((server.name for server in observed.servers) if found is None else found)
        now = self._clock()
        return frozenset(names.difference(name for name, until in self._deadlines.items() if until <= now))

    async def on_pass(self, this: Pass) -> None:
        """Note what should be in the files."""
        if not self._writers:
            return
        waiting = {wait.server for wait in this.plan.waits if wait.waits_for is WaitsFor.CONFIG_FILE}
        until = max(writer.next_write for writer in self._writers) + DRAIN_PATIENCE
        self._deadlines = {name: self._deadlines.get(name, until) for name in waiting}
        self._see(this.desired, this.observed, frozenset(waiting | _taken_out(this.plan)))

    async def catch_up(self, proxy: Proxy) -> None:
        """Observe *proxy* once more and note the result, because the last pass may have been cancelled."""
        if self._seen is None:
            return
        with suppress(DynsrvError, TimeoutError):
            async with asyncio.timeout(_LAST_OBSERVATION):
                observed = await proxy.observe(self._where[0], with_maxconn=True)
            self._see(self._seen.desired, observed, self._seen.leaving)

    def _see(self, desired: Desired, observed: Backend, leaving: frozenset[str]) -> None:
        # draining servers change all the time, and matter only if no server serves
        servers = observed.servers
        relevant = [one for one in servers if one.serving or held(one)]
        if not any(one.serving for one in relevant):
            relevant = list(servers)
        before = self._seen
        same = before is not None and before.desired is desired and before.leaving == leaving
        if not same or relevant != self._relevant:
            self._relevant = relevant
            self._seen = SeenServers(desired, observed, self._policy, leaving)
            for writer in self._writers:
                writer.see(*self._where, self._seen)

    async def on_failure(self, error: DynsrvError) -> None:
        """Rely on other proxies that read the same file, if there are any."""
        if isinstance(error, ProxyChanged) or self._seen is None:
            return
        self._seen = None
        for writer in self._writers:
            writer.lose(*self._where)

    def _note_problem(self) -> None:
        """Log once why this backend cannot be in the files, and update its metric."""
        backend, proxy = self._where
        problem = self.problem
        failure = problem or next((one.failure for one in self._writers if one.failure is not None), None)
        self._metrics.config_file_current.labels(proxy, backend).set(failure is None)
        if problem is not None and str(problem) != self._logged:
            self._log.error(Event.CONFIG_FILE_FAILED, reason=problem.reason, error=str(problem))
        elif problem is None and self._logged is not None:
            self._log.info(Event.CONFIG_FILE_RECOVERED)
        self._logged = None if problem is None else str(problem)


def _taken_out(plan: Plan) -> set[str]:
    """Return the servers that this plan takes out of service."""
    return {
        step.server
        for step in plan.steps
        if isinstance(step, Drain | Disable | Delete) or (isinstance(step, SetWeight) and step.weight == 0)
    }
