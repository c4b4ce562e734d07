"""A source is told which of its servers HAProxy still has, as of a time when HAProxy knew what the source wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from dynsrv.errors import SourceError
from dynsrv.metrics import Metrics
from dynsrv.model import Snapshot
from dynsrv.planning import Policy
from dynsrv.sources.feed import Feed
from tests.fakes.builders import a_backend, a_policy, a_server, an_endpoint
from tests.fakes.managed import UNCHECKED, Managed
from tests.fakes.sources import ScriptedSource

ONE = Snapshot((an_endpoint(1),))
TWO = Snapshot((an_endpoint(1), an_endpoint(2)))
NONE = Snapshot(())


class Told:
    """A feed, and what it told its source: the names of the servers that were still there, each time."""

    def __init__(self, clock: Callable[[], float], *, proxies: int = 1, policy: Policy = UNCHECKED) -> None:
        self.source = ScriptedSource()
        self.feed = Feed(self.source, backend="be_app", kind="file", policy=policy, metrics=Metrics(), clock=clock)
        for _ in range(proxies):
            self.feed.subscribe(lambda: None)

    @property
    def left(self) -> list[list[str]]:
        return [[server.name for server in servers] for servers in self.source.left]

    def on_observed(self, proxy: str, *names: str, changed_at: float | None = None) -> None:
        """Let a pass of a proxy be over that began with the snapshot of then, and found these servers."""
        servers = [a_server(an_endpoint(host), name=name) for host, name in enumerate(names, start=1)]
        when = self.feed.changed_at if changed_at is None else changed_at
        self.feed.on_observed(proxy, a_backend(*servers), changed_at=when)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


# ---- by the feed


def test_a_source_is_told_which_servers_are_still_there_each_time_that_haproxy_was_looked_at() -> None:
    told = Told(Clock())
    told.feed.take(ONE)
    assert told.left == []
    told.on_observed("lb1", "dyn-1", "dyn-2")
    told.on_observed("lb1", "dyn-1")
    told.on_observed("lb1")
    assert told.left == [["dyn-1", "dyn-2"], ["dyn-1"], []]


def test_a_source_is_told_only_when_every_proxy_was_looked_at() -> None:
    told = Told(Clock(), proxies=2)
    told.feed.take(ONE)
    told.on_observed("lb1", "dyn-1")
    told.on_observed("lb1", "dyn-2")
    assert told.left == []
    told.on_observed("lb2", "dyn-3")
    assert told.left == [["dyn-2", "dyn-3"]]
    told.on_observed("lb1")
    assert told.left[1:] == [["dyn-3"]]


def test_what_a_pass_found_that_began_with_an_older_snapshot_is_not_told() -> None:
    told = Told(Clock(), proxies=2)
    told.feed.take(ONE)
    before = told.feed.changed_at
    told.feed.take(TWO)
    told.on_observed("lb1", "dyn-1", changed_at=before)
    told.on_observed("lb2", "dyn-2", changed_at=before)
    assert told.left == []
    told.on_observed("lb1", "dyn-3")
    assert told.left == []
    told.on_observed("lb2", "dyn-4")
    assert told.left == [["dyn-3", "dyn-4"]]


def test_when_the_snapshot_changes_every_proxy_has_to_be_looked_at_again() -> None:
    told = Told(Clock())
    told.feed.take(ONE)
    told.on_observed("lb1", "dyn-1")
    for snapshot in (TWO, ONE, TWO):
        told.feed.take(snapshot)
        assert told.left == [["dyn-1"]]
    told.on_observed("lb1", "dyn-2")
    assert told.left == [["dyn-1"], ["dyn-2"]]


def test_with_each_snapshot_that_changes_nothing_a_source_is_told_again_what_was_seen_last() -> None:
    told = Told(Clock())
    told.feed.take(ONE)
    told.on_observed("lb1", "dyn-1")
    told.feed.take(ONE)
    told.feed.take(Snapshot(ONE.endpoints, notes=("a note changes nothing",)))
    assert told.left == [["dyn-1"]] * 3


def test_before_haproxy_was_looked_at_a_source_is_not_told_that_nothing_is_there() -> None:
    told = Told(Clock())
    for snapshot in (NONE, NONE, ONE, ONE):
        told.feed.take(snapshot)
    assert told.left == []


def test_a_source_is_told_of_dynsrv_s_own_servers_alone() -> None:
    told = Told(Clock(), policy=a_policy(prefix="web-"))
    told.feed.take(ONE)
    told.on_observed("lb1", "static", "dyn-1", "web-1")
    assert told.left == [["web-1"]]


def test_where_all_servers_are_dynsrv_s_a_source_is_told_of_all() -> None:
    told = Told(Clock(), policy=a_policy(adopt_all=True))
    told.feed.take(ONE)
    told.on_observed("lb1", "static", "dyn-1")
    assert told.left == [["static", "dyn-1"]]


# ---- when nobody follows any more


async def test_a_feed_that_is_stopped_closes_its_source_and_one_that_only_failed_does_not() -> None:
    told = Told(Clock())
    told.source.script = [ONE, SourceError("missing", "it is gone"), ONE]
    task = asyncio.create_task(told.feed.run())
    await asyncio.sleep(100)
    assert len(told.source.watched) == 2
    assert not told.source.ended
    task.cancel()
    await asyncio.wait([task])
    assert told.source.ended


async def test_a_feed_that_is_stopped_while_its_source_fails_closes_it() -> None:
    told = Told(Clock())
    told.source.script = [SourceError("missing", "it is gone") for _ in range(1000)]
    task = asyncio.create_task(told.feed.run())
    await asyncio.sleep(100)
    assert told.feed.failure is not None
    task.cancel()
    await asyncio.wait([task])
    assert told.source.ended


async def test_a_feed_that_a_bug_ends_closes_its_source() -> None:
    told = Told(Clock())
    told.source.script = [ZeroDivisionError()]
    with pytest.raises(ZeroDivisionError):
        await told.feed.run()
    assert told.source.ended


# ---- by the passes over HAProxy


@asynccontextmanager
async def following(managed: Managed, snapshot: Snapshot) -> AsyncIterator[Told]:
    """Let a reconciler follow a feed."""
    told = Told(managed.haproxy.clock, proxies=0, policy=managed.policy)
    told.feed.subscribe(managed.reconciler.wake)
    told.feed.take(snapshot)
    task = asyncio.create_task(managed.reconciler.run(told.feed))
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_each_pass_tells_the_source_what_it_found_before_it_did_anything() -> None:
    managed = Managed()
    async with following(managed, ONE) as told:
        await asyncio.sleep(10)
    assert told.left == [[], ["dyn-10.0.0.1:80"]]
    async with following(managed, NONE) as told:
        await asyncio.sleep(10)
    assert told.left == [["dyn-10.0.0.1:80"], ["dyn-10.0.0.1:80"], []]


async def test_a_pass_that_failed_tells_the_source_nothing() -> None:
    managed = Managed()
    managed.refuse(1000)
    async with following(managed, ONE) as told:
        await asyncio.sleep(100)
    assert told.left == []


async def test_while_passes_fail_what_an_earlier_one_found_is_not_told_as_if_it_were_new() -> None:
    managed = Managed()
    async with following(managed, ONE) as told:
        await asyncio.sleep(1)
        told.source.left.clear()
        managed.refuse(1000)
        managed.haproxy.advance(1)
        told.feed.take(NONE)
        await asyncio.sleep(100)
    assert told.left == []


async def test_a_pass_that_a_reload_cut_short_tells_the_source_nothing() -> None:
    managed = Managed()
    managed.behind.wire.before_line = lambda line: (
        managed.haproxy.reload() if line.startswith("enable server") else None
    )
    async with following(managed, ONE) as told:
        await asyncio.sleep(10)
    assert managed.value("dynsrv_reconcile_total", result="reloaded")
    assert told.left == []


async def test_a_backend_that_takes_no_servers_tells_the_source_nothing() -> None:
    managed = Managed(algorithm="static-rr")
    async with following(managed, ONE) as told:
        await asyncio.sleep(100)
    assert told.left == []


async def test_a_snapshot_that_comes_during_a_pass_makes_what_that_pass_found_count_for_nothing() -> None:
    managed = Managed()
    known: list[int] = []
    """How often the source had been told when each pass began, from the one on in which the snapshot changes."""
    async with following(managed, ONE) as told:
        await asyncio.sleep(1)
        told.source.left.clear()

        def change(line: str) -> None:
            if line.startswith("show servers state"):
                if not known:
                    managed.haproxy.advance(1)
                    told.feed.take(TWO)
                known.append(len(told.left))

        managed.behind.wire.before_line = change
        managed.reconciler.wake()
        await asyncio.sleep(10)
    assert known[:3] == [0, 0, 1]
    assert told.left[-1] == ["dyn-10.0.0.1:80", "dyn-10.0.0.2:80"]
