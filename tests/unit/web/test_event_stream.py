"""Everyone who follows the board is told everything first, and then what changed, at their own pace."""

from __future__ import annotations

import asyncio

import pytest

from dynsrv.web.event_stream import HEARTBEAT, KEPT, PERIOD, ChangeFeed
from tests.fakes.news import Follower, Things


def the_tasks() -> list[asyncio.Task[None]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "board"]


async def a_look() -> None:
    """Let the board look once more, at least."""
    await asyncio.sleep(2 * PERIOD)


async def test_everything_is_told_first_and_then_only_what_changed() -> None:
    things = Things(one={"a": 1, "b": 2}, other={"c": 3})
    async with Follower(things.board) as follower:
        assert await follower.hears() == {
            "reset": True,
            "set": {"a": {"is": 1}, "b": {"is": 2}, "c": {"is": 3}},
            "unset": [],
        }
        things.sections["one"] = {"a": 1, "b": 5}
        assert await follower.hears() == {"reset": False, "set": {"b": {"is": 5}}, "unset": []}


async def test_several_changes_are_one_event_for_who_is_slow() -> None:
    things = Things(one={"a": 1})
    async with Follower(things.board) as follower:
        await follower.hears()
        for rows in ({"a": 2, "b": 1}, {"a": 3, "b": 1, "c": 1}, {"a": 4, "c": 1}):
            things.sections["one"] = dict(rows)
            await a_look()
        assert await follower.hears() == {"reset": False, "set": {"a": {"is": 4}, "c": {"is": 1}}, "unset": ["b"]}
        assert await follower.listen() == ""


@pytest.mark.parametrize(("changes", "anew"), [(KEPT, False), (KEPT + 1, True)])
async def test_who_is_too_slow_begins_anew(changes: int, *, anew: bool) -> None:
    things = Things(one={"a": 0, "same": 0})
    async with Follower(things.board) as slow, Follower(things.board) as quick:
        await slow.hears()
        await quick.hears()
        for number in range(1, changes + 1):
            things.sections["one"]["a"] = number
            await quick.hears()
        event = await slow.hears()
        assert event["reset"] is anew
        assert ("same" in event["set"]) is anew
        assert slow.rows == quick.rows == things.rows


async def test_that_nothing_is_new_is_told_from_time_to_time() -> None:
    loop = asyncio.get_running_loop()
    things = Things(one={"a": 1})
    async with Follower(things.board) as follower:
        await follower.hears()
        for _ in range(3):
            began = loop.time()
            assert await follower.listen() == ""
            assert loop.time() - began == pytest.approx(HEARTBEAT)


async def test_who_comes_later_is_told_everything_at_once() -> None:
    loop = asyncio.get_running_loop()
    things = Things(one={"a": 1})
    async with Follower(things.board) as first, Follower(things.board) as later:
        await first.hears()
        await a_look()
        began = loop.time()
        assert (await later.hears())["reset"]
        assert later.rows == things.rows
        assert loop.time() == began


async def test_there_is_an_event_even_if_there_is_nothing_to_tell() -> None:
    async with Follower(Things().board) as follower:
        assert await follower.listen() == '{"reset":true,"set":{},"unset":[]}'


async def test_a_part_whose_state_is_equal_is_not_written_again() -> None:
    things = Things(one={"a": 1}, other={"b": 1})
    async with Follower(things.board) as follower:
        await follower.hears()
        things.sections["one"] = {"a": 2}
        await follower.hears()
        await follower.listen()
        assert things.looks > 10
        assert things.written == ["one", "other", "one"]


async def test_a_row_that_is_written_again_but_the_same_is_no_news() -> None:
    things = Things(one={"a": 1, "b": 2})
    async with Follower(things.board) as follower:
        await follower.hears()
        things.sections["one"] = {"b": 2, "a": 1}
        assert await follower.listen() == ""
        assert things.written == ["one", "one"]


async def test_the_rows_of_a_part_that_is_gone_are_unset() -> None:
    things = Things(one={"a": 1}, other={"b": 1, "c": 1})
    async with Follower(things.board) as follower:
        await follower.hears()
        del things.sections["other"]
        event = await follower.hears()
        assert (event["set"], sorted(event["unset"])) == ({}, ["b", "c"])


