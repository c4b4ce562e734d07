from __future__ import annotations

from pathlib import Path

import pytest

from dynsrv.daemon.config_watch import POLL_INTERVAL, watch_config


async def changed_at(*contents: bytes | OSError) -> list[int]:
    """Return at which looks a change is told, when the file holds *contents* one after the other."""
    looks = iter(contents)
    told: list[int] = []
    view = -1

    class Over(Exception):
        pass

    def read(_: Path) -> bytes:
        nonlocal view
        content = next(looks)
        view += 1
        if isinstance(content, OSError):
            raise content
        return content

    async def sleep(seconds: float) -> None:
        assert seconds == POLL_INTERVAL
        if view == len(contents) - 1:
            raise Over

    async def follow() -> None:
        changes = watch_config(Path("dynsrv.yaml"), sleep=sleep, read=read)
        while True:
            await anext(changes)
            told.append(view)

    with pytest.raises(Over):
        await follow()
    return told


async def test_a_file_that_stays_as_it_is_makes_no_change() -> None:
    assert await changed_at(b"a", b"a", b"a", b"a") == []


async def test_what_is_new_counts_once_it_was_the_same_at_two_looks() -> None:
    assert await changed_at(b"a", b"b", b"b", b"b", b"b") == [2]


async def test_a_file_that_is_still_being_written_is_left_alone() -> None:
    assert await changed_at(b"a", b"ab", b"abc", b"abcd", b"abcd") == [4]


async def test_what_was_there_before_is_no_change_when_it_is_back() -> None:
    assert await changed_at(b"a", b"b", b"a", b"a", b"a") == []


async def test_a_file_that_is_gone_is_a_change_and_its_return_another() -> None:
    gone = FileNotFoundError()
    assert await changed_at(b"a", gone, b"a", b"a") == []
    assert await changed_at(b"a", gone, gone, gone, b"a", b"a") == [2, 5]
