"""What is the latest snapshot of a source? A feed runs the source, retries it when it fails, and keeps its snapshot."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from dynsrv.errors import InternalError, SourceError
from dynsrv.logs import Event, get_logger
from dynsrv.metrics import Metrics
from dynsrv.model import Snapshot
from dynsrv.sources.source import Source

_FIRST_PAUSE = 0.2  # seconds at most, because pauses have full jitter

log = get_logger()


class Feed:
    """Keeps the latest snapshot of *source*, and wakes its subscribers for each one, whether or not it differs.

    When the source fails, the snapshot stays, and the source is retried after pauses that grow.
    """

    def __init__(self, source: Source, *, backend: str, kind: str, metrics: Metrics) -> None:
        self.source = source
        self._labels = (backend, kind)
        self._metrics = metrics
        self._subscribers: list[Callable[[], None]] = []
        self._log = log.bind(backend=backend, source=kind)
        self._logged: set[str] = set()  # errors since the source last answered
        self.snapshot: Snapshot | None = None
        """The latest one; None: there was none yet, which is not the same as an empty one."""
        self.answered_at: float | None = None
        """When the source last gave a snapshot, in Unix time; None: not yet."""
        self.failure: SourceError | None = None
        """Why the source has failed since; None while it works."""

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call *wake* after each snapshot."""
        self._subscribers.append(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Stop calling *wake*."""
        self._subscribers.remove(wake)

    async def run(self) -> None:
        """Follow the source until cancelled, then close it."""
        failure: SourceError | None = None
        wait = wait_random_exponential(multiplier=_FIRST_PAUSE, max=self.source.longest_pause)
        try:
            while True:
                # An answer ends an outage. The next one has retries of its own, whose first pause is short again.
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(SourceError), wait=wait, before_sleep=self._on_failure
                ):
                    with attempt:
                        if failure is not None:
                            error, failure = failure, None
                            raise error
                        failure = await self._watch()
        finally:
            self.source.close()

    async def _watch(self) -> SourceError:
        """Publish the source's snapshots, and return the error that ended them.

        Raises:
            SourceError: the source failed before its first snapshot.
        """
        answered = False
        try:
            async with aclosing(self.source.watch()) as snapshots:
                async for snapshot in snapshots:
                    answered = True
                    self.publish(snapshot)
            raise SourceError("ended", "the source ended by itself")
        except SourceError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - a bug costs this backend its source, and nothing else
            self._metrics.internal_errors.labels("source").inc()
            failure = SourceError("internal", str(InternalError(error)))
            if str(failure) not in self._logged:
                self._log.error(Event.INTERNAL_ERROR, exc_info=error)
        if not answered:
            raise failure
        return failure

    def publish(self, snapshot: Snapshot) -> None:
        """Keep *snapshot*, the latest one, and wake the subscribers."""
        self._metrics.source_up.labels(*self._labels).set(1)
        self.answered_at = time.time()
        self._metrics.source_last_success.labels(*self._labels).set(self.answered_at)
        if self.failure is not None:
            self.failure = None
            self._logged.clear()
            self._log.info(Event.SOURCE_RECOVERED, endpoints=len(snapshot.endpoints))
        self._log_notes(snapshot.notes)
        self.snapshot = snapshot
        for wake in self._subscribers:
            wake()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the source had but could not use as it was."""
        return self.snapshot.notes if self.snapshot is not None else ()

    def _log_notes(self, notes: tuple[str, ...]) -> None:
        """Log each note once while it lasts."""
        self._metrics.source_ignored.labels(*self._labels).set(len(notes))
        known = set(self.notes)
        for note in notes:
            if note not in known:
                self._log.warning(Event.SOURCE_DATA_IGNORED, what=note)

    def _on_failure(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, SourceError)
        self._metrics.source_up.labels(*self._labels).set(0)
        self._metrics.source_errors.labels(*self._labels, error.reason).inc()
        if str(error) not in self._logged:  # once per outage, not once per attempt
            self._logged.add(str(error))
            self._log.warning(Event.SOURCE_FAILED, reason=error.reason, error=str(error))
        self.failure = error
