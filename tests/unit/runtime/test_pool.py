from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from dynsrv.runtime import UnixAddress, commands, errors
from dynsrv.runtime.connecting import connect
from dynsrv.runtime.connection import Connection
from dynsrv.runtime.pool import Pool
from tests.fakes.haproxy import FakeHAProxy
from tests.fakes.streams import Hang, Wire

INFO = commands.info()


class Pooled:
    """A pool, and the wire that counts its connections."""

    def __init__(self, *, size: int = 2, pool_timeout: float = 10.0, idle_timeout: float = 1.0) -> None:
        self.wire = Wire(FakeHAProxy())
        self.pool = Pool(self.connect, name="lb1", size=size, pool_timeout=pool_timeout, idle_timeout=idle_timeout)

    async def connect(self) -> Connection:
        return await connect(UnixAddress("/run/s"), timeout=1.0, opener=self.wire)

    @asynccontextmanager
    async def lent(self, count: int) -> AsyncIterator[list[Connection]]:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.pool.connection()) for _ in range(count)]

    @property
    def opened(self) -> int:
        return len(self.wire.connections)


async def test_a_connection_that_came_back_is_lent_again() -> None:
    pooled = Pooled()
    async with pooled.pool.connection() as first:
        pass
    async with pooled.pool.connection() as second:
        pass
    assert first is second
    assert pooled.opened == 1


async def test_the_last_that_came_back_is_lent_first() -> None:
    pooled = Pooled()
    async with pooled.lent(2) as (first, _):
        pass  # the stack gives back in reverse: the first is the last
    async with pooled.pool.connection() as again:
        assert again is first


async def test_a_fresh_connection_is_a_new_one_although_others_are_idle() -> None:
    pooled = Pooled()
    async with pooled.pool.connection() as idle:
        pass
    async with pooled.pool.connection(fresh=True) as fresh:
        assert fresh is not idle


async def test_no_more_connections_than_the_size_are_lent() -> None:
    pooled = Pooled(size=2)
    async with pooled.lent(2):
        waiting = asyncio.create_task(pooled.lent(1).__aenter__())
        await asyncio.sleep(5)
        assert not waiting.done()
        assert pooled.opened == 2
    await waiting
    assert pooled.opened == 2


async def test_who_waits_too_long_is_told_how_many_connections_are_in_use() -> None:
    pooled = Pooled(size=2, pool_timeout=3)
    async with pooled.lent(2):
        began = asyncio.get_running_loop().time()
        with pytest.raises(errors.PoolTimeout, match=r"^lb1: all 2 connections were in use for 3 s$") as caught:
            await pooled.lent(1).__aenter__()
        assert asyncio.get_running_loop().time() - began == pytest.approx(3)
        assert isinstance(caught.value, errors.NotSent)
    async with pooled.lent(2):
        pass


async def test_who_waits_longest_is_served_first() -> None:
    pooled = Pooled(size=1)
    served: list[int] = []

    async def use(number: int) -> None:
        async with pooled.pool.connection():
            served.append(number)
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(use(number))
    assert served == [0, 1, 2, 3]


async def test_an_idle_connection_is_closed_soon_because_it_keeps_an_old_worker_alive() -> None:
    pooled = Pooled(idle_timeout=1.0)
    async with pooled.pool.connection():
        await asyncio.sleep(5)  # in use, which is not idle
    await asyncio.sleep(0.9)
    assert len(pooled.wire.open) == 1
    await asyncio.sleep(0.2)
    assert pooled.wire.open == []
    async with pooled.pool.connection() as connection:
        assert connection.reusable


async def test_a_connection_that_is_used_again_and_again_does_not_expire() -> None:
    pooled = Pooled(idle_timeout=1.0)
    for _ in range(5):
        async with pooled.pool.connection():
            await asyncio.sleep(0.9)
        await asyncio.sleep(0.9)
    assert pooled.opened == 1


async def test_a_broken_connection_is_not_lent_again() -> None:
    pooled = Pooled()
    async with pooled.pool.connection() as broken:
        pooled.wire.connections[0].spoil(Hang())
        with pytest.raises(errors.ReplyTimeout):
            await broken.exchange([INFO], timeout=1)
    async with pooled.pool.connection() as other:
        assert other is not broken
    assert len(pooled.wire.open) == 1


async def test_a_connection_that_haproxy_closed_while_it_was_idle_is_not_lent_again() -> None:
    pooled = Pooled()
    async with pooled.lent(2):
        pass
    for connection in pooled.wire.connections:
        connection.end()
    async with pooled.pool.connection() as other:
        assert other.reusable
    assert pooled.opened == 3
    assert len(pooled.wire.open) == 1


async def test_who_is_cancelled_while_it_waits_takes_nothing_with_it() -> None:
    pooled = Pooled(size=1)
    async with pooled.pool.connection():
        waiting = asyncio.create_task(pooled.lent(1).__aenter__())
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with pooled.pool.connection():
        pass
    assert pooled.opened == 1


async def test_who_is_cancelled_while_it_awaits_a_reply_leaves_no_usable_connection_behind() -> None:
    pooled = Pooled(size=1)

    async def use() -> None:
        async with pooled.pool.connection() as connection:
            pooled.wire.connections[0].spoil(Hang())
            await connection.exchange([INFO], timeout=10)

    using = asyncio.create_task(use())
    await asyncio.sleep(1)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert pooled.wire.open == []
    async with pooled.pool.connection() as other:
        await other.exchange([INFO], timeout=1)


async def test_who_is_cancelled_while_it_has_a_connection_and_no_reply_to_come_gives_it_back() -> None:
    pooled = Pooled(size=1)

    async def use() -> None:
        async with pooled.pool.connection():
            await asyncio.sleep(10)

    using = asyncio.create_task(use())
    await asyncio.sleep(1)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    async with pooled.pool.connection():
        assert pooled.opened == 1


async def test_a_connection_that_cannot_be_made_takes_no_place() -> None:
    pooled = Pooled(size=1)
    pooled.wire.refusals = [ConnectionRefusedError(111, "refused")] * 3
    for _ in range(3):
        with pytest.raises(errors.ConnectFailed):
            await pooled.lent(1).__aenter__()
    async with pooled.pool.connection() as connection:
        assert connection.reusable


async def test_closing_closes_the_idle_now_and_the_lent_when_they_come_back() -> None:
    pooled = Pooled()
    async with pooled.lent(2):
        pass
    async with pooled.pool.connection() as lent:
        pooled.pool.close()
        assert len(pooled.wire.open) == 1
        assert lent.reusable
    assert pooled.wire.open == []


async def test_a_pool_says_how_much_of_it_is_idle() -> None:
    pooled = Pooled(size=3)
    async with pooled.lent(2):
        pass
    assert repr(pooled.pool) == "<Pool lb1 idle=2 size=3>"
