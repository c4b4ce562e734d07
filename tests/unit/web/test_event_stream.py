"""Every subscriber of the change feed gets everything first, and then what changed, at their own pace."""

from __future__ import annotations

import asyncio

import pytest

from dynsrv.web.event_stream import HEARTBEAT, KEPT, PERIOD, ChangeFeed
from tests.fakes.subscriber import ScriptedStatus, Subscriber, a_row


def the_tasks() -> list[asyncio.Task[None]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "change feed"]


async def a_period() -> None:
    """Let the feed read the status at least once more."""
    await asyncio.sleep(2 * PERIOD)


async def test_the_first_event_has_everything_and_the_next_one_only_what_changed() -> None:
    status = ScriptedStatus(one={"a": 1, "b": 2}, other={"c": 3})
    async with Subscriber(status.feed) as subscriber:
        assert await subscriber.next_change() == {
            "reset": True,
            "set": {"a": a_row(1), "b": a_row(2), "c": a_row(3)},
            "unset": [],
        }
        status.sections["one"] = {"a": 1, "b": 5}
        assert await subscriber.next_change() == {"reset": False, "set": {"b": a_row(5)}, "unset": []}


async def test_several_changes_are_one_event_for_a_slow_subscriber() -> None:
    status = ScriptedStatus(one={"a": 1})
    async with Subscriber(status.feed) as subscriber:
        await subscriber.next_change()
        for rows in ({"a": 2, "b": 1}, {"a": 3, "b": 1, "c": 1}, {"a": 4, "c": 1}):
            status.sections["one"] = dict(rows)
            await a_period()
        assert await subscriber.next_change() == {"reset": False, "set": {"a": a_row(4), "c": a_row(1)}, "unset": ["b"]}
        assert await subscriber.read() == b""


@pytest.mark.parametrize(("changes", "reset"), [(KEPT, False), (KEPT + 1, True)])
async def test_a_subscriber_that_is_too_slow_starts_over(changes: int, *, reset: bool) -> None:
    status = ScriptedStatus(one={"a": 0, "same": 0})
    async with Subscriber(status.feed) as slow, Subscriber(status.feed) as quick:
        await slow.next_change()
        await quick.next_change()
        for number in range(1, changes + 1):
            status.sections["one"]["a"] = number
            await quick.next_change()
        event = await slow.next_change()
        assert event["reset"] is reset
        assert ("same" in event["set"]) is reset
        assert slow.rows == quick.rows == status.rows


async def test_a_heartbeat_comes_while_nothing_changes() -> None:
    loop = asyncio.get_running_loop()
    status = ScriptedStatus(one={"a": 1})
    async with Subscriber(status.feed) as subscriber:
        await subscriber.next_change()
        for _ in range(3):
            began = loop.time()
            assert await subscriber.read() == b""
            assert loop.time() - began == pytest.approx(HEARTBEAT)


async def test_a_later_subscriber_gets_everything_at_once() -> None:
    loop = asyncio.get_running_loop()
    status = ScriptedStatus(one={"a": 1})
    async with Subscriber(status.feed) as first, Subscriber(status.feed) as later:
        await first.next_change()
        await a_period()
        began = loop.time()
        assert (await later.next_change())["reset"]
        assert later.rows == status.rows
        assert loop.time() == began


async def test_an_empty_status_is_an_event_too() -> None:
    async with Subscriber(ScriptedStatus().feed) as subscriber:
        assert await subscriber.read() == b'{"reset":true,"set":{},"unset":[]}'


async def test_a_section_with_an_equal_state_is_not_written_again() -> None:
    status = ScriptedStatus(one={"a": 1}, other={"b": 1})
    async with Subscriber(status.feed) as subscriber:
        await subscriber.next_change()
        status.sections["one"] = {"a": 2}
        await subscriber.next_change()
        await subscriber.read()
        assert status.reads > 10
        assert status.written == ["one", "other", "one"]


async def test_a_row_that_is_written_again_but_equal_is_no_change() -> None:
    status = ScriptedStatus(one={"a": 1, "b": 2})
    async with Subscriber(status.feed) as subscriber:
        await subscriber.next_change()
        status.sections["one"] = {"b": 2, "a": 1}
        assert await subscriber.read() == b""
        assert status.written == ["one", "one"]


async def test_the_rows_of_a_removed_section_are_unset() -> None:
    status = ScriptedStatus(one={"a": 1}, other={"b": 1, "c": 1})
    async with Subscriber(status.feed) as subscriber:
        await subscriber.next_change()
        del status.sections["other"]
        event = await subscriber.next_change()
        assert (event["set"], sorted(event["unset"])) == ({}, ["b", "c"])


