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
from dynsrv.model import Endpoint, Snapshot
from dynsrv.sources.feed import Feed
from tests.fakes.builders import a_policy, an_endpoint
from tests.fakes.sources import ScriptedSource

ONE = Snapshot((an_endpoint(1),))
TWO = Snapshot((an_endpoint(1), an_endpoint(2)))
EMPTY = Snapshot(())
WHERE = {"backend": "be_app", "kind": "file"}


def gone(message: str = "it is gone") -> SourceError:
    return SourceError("missing", message)


class SharedWatch:
    """A feed that follows a script, and what it told whom."""

    def __init__(self, *script: Snapshot | Exception | float | None) -> None:
        self.source = ScriptedSource(*script)
        self.metrics = Metrics()
        self.wakes: list[Snapshot] = []
        self.feed = Feed(
            self.source,
            backend="be_app",
            kind="file",
            policy=a_policy(),
            metrics=self.metrics,
            clock=lambda: asyncio.get_running_loop().time(),
        )
        self.feed.subscribe(lambda: self.wakes.append(Snapshot(self.endpoints or ())))

    @property
    def endpoints(self) -> tuple[Endpoint, ...] | None:
        desired = self.feed.desired
        return None if desired is None else tuple(target.endpoint for target in desired.values())

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


async def test_before_the_first_snapshot_nothing_is_known_which_is_not_the_same_as_nothing_wanted() -> None:
    silent, empty = SharedWatch(), SharedWatch(EMPTY)
    async with silent.running(), empty.running():
        assert silent.feed.desired is None
        assert empty.feed.desired == {}


async def test_the_last_snapshot_is_what_is_desired() -> None:
    followed = SharedWatch(ONE, TWO)
    async with followed.running():
        assert followed.endpoints == TWO.endpoints
    backend = {"backend": "be_app"}
    assert followed.metrics.registry.get_sample_value("dynsrv_desired_servers", backend) == 2


async def test_who_listens_is_woken_by_a_change_and_by_nothing_else() -> None:
    followed = SharedWatch(ONE, ONE, 5.0, ONE, TWO, ONE, gone(), ONE)
    async with followed.running():
        assert followed.wakes == [ONE, TWO, ONE]


async def test_the_time_of_the_last_change_is_kept() -> None:
    followed = SharedWatch(ONE, 5.0, ONE, 5.0, TWO, 5.0, TWO)
    async with followed.running():
        assert followed.feed.changed_at == 10


@pytest.mark.parametrize("end", [gone(), None])
async def test_while_the_source_fails_the_last_snapshot_stays(end: Exception | None) -> None:
    followed = SharedWatch(TWO, end, *[gone()] * 1000)
    async with followed.running():
        assert followed.endpoints == TWO.endpoints
        assert followed.feed.failure is not None
        assert followed.value("dynsrv_source_up") == 0
    assert followed.wakes == [TWO]


async def test_a_source_that_ends_by_itself_has_failed() -> None:
    followed = SharedWatch(ONE, None)
    with capture_logs() as logs:
        async with followed.running():
            pass
    assert [line["reason"] for line in logs if line["log_level"] == "warning"] == ["ended"]
    assert followed.value("dynsrv_source_errors_total", reason="ended") == 1


async def test_a_source_that_fails_is_asked_ever_less_often_but_at_least_every_ten_seconds() -> None:
    followed = SharedWatch(*[gone()] * 30)
    async with followed.running():
        pauses = [after - before for before, after in pairwise(followed.source.watched)]
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4] + [10] * 24)


async def test_after_a_good_answer_the_next_failure_is_a_first_one() -> None:
    followed = SharedWatch(*[gone()] * 8, ONE, gone(), ONE, gone(), gone())
    async with followed.running():
        pauses = [after - before for before, after in pairwise(followed.source.watched)]
    assert pauses[7:] == pytest.approx([10, 0.2, 0.2, 0.4])


async def test_pauses_are_drawn_by_lot_so_that_many_do_not_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def lowest(low: float, high: float) -> float:
        asked.append(low)
        return low

    monkeypatch.setattr(random, "uniform", lowest)
    followed = SharedWatch(*[gone()] * 5)
    async with followed.running():
        assert asked == [0] * 5


async def test_a_source_that_answers_again_is_told() -> None:
    followed = SharedWatch(ONE, gone(), ONE)
    with capture_logs() as logs:
        async with followed.running():
            assert followed.feed.failure is None
            assert followed.value("dynsrv_source_up") == 1
    assert [line["event"] for line in logs] == [
        Event.FIRST_ENDPOINTS_RECEIVED,
        Event.SOURCE_FAILED,
        Event.SOURCE_RECOVERED,
    ]
    assert all((line["backend"], line["source"]) == ("be_app", "file") for line in logs)


async def test_a_failure_is_logged_once_until_it_changes_and_counted_each_time() -> None:
    followed = SharedWatch(*[gone()] * 3, *[gone("it is there, but broken")] * 3)
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
    followed = SharedWatch(ONE, *outage, ONE, *outage)
    with capture_logs() as logs:
        async with followed.running():
            pass
    told = [line.get("error", line["event"]) for line in logs]
    assert told == [Event.FIRST_ENDPOINTS_RECEIVED, "a", "b", "c", Event.SOURCE_RECOVERED, "a", "b", "c"]
    assert followed.value("dynsrv_source_errors_total", reason="missing") == 12


def noting(*notes: str, snapshot: Snapshot = ONE) -> Snapshot:
    return Snapshot(snapshot.endpoints, notes=notes)


def notes_of(logs: list[MutableMapping[str, Any]]) -> list[str]:
    return [line["what"] for line in logs if line["event"] == Event.SOURCE_DATA_IGNORED]


async def test_what_the_source_could_not_use_is_logged_once_while_it_stays_and_again_when_it_comes_back() -> None:
    followed = SharedWatch(
        noting("a", "b"), noting("a", "b"), noting("b", "c"), ONE, 5.0, noting("c"), gone(), noting("c"), noting("d")
    )
    with capture_logs() as logs:
        async with followed.running():
            pass
    assert notes_of(logs) == ["a", "b", "c", "c", "d"]
    assert {line["log_level"] for line in logs if "what" in line} == {"warning"}
    assert followed.wakes == [ONE]


async def test_what_the_source_could_not_use_is_logged_with_the_backend_and_its_kind() -> None:
    followed = SharedWatch(noting("a"))
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
        followed = SharedWatch(*script)
        async with followed.running():
            assert followed.value("dynsrv_source_ignored") == ignored, script


async def test_when_the_source_last_answered_is_a_metric() -> None:
    followed = SharedWatch(ONE)
    assert followed.value("dynsrv_source_last_success_timestamp_seconds") is None
    async with followed.running():
        answered = followed.value("dynsrv_source_last_success_timestamp_seconds")
    assert answered is not None
    assert answered > 1_600_000_000


async def test_a_bug_in_a_source_is_no_failure_of_it_and_ends_the_feed() -> None:
    followed = SharedWatch(ONE, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await followed.feed.run()


async def test_a_stopped_feed_closes_its_source() -> None:
    followed = SharedWatch(ONE)
    async with followed.running():
        assert followed.source.closed == 0
    assert followed.source.closed == 1


async def test_endpoints_get_what_the_policy_adds() -> None:
    followed = SharedWatch(ONE)
    async with followed.running():
        assert followed.feed.desired is not None
        (target,) = followed.feed.desired.values()
    assert (target.weight, target.options) == (100, a_policy().options)
