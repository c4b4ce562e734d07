"""What a backend should be is made of what its sources said last, and of its policy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from structlog.testing import capture_logs

from dynsrv.errors import SourceError
from dynsrv.logs import Event
from dynsrv.metrics import Metrics
from dynsrv.model import Endpoint, Snapshot
from dynsrv.reconcile.desired import DesiredState
from dynsrv.sources.feed import Feed
from tests.fakes.builders import a_backend, a_policy, a_server, an_endpoint
from tests.fakes.sources import ScriptedSource

ONE = Snapshot((an_endpoint(1),))
TWO = Snapshot((an_endpoint(1), an_endpoint(2)))
EMPTY = Snapshot(())
MANY = Snapshot(tuple(Endpoint(f"10.0.{number // 250}.{number % 250 + 1}", 80) for number in range(1500)))
GONE = SourceError("missing", "it is gone")

Script = list[Snapshot | Exception | float | None]


class Backend:
    """The desired state of `be_app` on lb1, from one source for each script, and what it woke the reconciler for."""

    def __init__(self, *scripts: Script) -> None:
        self.metrics = Metrics()
        self.sources = [ScriptedSource(*script) for script in scripts]
        self.feeds = [Feed(one, backend="be_app", kind="file", metrics=self.metrics) for one in self.sources]
        self.state = DesiredState(
            self.feeds,
            backend="be_app",
            policy=a_policy(),
            metrics=self.metrics,
            clock=lambda: asyncio.get_running_loop().time(),
        )
        self.wakes: list[set[str] | None] = []
        self.state.subscribe("lb1", lambda: self.wakes.append(self.addresses))

    @property
    def addresses(self) -> set[str] | None:
        """Of the servers that should be there."""
        return None if self.state.servers is None else {str(address) for address, _ in self.state.servers}

    @asynccontextmanager
    async def running(self, seconds: float = 100) -> AsyncIterator[None]:
        """Follow the sources for a while, and stop at the end."""
        tasks = [asyncio.create_task(self.state.run()), *(asyncio.create_task(feed.run()) for feed in self.feeds)]
        await asyncio.sleep(seconds)
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)


def addresses(snapshot: Snapshot) -> set[str]:
    return {endpoint.address for endpoint in snapshot.endpoints}


async def test_before_the_source_answered_nothing_is_known_which_is_not_the_same_as_no_servers() -> None:
    silent, failing, empty = Backend([]), Backend([GONE] * 100), Backend([EMPTY])
    async with silent.running(), failing.running(), empty.running():
        assert silent.state.servers is None
        assert failing.state.servers is None
        assert empty.state.servers == {}
    assert silent.wakes == failing.wakes == []
    assert empty.wakes == [set()]


async def test_servers_have_what_the_policy_adds() -> None:
    backend = Backend([ONE])
    async with backend.running():
        assert backend.state.servers is not None
        (server,) = backend.state.servers.values()
    assert (server.endpoint, server.weight, server.options) == (an_endpoint(1), 100, a_policy().options)


async def test_a_reconciler_is_woken_by_a_change_and_by_nothing_else() -> None:
    reordered = Snapshot(tuple(reversed(TWO.endpoints)), notes=("a note changes nothing",))
    backend = Backend([ONE, 1.0, ONE, 1.0, TWO, 1.0, reordered, 1.0, ONE, 1.0, GONE, 1.0, ONE])
    async with backend.running():
        assert backend.wakes == [addresses(ONE), addresses(TWO), addresses(ONE)]
        assert backend.metrics.registry.get_sample_value("dynsrv_desired_servers", {"backend": "be_app"}) == 1


async def test_of_snapshots_that_come_together_the_last_counts() -> None:
    backend = Backend([ONE, EMPTY, TWO])
    async with backend.running():
        assert backend.wakes == [addresses(TWO)]


async def test_a_reconciler_that_unsubscribed_is_not_woken_any_more() -> None:
    backend = Backend([ONE, 5.0, TWO])
    async with backend.running(1):
        backend.state.unsubscribe("lb1")
        await asyncio.sleep(10)
        assert backend.addresses == addresses(TWO)
    assert backend.wakes == [addresses(ONE)]


async def test_the_time_of_the_last_change_is_kept() -> None:
    backend = Backend([ONE, 5.0, ONE, 5.0, TWO, 5.0, TWO])
    async with backend.running():
        assert backend.state.changed_at == 10


async def test_while_the_source_fails_the_servers_stay() -> None:
    backend = Backend([TWO, 1.0, *[GONE] * 1000])
    async with backend.running():
        assert backend.addresses == addresses(TWO)
        assert backend.state.failure is GONE
    assert backend.wakes == [addresses(TWO)]


async def test_the_first_endpoints_and_their_changes_are_logged_with_their_number() -> None:
    backend = Backend([ONE, 1.0, ONE, 1.0, TWO])
    with capture_logs() as logs:
        async with backend.running():
            pass
    assert [(line["event"], line["backend"], line["endpoints"]) for line in logs] == [
        (Event.FIRST_ENDPOINTS_RECEIVED, "be_app", 1),
        (Event.ENDPOINTS_CHANGED, "be_app", 2),
    ]


async def test_what_a_feed_knew_before_is_used_at_once() -> None:
    backend = Backend([])
    backend.feeds[0].publish(TWO)
    async with backend.running(0.01):
        assert backend.addresses == addresses(TWO)


async def test_a_snapshot_that_comes_while_a_large_one_is_worked_on_is_not_lost() -> None:
    backend = Backend([])
    (feed,) = backend.feeds
    feed.publish(MANY)
    update = asyncio.create_task(backend.state.update())
    await asyncio.sleep(0)
    feed.publish(ONE)
    await update
    assert backend.addresses == addresses(MANY)
    async with backend.running(1):
        assert backend.addresses == addresses(ONE)


async def test_while_a_new_snapshot_is_worked_on_its_source_is_not_told_what_was_observed_before() -> None:
    backend = Backend([])
    (feed,), (source,) = backend.feeds, backend.sources
    feed.publish(ONE)
    await backend.state.update()
    feed.publish(MANY)
    update = asyncio.create_task(backend.state.update())
    await asyncio.sleep(0)
    backend.state.on_observed("lb1", a_backend(a_server()), changed_at=backend.state.changed_at)
    assert source.left == []
    await update
    assert source.left == []
    backend.state.on_observed("lb1", a_backend(a_server()), changed_at=backend.state.changed_at)
    assert source.left == [(a_server(),)]


# ---- several sources


async def test_the_servers_of_several_sources_are_known_when_each_has_answered() -> None:
    backend = Backend([ONE], [5.0, Snapshot((an_endpoint(2),))], [10.0, GONE, EMPTY])
    async with backend.running(9):
        assert backend.state.servers is None
        await asyncio.sleep(2)
        assert backend.addresses == {"10.0.0.1", "10.0.0.2"}
    assert backend.wakes == [{"10.0.0.1", "10.0.0.2"}]


async def test_while_one_of_several_sources_fails_the_others_are_followed() -> None:
    backend = Backend([ONE, 1.0, *[GONE] * 100], [EMPTY, 5.0, Snapshot((an_endpoint(3),))])
    async with backend.running(10):
        assert backend.addresses == {"10.0.0.1", "10.0.0.3"}
        assert backend.state.failure is GONE


async def test_where_sources_disagree_the_first_counts_and_that_is_logged_once_while_it_lasts() -> None:
    heavy, light = Snapshot((an_endpoint(1, weight=50),)), Snapshot((an_endpoint(1, weight=5),))
    backend = Backend([heavy], [light, 1.0, light, 1.0, heavy, 1.0, light])
    with capture_logs() as logs:
        async with backend.running():
            assert backend.state.servers is not None
            (server,) = backend.state.servers.values()
    assert server.weight == 50
    assert backend.wakes == [{"10.0.0.1"}]
    conflict = "10.0.0.1:80: source 2 has weight 5 instead of 50; source 1 is used"
    assert [line["what"] for line in logs if line["log_level"] == "warning"] == [conflict, conflict]


async def test_each_of_several_sources_is_told_which_servers_are_left() -> None:
    backend = Backend([ONE], [EMPTY])
    async with backend.running(1):
        backend.state.on_observed("lb1", a_backend(a_server()), changed_at=backend.state.changed_at)
    assert [source.left for source in backend.sources] == [[(a_server(),)]] * 2
