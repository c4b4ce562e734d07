"""Where AWS' client works: these tests alone use a real thread, for some milliseconds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from dynsrv.sources.ec2.thread import LoopThread


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    """A thread with its loop, which is stopped at the end."""
    thread = LoopThread("aws of a test")
    yield thread
    for worker in workers():
        loop = asyncio.run(thread.run(its_loop()))
        loop.call_soon_threadsafe(loop.stop)
        worker.join(1)
        loop.close()


def workers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "aws of a test"]


async def its_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def who() -> str:
    return threading.current_thread().name


class Work:
    """Something that takes until it may finish."""

    def __init__(self, thread: LoopThread) -> None:
        self._thread = thread
        self._began = threading.Event()
        self.cancelled = threading.Event()
        self.done = threading.Event()
        self._go = asyncio.Event()

    async def run(self) -> None:
        self._began.set()
        try:
            await self._go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        self.done.set()

    async def has_begun(self) -> None:
        await asyncio.to_thread(self._began.wait, 5)

    async def finish(self) -> None:
        async def go() -> None:
            self._go.set()

        await self._thread.run(go())


async def test_the_thread_begins_with_the_first_work_and_does_all_of_it(thread: LoopThread) -> None:
    assert workers() == []
    assert {await thread.run(who()), await thread.run(who())} == {"aws of a test"}
    (worker,) = workers()
    assert worker.daemon


async def test_work_that_computes_does_not_hold_up_who_waits_for_it(thread: LoopThread) -> None:
    going = threading.Event()

    async def compute() -> float:
        assert going.wait(5)
        return time.monotonic()

    computing = asyncio.create_task(thread.run(compute()))
    for _ in range(3):
        await asyncio.sleep(0)
    went_on = time.monotonic()
    going.set()
    assert await computing >= went_on


async def test_several_works_are_done_at_once(thread: LoopThread) -> None:
    one, other = Work(thread), Work(thread)
    working = [asyncio.create_task(thread.run(each.run())) for each in (one, other)]
    await one.has_begun()
    await other.has_begun()
    await one.finish()
    await other.finish()
    await asyncio.gather(*working)


async def test_what_the_work_raises_is_raised_where_it_was_asked_for(thread: LoopThread) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await thread.run(fail())
    with pytest.raises(ZeroDivisionError):
        await thread.run_to_completion(fail())


async def test_to_cancel_the_wait_cancels_the_work(thread: LoopThread) -> None:
    work = Work(thread)
    waiting = asyncio.create_task(thread.run(work.run()))
    await work.has_begun()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.to_thread(work.cancelled.wait, 5)
    assert not work.done.is_set()


async def test_to_cancel_who_finishes_something_lets_it_be_finished(thread: LoopThread) -> None:
    work = Work(thread)
    waiting = asyncio.create_task(thread.run_to_completion(work.run()))
    await work.has_begun()
    for _ in range(2):
        waiting.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not waiting.done()
    await work.finish()
    await asyncio.wait([waiting])
    assert work.done.is_set()
    assert not work.cancelled.is_set()


async def test_who_is_cancelled_while_finishing_something_is_cancelled_when_it_is_finished(thread: LoopThread) -> None:
    work = Work(thread)
    waiting = asyncio.create_task(thread.run_to_completion(work.run()))
    await work.has_begun()
    waiting.cancel()
    await asyncio.sleep(0)
    await work.finish()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
