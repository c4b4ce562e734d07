from __future__ import annotations

import asyncio
from typing import Any

from dynsrv.model import Endpoint, EndpointState, Snapshot
from dynsrv.sources.consul.endpoints import InstanceMapper
from dynsrv.sources.consul.source import ConsulSource
from dynsrv.sources.consul.watch import Watch
from tests.fakes.consul import FakeConsul, an_instance
from tests.fakes.follower import following
from tests.unit.sources.consul.watches import LONGEST_WAIT, a_watch


def a_source(consul: FakeConsul, reading: InstanceMapper | None = None, **watch: Any) -> ConsulSource:
    return ConsulSource(a_watch(consul, **watch), reading or InstanceMapper(), backend="be_app")


def hosts(snapshot: Snapshot) -> list[int]:
    return [int(endpoint.address.rpartition(".")[2]) for endpoint in snapshot.endpoints]


async def test_a_source_tells_what_its_instances_call_for_in_consuls_order() -> None:
    consul = FakeConsul(an_instance(2), an_instance(1, meta={"dynsrv-weight": "7"}))
    async with following(a_source(consul).watch) as follower:
        await asyncio.sleep(1)
        consul.register(an_instance(2, maintenance=True))
        await asyncio.sleep(1)
        consul.deregister(an_instance(1))
        await asyncio.sleep(1)
    drained = Endpoint("10.0.0.2", 80, state=EndpointState.DRAIN)
    assert follower.told == [
        Snapshot((Endpoint("10.0.0.2", 80), Endpoint("10.0.0.1", 80, weight=7))),
        Snapshot((drained, Endpoint("10.0.0.1", 80, weight=7))),
        Snapshot((drained,)),
    ]


async def test_maintenance_of_a_node_drains_what_runs_on_it_until_it_is_over() -> None:
    consul = FakeConsul(an_instance(1), an_instance(2))
    async with following(a_source(consul).watch) as follower:
        await asyncio.sleep(1)
        consul.maintain("n1")
        await asyncio.sleep(1)
        consul.maintain("n1", on=False)
        await asyncio.sleep(1)
    drain, ready = EndpointState.DRAIN, EndpointState.READY
    states = [[endpoint.state for endpoint in told.endpoints] for told in follower.told]
    assert states == [[ready, ready], [drain, ready], [ready, ready]]


async def test_an_answer_that_changes_nothing_is_told_as_the_same_snapshot() -> None:
    consul = FakeConsul(an_instance(1), an_instance(2, status="critical"))
    async with following(a_source(consul).watch) as follower:
        await asyncio.sleep(3 * LONGEST_WAIT)
        before = len(follower.told)
        consul.register(an_instance(3, status="critical"))
        await asyncio.sleep(1)
        consul.register(an_instance(1, output="HTTP GET: 200 OK, 17 ms"))
        await asyncio.sleep(3)
    assert len(follower.told) >= before + 2 >= 5
    assert len({id(told) for told in follower.told}) == 1


async def test_another_order_by_round_trip_times_is_no_change() -> None:
    consul = FakeConsul(*(an_instance(host) for host in range(1, 5)))
    async with following(a_source(consul, near="_agent").watch) as follower:
        await asyncio.sleep(10 * LONGEST_WAIT)
        assert len(follower.told) > 9
        assert len({id(told) for told in follower.told}) == 1
        consul.register(an_instance(5))
        await asyncio.sleep(1)
        assert sorted(hosts(follower.latest)) == [1, 2, 3, 4, 5]


async def test_another_order_of_what_is_left_out_is_no_change() -> None:
    useless = [an_instance(host, port=0) for host in (3, 4)]
    consul = FakeConsul(an_instance(1), an_instance(2), *useless)
    async with following(a_source(consul, near="_agent").watch) as follower:
        await asyncio.sleep(10 * LONGEST_WAIT)
    assert len({id(told) for told in follower.told}) == 1


async def test_a_new_note_is_told_although_the_endpoints_are_the_same() -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_source(consul).watch) as follower:
        await asyncio.sleep(1)
        consul.register(an_instance(2, port=0))
        await asyncio.sleep(1)
    first, second = follower.told
    assert first == second
    assert first.notes == ()
    (note,) = second.notes
    assert note.startswith("web-2 on n2 is ignored: ")


async def test_instances_of_which_none_can_be_used_are_an_error_and_no_empty_service() -> None:
    consul = FakeConsul(an_instance(1))
    useless = [an_instance(host, port=0) for host in range(1, 6)]
    async with following(a_source(consul).watch) as follower:
        await asyncio.sleep(1)
        consul.register(*useless)
        await asyncio.sleep(1)
    assert [hosts(told) for told in follower.told] == [[1]]
    assert follower.reason == "invalid"
    assert str(follower.error).startswith("no instance can be used: web-1 on n1 is ignored: ")
    assert str(follower.error).count("is ignored") == 3
    await asyncio.sleep(0.1)
    assert (consul.entered, consul.at_once) == (0, 0)


async def test_critical_instances_beside_useless_ones_are_no_empty_service_either() -> None:
    consul = FakeConsul(an_instance(1, status="critical"), an_instance(2, port=0))
    async with following(a_source(consul).watch) as follower:
        await asyncio.sleep(1)
    assert follower.told == []
    assert follower.reason == "invalid"


async def test_a_service_without_instances_or_with_critical_ones_only_is_an_empty_snapshot() -> None:
    consul = FakeConsul(an_instance(1))
    async with following(a_source(consul).watch) as follower:
        await asyncio.sleep(1)
        consul.register(an_instance(1, status="critical"))
        await asyncio.sleep(1)
        consul.deregister(an_instance(1))
        await asyncio.sleep(1)
    assert [hosts(told) for told in follower.told] == [[1], [], []]
    assert follower.errors == []


async def test_one_who_cannot_use_what_is_there_does_not_disturb_the_other() -> None:
    consul = FakeConsul(an_instance(1))
    watch: Watch = a_watch(consul)
    useful = ConsulSource(watch, InstanceMapper(), backend="be_one")
    useless = ConsulSource(watch, InstanceMapper(tagged_address="vpn"), backend="be_two")
    async with following(useful.watch) as one, following(useless.watch, retry=1.0) as two:
        await asyncio.sleep(10)
        consul.register(an_instance(2))
        await asyncio.sleep(1)
    assert [hosts(told) for told in one.told] == [[1], [1, 2]]
    assert not one.errors
    assert not two.told
    assert len(two.errors) >= 10
    assert len(consul.asked) == 3


def test_a_source_says_what_it_watches_and_for_whom() -> None:
    assert repr(a_source(FakeConsul())) == "<ConsulSource <Watch of web, 0 subscribers> for be_app>"
