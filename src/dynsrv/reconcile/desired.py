"""Which servers should one backend have? Its sources' last snapshots, merged, with what its policy adds."""

from __future__ import annotations

import asyncio
import operator
import time
from collections.abc import Callable, Iterator, Sequence

from dynsrv.errors import SourceError
from dynsrv.logs import Event, get_logger
from dynsrv.metrics import Metrics
from dynsrv.model import Backend, Server, Snapshot
from dynsrv.planning import Desired, Policy, desired_servers
from dynsrv.reconcile.merge import merge
from dynsrv.reconcile.observer import PassObserver
from dynsrv.reconcile.result import Pass
from dynsrv.sources.feed import Feed

_LARGE = 1000  # endpoints; what so many cost is done in a thread

log = get_logger()


class DesiredState:
    """What one backend should be on all its proxies, made from one or more *feeds*.

    Each proxy's reconciler is woken when it changes, and reports what it observed: as soon as every proxy was observed
    since the last change, the sources receive dynsrv's remaining servers. *clock* is in seconds.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        *,
        backend: str,
        policy: Policy,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
        self._feeds = tuple(feeds)
        self._backend = backend
        self._metrics = metrics
        self._clock = clock
        self._log = log.bind(backend=backend)
        self._woken = asyncio.Event()
        self._wakes: dict[str, Callable[[], None]] = {}  # by proxy
        self._observed: dict[str, tuple[float, Backend]] = {}  # by proxy: the change that it followed, what it had
        self._snapshots: tuple[Snapshot | None, ...] = ()  # of which it is made
        self._conflicts: frozenset[str] = frozenset()
        self.servers: Desired | None = None
        """The servers that should be there; None while a source has not answered yet, which is not the same as none."""
        self.changed_at = 0.0
        """When they last changed, by *clock*; means nothing before the first answer."""

    @property
    def failure(self) -> SourceError | None:
        """Why a source has failed; None while all of them work."""
        return next((feed.failure for feed in self._feeds if feed.failure is not None), None)

    def subscribe(self, proxy: str, wake: Callable[[], None]) -> None:
        """Call *wake* after each change, and expect reports of what *proxy* has."""
        self._wakes[proxy] = wake

    def unsubscribe(self, proxy: str) -> None:
        """Neither wake the reconciler of *proxy* any more, nor wait for its reports."""
        del self._wakes[proxy]
        self._observed.pop(proxy, None)

    async def run(self) -> None:
        """Follow the feeds until cancelled."""
        for feed in self._feeds:
            feed.subscribe(self._woken.set)
        try:
            while True:
                await self.update()
                await self._woken.wait()
        finally:
            for feed in self._feeds:
                feed.unsubscribe(self._woken.set)

    async def update(self) -> None:
        """Rebuild it from the last snapshots, and wake the reconcilers if it differs."""
        self._woken.clear()
        snapshots = self._last_snapshots()
        merged = None if self._is_made_of(snapshots) else merge(snapshots)
        if merged is not None:
            servers = await self._servers_of(merged.snapshot)
            self._snapshots = snapshots
            self._log_conflicts(merged.conflicts)
            if servers != self.servers:
                self._change(servers)
                return
        self._tell_sources()

    def observer(self, proxy: str) -> PassObserver:
        """Return what reports what each pass over *proxy* observed."""
        return _Reports(self, proxy)

    def on_observed(self, proxy: str, observed: Backend, *, changed_at: float) -> None:
        """Note what *proxy* had in a pass that began with the servers of *changed_at*."""
        self._observed[proxy] = (changed_at, observed)
        self._tell_sources()

    async def _servers_of(self, snapshot: Snapshot) -> Desired:
        if len(snapshot.endpoints) < _LARGE:
            return desired_servers(snapshot, self.policy, before=self.servers)
        return await asyncio.to_thread(desired_servers, snapshot, self.policy, before=self.servers)

    def _change(self, servers: Desired) -> None:
        event = Event.FIRST_ENDPOINTS_RECEIVED if self.servers is None else Event.ENDPOINTS_CHANGED
        self._log.info(event, endpoints=len(servers))
        self.servers = servers
        self.changed_at = self._clock()
        self._metrics.desired_servers.labels(self._backend).set(len(servers))
        for wake in self._wakes.values():
            wake()

    def _last_snapshots(self) -> tuple[Snapshot | None, ...]:
        return tuple(feed.snapshot for feed in self._feeds)

    def _is_made_of(self, snapshots: tuple[Snapshot | None, ...]) -> bool:
        return len(snapshots) == len(self._snapshots) and all(map(operator.is_, snapshots, self._snapshots))

    def _tell_sources(self) -> None:
        """Tell the sources which servers are left, if every proxy was observed since the last change.

        But not between a new snapshot and what is made of it: passes until then still add what the old one wanted.
        """
        current = {proxy for proxy, (changed_at, _) in self._observed.items() if changed_at == self.changed_at}
        if current and current == self._wakes.keys() and self._is_made_of(self._last_snapshots()):
            for feed in self._feeds:
                feed.source.observed(self._owned_servers())

    def _owned_servers(self) -> Iterator[Server]:
        for _, observed in self._observed.values():
            yield from (server for server in observed.servers if self.policy.owns(server.name))

    def _log_conflicts(self, conflicts: tuple[str, ...]) -> None:
        """Log where sources disagree, each conflict once while it lasts."""
        for conflict in conflicts:
            if conflict not in self._conflicts:
                self._log.warning(Event.SOURCES_DISAGREE, what=conflict)
        self._conflicts = frozenset(conflicts)


class _Reports(PassObserver):
    def __init__(self, state: DesiredState, proxy: str) -> None:
        self._state = state
        self._proxy = proxy

    async def on_pass(self, this: Pass) -> None:
        if this.desired_since is not None:
            self._state.on_observed(self._proxy, this.observed, changed_at=this.desired_since)
