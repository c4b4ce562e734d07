from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from dynsrv.errors import SourceError
from dynsrv.logs import Event
from dynsrv.metrics import Metrics
from dynsrv.model import Snapshot
from dynsrv.sources.feed import Feed
from tests.fakes.builders import an_endpoint
from tests.fakes.sources import ScriptedSource

ONE = Snapshot((an_endpoint(1),))
TWO = Snapshot((an_endpoint(1), an_endpoint(2)))
EMPTY = Snapshot(())
WHERE = {"backend": "be_app", "kind": "file"}


def gone(message: str = "it is gone") -> SourceError:
    return SourceError("missing", message)


class RunningFeed:
    """A feed of a source that follows a script, and the snapshots for which it woke its subscriber."""

    def __init__(self, *script: Snapshot | Exception | float | None) -> None:
        self.source = ScriptedSource(*script)
        self.metrics = Metrics()
        self.published: list[Snapshot | None] = []
        self.feed = Feed(self.source, backend="be_app", kind="file", metrics=self.metrics)
        self.feed.subscribe(lambda: self.published.append(self.feed.snapshot))

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, WHERE | labels)

    @asynccontextmanager
    async def running(self, seconds: float = 1000) -> AsyncIterator[None]:
        """Follow the source for a while, and stop at the end."""
        task = asyncio.create_task(self.feed.run())
        await asyncio.sleep(seconds)
        assert not task.done()
        yield
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def longest_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)


async def test_before_the_first_answer_there_is_no_snapshot_which_is_not_the_same_as_an_empty_one() -> None:
    silent, empty = RunningFeed(), RunningFeed(EMPTY)
    async with silent.running(), empty.running():
        assert silent.feed.snapshot is None
        assert empty.feed.snapshot == EMPTY


async def test_the_last_snapshot_is_kept_and_each_is_published_even_if_it_is_the_same() -> None:
    followed = RunningFeed(ONE, ONE, 5.0, TWO, gone(), TWO)
    async with followed.running():
        assert followed.feed.snapshot == TWO
    assert followed.published == [ONE, ONE, TWO, TWO]


async def test_who_unsubscribed_is_not_woken_any_more() -> None:
    followed = RunningFeed(ONE, 5.0, TWO)
    wakes: list[Snapshot | None] = []

    def wake() -> None:
        wakes.append(followed.feed.snapshot)

    followed.feed.subscribe(wake)
    async with followed.running(1):
        followed.feed.unsubscribe(wake)
        await asyncio.sleep(10)
    assert wakes == [ONE]
    assert followed.published == [ONE, TWO]


@pytest.mark.parametrize("end", [gone(), None])
async def test_while_the_source_fails_the_last_snapshot_stays(end: Exception | None) -> None:
    followed = RunningFeed(TWO, end, *[gone()] * 1000)
    async with followed.running():
        assert followed.feed.snapshot == TWO
        assert followed.feed.failure is not None
        assert followed.value("dynsrv_source_up") == 0
    assert followed.published == [TWO]


async def test_a_source_that_ends_by_itself_has_failed() -> None:
    followed = RunningFeed(ONE, None)
    with capture_logs() as logs:
        async with followed.running():
            pass
    assert [line["reason"] for line in logs if line["log_level"] == "warning"] == ["ended"]
    assert followed.value("dynsrv_source_errors_total", reason="ended") == 1


async def test_a_source_that_fails_is_asked_ever_less_often_but_at_least_every_ten_seconds() -> None:
    followed = RunningFeed(*[gone()] * 30)
    async with followed.running():
        pauses = [after - before for before, after in pairwise(followed.source.watched)]
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4] + [10] * 24)


async def test_after_a_good_answer_the_next_failure_is_a_first_one() -> None:
    followed = RunningFeed(*[gone()] * 8, ONE, gone(), ONE, gone(), gone())
    async with followed.running():
        pauses = [after - before for before, after in pairwise(followed.source.watched)]
    assert pauses[7:] == pytest.approx([10, 0.2, 0.2, 0.4])


async def test_pauses_are_drawn_by_lot_so_that_many_do_not_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def lowest(low: float, high: float) -> float:
        asked.append(low)
        return low

    monkeypatch.setattr(random, "uniform", lowest)
    followed = RunningFeed(*[gone()] * 5)
    async with followed.running():
        assert asked == [0] * 5


async def test_a_source_that_answers_again_is_told() -> None:
    followed = RunningFeed(ONE, gone(), ONE)
    with capture_logs() as logs:
        async with followed.running():
            assert followed.feed.failure is None
            assert followed.value("dynsrv_source_up") == 1
    assert [line["event"] for line in logs] == [
        Event.SOURCE_FAILED,
        Event.SOURCE_RECOVERED,
    ]
    assert all((line["backend"], line["source"]) == ("be_app", "file") for line in logs)


