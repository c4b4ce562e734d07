"""A source is told which of its servers HAProxy still has, as of a time when HAProxy knew what the source wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from dynsrv.metrics import Metrics
from dynsrv.model import Snapshot
from dynsrv.planning import Policy
from dynsrv.reconcile.desired import DesiredState
from dynsrv.sources.feed import Feed
from tests.fakes.builders import a_backend, a_policy, a_server, an_endpoint
from tests.fakes.managed import UNCHECKED, Managed
from tests.fakes.sources import ScriptedSource

ONE = Snapshot((an_endpoint(1),))
TWO = Snapshot((an_endpoint(1), an_endpoint(2)))
NONE = Snapshot(())


class Told:
    """A desired state, and what it told its source: the names of the servers that were left, each time."""

    def __init__(self, clock: Callable[[], float], *, proxies: Sequence[str] = ("lb1",), policy: Policy = UNCHECKED):
        self.source = ScriptedSource()
        metrics = Metrics()
        self.feed = Feed(self.source, backend="be_app", kind="file", metrics=metrics)
        self.state = DesiredState([self.feed], backend="be_app", policy=policy, metrics=metrics, clock=clock)
        for proxy in proxies:
            self.state.subscribe(proxy, lambda: None)

    @property
    def left(self) -> list[list[str]]:
        return [[server.name for server in servers] for servers in self.source.left]

    async def take(self, snapshot: Snapshot) -> None:
        """Let the source say this."""
        self.feed.publish(snapshot)
        await self.state.update()

    def on_observed(self, proxy: str, *names: str, changed_at: float | None = None) -> None:
        """Let a pass of a proxy be over that began with the servers of then, and found these."""
        servers = [a_server(an_endpoint(host), name=name) for host, name in enumerate(names, start=1)]
        when = self.state.changed_at if changed_at is None else changed_at
        self.state.on_observed(proxy, a_backend(*servers), changed_at=when)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


# ---- by the desired state


async def test_a_source_is_told_which_servers_are_still_there_each_time_that_haproxy_was_looked_at() -> None:
    told = Told(Clock())
    await told.take(ONE)
    assert told.left == []
    told.on_observed("lb1", "dyn-1", "dyn-2")
    told.on_observed("lb1", "dyn-1")
    told.on_observed("lb1")
    assert told.left == [["dyn-1", "dyn-2"], ["dyn-1"], []]


async def test_a_source_is_told_only_when_every_proxy_was_looked_at() -> None:
    told = Told(Clock(), proxies=("lb1", "lb2"))
    await told.take(ONE)
    told.on_observed("lb1", "dyn-1")
    told.on_observed("lb1", "dyn-2")
    assert told.left == []
    told.on_observed("lb2", "dyn-3")
    assert told.left == [["dyn-2", "dyn-3"]]
    told.on_observed("lb1")
    assert told.left[1:] == [["dyn-3"]]


async def test_what_a_pass_found_that_began_with_an_older_snapshot_is_not_told() -> None:
    told = Told(Clock(), proxies=("lb1", "lb2"))
    await told.take(ONE)
    before = told.state.changed_at
    await told.take(TWO)
    told.on_observed("lb1", "dyn-1", changed_at=before)
    told.on_observed("lb2", "dyn-2", changed_at=before)
    assert told.left == []
    told.on_observed("lb1", "dyn-3")
    assert told.left == []
    told.on_observed("lb2", "dyn-4")
    assert told.left == [["dyn-3", "dyn-4"]]


async def test_when_the_snapshot_changes_every_proxy_has_to_be_looked_at_again() -> None:
    told = Told(Clock())
    await told.take(ONE)
    told.on_observed("lb1", "dyn-1")
    for snapshot in (TWO, ONE, TWO):
        await told.take(snapshot)
        assert told.left == [["dyn-1"]]
    told.on_observed("lb1", "dyn-2")
    assert told.left == [["dyn-1"], ["dyn-2"]]


async def test_with_each_snapshot_that_changes_nothing_a_source_is_told_again_what_was_seen_last() -> None:
    told = Told(Clock())
    await told.take(ONE)
    told.on_observed("lb1", "dyn-1")
    await told.take(ONE)
    await told.take(Snapshot(ONE.endpoints, notes=("a note changes nothing",)))
    assert told.left == [["dyn-1"]] * 3


async def test_before_haproxy_was_looked_at_a_source_is_not_told_that_nothing_is_there() -> None:
    told = Told(Clock())
    for snapshot in (NONE, NONE, ONE, ONE):
        await told.take(snapshot)
    assert told.left == []


async def test_a_source_is_told_of_dynsrv_s_own_servers_alone() -> None:
    told = Told(Clock(), policy=a_policy(prefix="web-"))
    await told.take(ONE)
    told.on_observed("lb1", "static", "dyn-1", "web-1")
    assert told.left == [["web-1"]]


async def test_where_all_servers_are_dynsrv_s_a_source_is_told_of_all() -> None:
    told = Told(Clock(), policy=a_policy(adopt_all=True))
    await told.take(ONE)
    told.on_observed("lb1", "static", "dyn-1")
    assert told.left == [["static", "dyn-1"]]


async def test_a_proxy_that_is_not_reconciled_any_more_is_not_waited_for_and_its_servers_do_not_count() -> None:
    told = Told(Clock(), proxies=("lb1", "lb2"))
    await told.take(ONE)
    told.on_observed("lb2", "dyn-2")
    told.state.unsubscribe("lb2")
    told.on_observed("lb1", "dyn-1")
    assert told.left == [["dyn-1"]]


async def test_a_proxy_that_is_added_is_waited_for() -> None:
    told = Told(Clock())
    await told.take(ONE)
    told.on_observed("lb1", "dyn-1")
    told.state.subscribe("lb2", lambda: None)
    told.on_observed("lb1", "dyn-1")
    assert told.left == [["dyn-1"]]
    told.on_observed("lb2", "dyn-2")
    assert told.left == [["dyn-1"], ["dyn-1", "dyn-2"]]


# ---- by the passes over HAProxy


@asynccontextmanager
async def following(managed: Managed, snapshot: Snapshot) -> AsyncIterator[Told]:
    """Let a reconciler follow a desired state."""
    told = Told(managed.haproxy.clock, proxies=(), policy=managed.policy)
    told.state.subscribe("lb1", managed.reconciler.wake)
    await told.take(snapshot)
    reports = told.state.observer("lb1")
    managed.observers.append(reports)
    tasks = [asyncio.create_task(told.state.run()), asyncio.create_task(managed.reconciler.run(told.state))]
    try:
        yield told
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        managed.observers.remove(reports)


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
        await told.take(NONE)
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
                    told.feed.publish(TWO)
                known.append(len(told.left))

        managed.behind.wire.before_line = change
        managed.reconciler.wake()
        await asyncio.sleep(10)
    assert known[:3] == [0, 0, 1]
    assert told.left[-1] == ["dyn-10.0.0.1:80", "dyn-10.0.0.2:80"]
