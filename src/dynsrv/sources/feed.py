"""What is desired now? A feed follows one source and holds its last whole snapshot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from dynsrv.errors import SourceError
from dynsrv.logs import Event, get_logger
from dynsrv.metrics import Metrics
from dynsrv.model import Backend, Snapshot
from dynsrv.planning import Desired, Policy, desired_servers
from dynsrv.sources.source import Source

_RETRY_WAIT = wait_random_exponential(multiplier=0.2, max=10)  # seconds, with full jitter

_LARGE = 1000  # endpoints

log = get_logger()


class Feed:
    """Follows *source* and wakes those who listen when its snapshot changes.

    A source that fails changes nothing: the last snapshot stays, and the source is asked again, ever less often.
    """

    def __init__(
        self,
        source: Source,
        *,
        backend: str,
        kind: str,
        policy: Policy,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._labels = (backend, kind)
        self._policy = policy
        self._metrics = metrics
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._log = log.bind(backend=backend, source=kind)
        self.notes: tuple[str, ...] = ()
        """What the source had but could not use as it was."""
        self.answered_at: float | None = None
        """When the source last told what is desired, in Unix time; None: it has not yet."""
        self._seen: dict[str, tuple[float, Backend]] = {}  # by proxy: when what it was to have changed, what it had
        self._complaints: set[str] = set()  # what was logged since the source last answered
        self.desired: Desired | None = None
        """What the last snapshot calls for; None: there was none yet, which is not the same as an empty one."""
        self.changed_at = 0.0
        """When the snapshot last changed, by *clock*; means nothing before the first."""
        self.failure: SourceError | None = None
        """Why the source cannot tell now; None while it can."""

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call *wake*, of the reconciler of one proxy, after each change of the snapshot."""
        self._listeners.append(wake)

    async def run(self) -> None:
        """Follow the source until cancelled."""
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(SourceError), wait=_RETRY_WAIT, before_sleep=self._note_failure
            ):
                with attempt:
                    async with aclosing(self._source.watch()) as snapshots:
                        async for snapshot in snapshots:
                            attempt.retry_state.attempt_number = 1  # a good answer: the next failure is a first one
                            await self._update_in_thread(snapshot)
                    raise SourceError("ended", "the source ended by itself")
        finally:
            self._source.close()

    async def _update_in_thread(self, snapshot: Snapshot) -> None:
        """Take what the source says now, and let nothing wait for what thousands of endpoints make to reckon."""
        if len(snapshot.endpoints) < _LARGE:
            self.take(snapshot)
        else:
            self._take(snapshot, await asyncio.to_thread(desired_servers, snapshot, self._policy, before=self.desired))

    def take(self, snapshot: Snapshot) -> None:
        """Take what the source says now."""
        self._take(snapshot, desired_servers(snapshot, self._policy, before=self.desired))

    def _take(self, snapshot: Snapshot, wanted: Desired) -> None:
        backend, _ = self._labels
        self._metrics.source_up.labels(*self._labels).set(1)
        self.answered_at = time.time()
        self._metrics.source_last_success.labels(*self._labels).set(self.answered_at)
        if self.failure is not None:
            self.failure = None
            self._complaints.clear()
            self._log.info(Event.SOURCE_RECOVERED, endpoints=len(snapshot.endpoints))
        self._note(snapshot.notes)
        if wanted == self.desired:
            self._tell_source()
            return
        event = Event.FIRST_ENDPOINTS_RECEIVED if self.desired is None else Event.ENDPOINTS_CHANGED
        self._log.info(event, endpoints=len(snapshot.endpoints))
        self.desired = wanted
        self.changed_at = self._clock()
        self._metrics.desired_servers.labels(backend).set(len(self.desired))
        for wake in self._listeners:
            wake()

    def on_observed(self, proxy: str, observed: Backend, *, changed_at: float) -> None:
        """Take note of what *proxy* had in a pass that began with the snapshot of *changed_at*."""
        self._seen[proxy] = (changed_at, observed)
        self._tell_source()

    def _tell_source(self) -> None:
        """Tell the source what is left of its servers, if every proxy was looked at since the snapshot changed."""
        current = [observed for changed_at, observed in self._seen.values() if changed_at == self.changed_at]
        if current and len(current) == len(self._listeners):
            owns = self._policy.owns
            self._source.observed(one for observed in current for one in observed.servers if owns(one.name))

    def _note(self, notes: tuple[str, ...]) -> None:
        """Tell what the source could not use, once for each."""
        self._metrics.source_ignored.labels(*self._labels).set(len(notes))
        if notes != self.notes:
            before, self.notes = set(self.notes), notes
            for note in notes:
                if note not in before:
                    self._log.warning(Event.SOURCE_DATA_IGNORED, what=note)

    def _note_failure(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, SourceError)
        self._metrics.source_up.labels(*self._labels).set(0)
        self._metrics.source_errors.labels(*self._labels, error.reason).inc()
        if str(error) not in self._complaints:  # once per change, not once per attempt
            self._complaints.add(str(error))
            self._log.warning(Event.SOURCE_FAILED, reason=error.reason, error=str(error))
        self.failure = error