async def test_a_row_that_moves_to_another_section_is_not_lost() -> None:
    status = ScriptedStatus(**{name: {"a": 1} if name == "p0" else {} for name in ("p0", "p1", "p2", "p3")})
    async with Subscriber(status.feed) as subscriber:
        await subscriber.next_change()
        for number in range(4):
            status.sections[f"p{number}"], status.sections[f"p{(number + 1) % 4}"] = {}, {"a": number}
            await subscriber.next_change()
            assert subscriber.rows == status.rows


async def test_the_status_is_not_read_while_there_are_no_subscribers() -> None:
    status = ScriptedStatus(one={"a": 1})
    async with Subscriber(status.feed) as first, Subscriber(status.feed) as second:
        await first.next_change()
        await second.next_change()
        assert len(the_tasks()) == 1
    await asyncio.sleep(0)
    assert the_tasks() == []
    reads = status.reads
    await asyncio.sleep(10 * PERIOD)
    assert status.reads == reads


async def test_the_feed_continues_when_one_of_several_subscribers_leaves() -> None:
    status = ScriptedStatus(one={"a": 1})
    async with Subscriber(status.feed) as stays:
        async with Subscriber(status.feed) as goes:
            await goes.next_change()
            await stays.next_change()
        status.sections["one"] = {"a": 2}
        assert (await stays.next_change())["set"] == {"a": a_row(2)}


async def test_a_subscriber_right_after_the_last_one_left_gets_everything() -> None:
    status = ScriptedStatus(one={"a": 1})
    for number in range(3):
        status.sections["one"] = {"a": number}
        async with Subscriber(status.feed) as subscriber:
            assert await subscriber.next_change() == {"reset": True, "set": {"a": a_row(number)}, "unset": []}
        # and the task has not noticed yet that it is cancelled


async def test_two_first_subscribers_at_once_both_get_everything() -> None:
    status = ScriptedStatus(one={"a": 1})
    async with Subscriber(status.feed) as one, Subscriber(status.feed) as other:
        await asyncio.gather(one.next_change(), other.next_change())
        assert status.reads == 1
        assert one.rows == other.rows == status.rows


async def test_an_event_is_written_once_for_all_subscribers() -> None:
    status = ScriptedStatus(one={"a": 1})
    first, second = status.feed.subscribe(), status.feed.subscribe()
    assert await anext(first) is await anext(second)
    status.sections["one"] = {"a": 2}
    assert await anext(first) is await anext(second)
    await first.aclose()
    await second.aclose()


async def test_a_bug_reaches_the_subscribers_instead_of_hanging_them() -> None:
    status = ScriptedStatus(one={"a": 1})
    async with Subscriber(status.feed) as one, Subscriber(status.feed) as other:
        await one.next_change()
        await other.next_change()
        status.broken = ZeroDivisionError("a bug")
        results = await asyncio.gather(one.read(), other.read(), return_exceptions=True)
        assert [str(result) for result in results] == ["a bug", "a bug"]


async def test_a_bug_in_the_first_read_reaches_the_subscriber() -> None:
    status = ScriptedStatus(one={"a": 1})
    status.broken = ZeroDivisionError("a bug")
    async with Subscriber(status.feed) as subscriber:
        with pytest.raises(ZeroDivisionError):
            await subscriber.read()


async def test_after_a_bug_a_new_subscriber_gets_everything() -> None:
    status = ScriptedStatus(one={"a": 1})
    async with Subscriber(status.feed) as slow:
        await slow.next_change()
        status.broken = ZeroDivisionError("a bug")
        await a_period()
        status.broken = None
        status.sections["one"] = {"a": 2}
        async with Subscriber(status.feed) as later:
            await later.next_change()  # what was seen before the bug
            await later.next_change()
            assert later.rows == status.rows
        await slow.next_change()  # which never noticed
        assert slow.rows == status.rows


async def test_other_tasks_run_while_a_large_status_is_written() -> None:
    status = ScriptedStatus(one={f"server {number}": number for number in range(2000)})
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    async with Subscriber(status.feed) as subscriber:
        await subscriber.next_change()
        assert turns >= 10
    counting.cancel()


async def test_a_subscriber_that_is_cancelled_during_the_first_read_leaves_no_task() -> None:
    feed = ChangeFeed(ScriptedStatus(one={str(number): number for number in range(1000)}).read)
    listening = asyncio.create_task(anext(feed.subscribe()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await a_period()
    assert the_tasks() == []