async def test_a_failure_is_logged_once_until_it_changes_and_counted_each_time() -> None:
    followed = RunningFeed(*[gone()] * 3, *[gone("it is there, but broken")] * 3)
    with capture_logs() as logs:
        async with followed.running():
            pass
    assert [(line["event"], line["error"]) for line in logs] == [
        (Event.SOURCE_FAILED, "it is gone"),
        (Event.SOURCE_FAILED, "it is there, but broken"),
    ]
    assert followed.value("dynsrv_source_errors_total", reason="missing") == 6


async def test_during_one_outage_each_error_is_logged_once_however_they_alternate_and_again_in_the_next() -> None:
    outage = [gone("a"), gone("b"), gone("a"), gone("b"), gone("c"), gone("a")]
    followed = RunningFeed(ONE, *outage, ONE, *outage)
    with capture_logs() as logs:
        async with followed.running():
            pass
    told = [line.get("error", line["event"]) for line in logs]
    assert told == ["a", "b", "c", Event.SOURCE_RECOVERED, "a", "b", "c"]
    assert followed.value("dynsrv_source_errors_total", reason="missing") == 12


def noting(*notes: str, snapshot: Snapshot = ONE) -> Snapshot:
    return Snapshot(snapshot.endpoints, notes=notes)


def notes_of(logs: list[MutableMapping[str, Any]]) -> list[str]:
    return [line["what"] for line in logs if line["event"] == Event.SOURCE_DATA_IGNORED]


async def test_what_the_source_could_not_use_is_logged_once_while_it_stays_and_again_when_it_comes_back() -> None:
    followed = RunningFeed(
        noting("a", "b"), noting("a", "b"), noting("b", "c"), ONE, 5.0, noting("c"), gone(), noting("c"), noting("d")
    )
    with capture_logs() as logs:
        async with followed.running():
            pass
    assert notes_of(logs) == ["a", "b", "c", "c", "d"]
    assert {line["log_level"] for line in logs if "what" in line} == {"warning"}


async def test_what_the_source_could_not_use_is_logged_with_the_backend_and_its_kind() -> None:
    followed = RunningFeed(noting("a"))
    with capture_logs() as logs:
        async with followed.running():
            pass
    (line,) = (line for line in logs if "what" in line)
    assert (line["backend"], line["source"]) == ("be_app", "file")


async def test_what_the_source_could_not_use_is_counted_as_of_its_last_answer() -> None:
    for script, ignored in (
        ([], None),
        ([ONE], 0),
        ([noting("a", "b")], 2),
        ([noting("a", "b"), noting("b", snapshot=TWO)], 1),
        ([noting("a", "b"), ONE], 0),
        ([noting("a", "b"), gone()], 2),
    ):
        followed = RunningFeed(*script)
        async with followed.running():
            assert followed.value("dynsrv_source_ignored") == ignored, script


async def test_when_the_source_last_answered_is_a_metric() -> None:
    followed = RunningFeed(ONE)
    assert followed.value("dynsrv_source_last_success_timestamp_seconds") is None
    async with followed.running():
        answered = followed.value("dynsrv_source_last_success_timestamp_seconds")
    assert answered is not None
    assert answered > 1_600_000_000


async def test_a_stopped_feed_ends_the_watch_and_closes_its_source() -> None:
    followed = RunningFeed(ONE)
    async with followed.running():
        assert (followed.source.closed, followed.source.ended) == (0, False)
    assert (followed.source.closed, followed.source.ended) == (1, True)


async def test_a_feed_whose_source_only_failed_does_not_close_it() -> None:
    followed = RunningFeed(ONE, gone(), ONE)
    async with followed.running():
        assert len(followed.source.watched) == 2
        assert not followed.source.ended


async def test_a_feed_that_is_stopped_while_its_source_fails_closes_it() -> None:
    followed = RunningFeed(*[gone()] * 1000)
    async with followed.running():
        assert followed.feed.failure is not None
    assert followed.source.ended


async def test_a_bug_in_a_source_is_its_failure_and_it_is_retried() -> None:
    followed = RunningFeed(ONE, KeyError("Service"), KeyError("Service"), 5.0, TWO)
    with capture_logs() as logs:
        async with followed.running():
            assert followed.published == [ONE, TWO]
            assert followed.feed.failure is None
    assert [one["event"] for one in logs] == [Event.INTERNAL_ERROR, Event.SOURCE_FAILED, Event.SOURCE_RECOVERED]
    assert isinstance(logs[0]["exc_info"], KeyError)
    assert followed.value("dynsrv_source_errors_total", reason="internal") == 2
    assert followed.metrics.registry.get_sample_value("dynsrv_internal_errors_total", {"part": "source"}) == 2
