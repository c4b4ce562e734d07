"""What several backends that follow one thing share. More of it is shown by Consul's watches, in test_watch_sharing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from dynsrv.errors import SourceError
from dynsrv.sources.shared_watch import SharedWatch
from tests.fakes.follower import following


class Script(SharedWatch[int]):
    """Tells numbers and raises errors, one a second; at the end it only waits."""

    def __init__(self, *script: int | Exception) -> None:
        super().__init__()
        self.script = list(script)
        self.failures: list[int] = []
        """How many failures there were without news before, each time that it began."""
        self.at_the_end: Exception | None = None
        """What it fails with, once, when it is cancelled."""

    def __repr__(self) -> str:
        return "<Script>"

    async def _run(self) -> None:
        self.failures.append(self._failures)
        try:
            while self.script:
                await asyncio.sleep(1)
                said = self.script.pop(0)
                if isinstance(said, Exception):
                    raise said
                self._publish(said)
            await asyncio.Event().wait()
        finally:
            error, self.at_the_end = self.at_the_end, None
            await asyncio.sleep(0.1)
            if error is not None:
                raise error


def gone() -> SourceError:
    return SourceError("missing", "it is gone")


async def test_it_knows_how_many_follow_it_and_is_done_by_a_task_of_its_name() -> None:
    script = Script(1)
    assert script.subscribers == 0
    async with following(script.subscribe), following(script.subscribe):
        await asyncio.sleep(0)
        assert script.subscribers == 2
        assert "<Script>" in {task.get_name() for task in asyncio.all_tasks()}
    assert script.subscribers == 0


async def test_nothing_is_done_before_anybody_follows() -> None:
    script = Script(1)
    news = script.subscribe()
    await asyncio.sleep(10)
    assert (script.subscribers, script.failures) == (0, [])
    await news.aclose()


async def test_who_follows_after_all_left_is_not_told_what_the_others_knew() -> None:
    script = Script(1)
    async with following(script.subscribe) as first:
        await asyncio.sleep(2)
    script.script = [2]
    async with following(script.subscribe) as second:
        await asyncio.sleep(2)
    assert (first.told, second.told) == ([1], [2])


async def test_failures_are_counted_until_there_are_news() -> None:
    script = Script(gone(), gone(), gone(), 1, gone(), gone())
    async with following(script.subscribe, retry=1.0):
        await asyncio.sleep(60)
    assert script.failures == [0, 1, 2, 3, 1, 2]


async def test_however_many_follow_a_failure_counts_once() -> None:
    script = Script(gone(), gone())
    async with following(script.subscribe, retry=1.0), following(script.subscribe, retry=1.0):
        await asyncio.sleep(60)
    assert script.failures == [0, 1, 2]


async def test_to_leave_is_no_failure() -> None:
    script = Script(1)
    for _ in range(3):
        async with following(script.subscribe):
            await asyncio.sleep(0.5)
    assert script.failures == [0, 0, 0]


async def test_who_listens_slowly_is_told_of_a_failure_behind_news_that_he_did_not_hear() -> None:
    script = Script(1, 2, gone())
    async with aclosing(script.subscribe()) as news:
        assert await anext(news) == 1
        await asyncio.sleep(10)
        with pytest.raises(SourceError, match="it is gone"):
            await anext(news)


async def test_who_listens_slowly_does_not_hear_of_a_failure_that_is_over() -> None:
    script = Script(1, gone(), 2)
    async with following(script.subscribe, retry=1.0), aclosing(script.subscribe()) as news:
        assert await anext(news) == 1
        await asyncio.sleep(10)
        assert await anext(news) == 2
    assert script.subscribers == 0


async def test_what_fails_while_it_is_cancelled_does_not_reach_who_came_after() -> None:
    script = Script(1)
    script.at_the_end = ZeroDivisionError("of those who left")
    async with following(script.subscribe) as before:
        await asyncio.sleep(2)
    async with following(script.subscribe) as after:
        await asyncio.sleep(2)
    assert (before.errors, after.errors) == ([], [])