async def test_a_row_that_moves_to_another_part_is_not_lost() -> None:
    things = Things(**{name: {"a": 1} if name == "p0" else {} for name in ("p0", "p1", "p2", "p3")})
    async with Follower(things.board) as follower:
        await follower.hears()
        for number in range(4):
            things.sections[f"p{number}"], things.sections[f"p{(number + 1) % 4}"] = {}, {"a": number}
            await follower.hears()
            assert follower.rows == things.rows


async def test_nobody_looks_while_nobody_follows() -> None:
    things = Things(one={"a": 1})
    async with Follower(things.board) as first, Follower(things.board) as second:
        await first.hears()
        await second.hears()
        assert len(the_tasks()) == 1
    await asyncio.sleep(0)
    assert the_tasks() == []
    looks = things.looks
    await asyncio.sleep(10 * PERIOD)
    assert things.looks == looks


async def test_it_goes_on_for_those_who_stay() -> None:
    things = Things(one={"a": 1})
    async with Follower(things.board) as stays:
        async with Follower(things.board) as goes:
            await goes.hears()
            await stays.hears()
        things.sections["one"] = {"a": 2}
        assert (await stays.hears())["set"] == {"a": {"is": 2}}


async def test_who_follows_right_after_the_last_one_left_is_told_everything() -> None:
    things = Things(one={"a": 1})
    for number in range(3):
        things.sections["one"] = {"a": number}
        async with Follower(things.board) as follower:
            assert await follower.hears() == {"reset": True, "set": {"a": {"is": number}}, "unset": []}
        # and the task has not noticed yet that it is cancelled


async def test_two_who_are_the_first_at_once_are_both_told() -> None:
    things = Things(one={"a": 1})
    async with Follower(things.board) as one, Follower(things.board) as other:
        await asyncio.gather(one.hears(), other.hears())
        assert things.looks == 1
        assert one.rows == other.rows == things.rows


async def test_the_news_are_written_once_for_all() -> None:
    things = Things(one={"a": 1})
    first, second = things.board.subscribe(), things.board.subscribe()
    assert await anext(first) is await anext(second)
    things.sections["one"] = {"a": 2}
    assert await anext(first) is await anext(second)
    await first.aclose()
    await second.aclose()


async def test_a_bug_reaches_those_who_follow_instead_of_hanging_them() -> None:
    things = Things(one={"a": 1})
    async with Follower(things.board) as one, Follower(things.board) as other:
        await one.hears()
        await other.hears()
        things.broken = ZeroDivisionError("a bug")
        results = await asyncio.gather(one.listen(), other.listen(), return_exceptions=True)
        assert [str(result) for result in results] == ["a bug", "a bug"]


async def test_a_bug_at_the_first_look_reaches_who_follows() -> None:
    things = Things(one={"a": 1})
    things.broken = ZeroDivisionError("a bug")
    async with Follower(things.board) as follower:
        with pytest.raises(ZeroDivisionError):
            await follower.listen()


async def test_who_comes_after_a_bug_is_told_as_if_there_had_been_none() -> None:
    things = Things(one={"a": 1})
    async with Follower(things.board) as slow:
        await slow.hears()
        things.broken = ZeroDivisionError("a bug")
        await a_look()
        things.broken = None
        things.sections["one"] = {"a": 2}
        async with Follower(things.board) as later:
            await later.hears()  # what was seen before the bug
            await later.hears()
            assert later.rows == things.rows
        await slow.hears()  # which never noticed
        assert slow.rows == things.rows


async def test_others_get_their_turn_while_much_is_written() -> None:
    things = Things(one={f"server {number}": number for number in range(2000)})
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    async with Follower(things.board) as follower:
        await follower.hears()
        assert turns >= 10
    counting.cancel()


async def test_who_stops_listening_in_the_middle_of_the_first_look_leaves_nothing_behind() -> None:
    board = ChangeFeed(Things(one={str(number): number for number in range(1000)}).read)
    listening = asyncio.create_task(anext(board.subscribe()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await a_look()
    assert the_tasks() == []
