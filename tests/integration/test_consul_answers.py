"""Whatever comes back from Consul, or from what stands between, no server is taken away that Consul knows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dynsrv.logs import Event
from tests.integration.support.consul import Consul
from tests.integration.support.consul_api import ConsulAPI
from tests.integration.support.consul_faults import Fault, FaultyConsul
from tests.integration.support.consul_stage import ConsulStage
from tests.integration.support.controller import Install, from_consul
from tests.integration.support.haproxy import HAProxy, StartHAProxy
from tests.integration.support.outage import BACKEND, Outage, backends
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

# Which HAProxy it is makes no difference to Consul.
pytestmark = pytest.mark.any_version

NO_ANSWERS: dict[Fault, str] = {
    "garbage": "invalid",
    "truncated": "unreachable",
    "truncated-json": "invalid",
    "html": "invalid",
    "redirect": "invalid",
    "429": "overloaded",
    "500": "leader",
    "reset": "unreachable",
    "no-index": "invalid",
}


@pytest.fixture
async def faulty(consul: Consul) -> AsyncIterator[FaultyConsul]:
    """What dynsrv takes for the Consul."""
    async with FaultyConsul(consul.url) as faulty:
        yield faulty


def told(faulty: FaultyConsul) -> ConsulAPI:
    """Return the Consul behind it, which is told what is true."""
    return ConsulAPI(faulty.upstream, node="consul")


async def restart(stage: ConsulStage, outage: Outage) -> None:
    """Restart dynsrv, and wait until it is done with every backend."""
    await stage.controller.stop()
    await stage.controller.start()
    await eventually(lambda: all(outage.said(Event.BACKEND_IN_SYNC, backend) for backend in stage.backends))


@pytest.fixture
async def stage(
    a_haproxy: StartHAProxy, faulty: FaultyConsul, web_servers: WebServers, dynsrv: Install
) -> AsyncIterator[ConsulStage]:
    """Three servers in two backends, of which one reads stale data; an empty list removes them all."""
    haproxy = await a_haproxy(extra=backends("be_stale"))
    sources = {
        BACKEND: from_consul(faulty.url, wait="1s"),
        "be_stale": from_consul(faulty.url, wait="1s", stale=True),
    }
    async with ConsulStage(haproxy, dynsrv, await web_servers(4), told(faulty), sources=sources) as stage:
        yield stage


async def test_an_answer_that_is_none_of_consuls_changes_nothing_and_is_told_once(
    stage: ConsulStage, faulty: FaultyConsul
) -> None:
    for fault, reason in NO_ANSWERS.items():
        outage = await stage.outage()
        faulty.fault = fault
        await outage.is_told(reason)
        faulty.fault = None
        await outage.ends(fault)


@pytest.mark.parametrize("fault", ["silent", "drip"])
async def test_an_answer_that_takes_too_long_is_given_up(
    stage: ConsulStage, faulty: FaultyConsul, *, fault: Fault
) -> None:
    outage = await stage.outage()
    faulty.fault = fault
    await outage.is_told("timeout", attempts=1)
    faulty.fault = None
    await outage.ends(fault, sentences=2)  # an answer that drips is cut at the end


async def test_a_falsely_empty_list_is_seen_through_also_at_a_start(stage: ConsulStage, faulty: FaultyConsul) -> None:
    outage = await stage.outage(seen_by=())
    faulty.unless = "consistent"
    faulty.fault = "empty"
    told = len(faulty.requests)
    await eventually(lambda: len(_consistent(faulty, told)) >= 4)
    await outage.ends("falsely empty, meanwhile")

    outage = await stage.outage(seen_by=())
    await restart(stage, outage)
    faulty.fault = None
    await outage.ends("falsely empty at a start")


def _consistent(faulty: FaultyConsul, since: int) -> list[str]:
    return [request.target for request in faulty.requests[since:] if "consistent" in request.query]


async def test_an_older_answer_is_not_believed_while_consul_knows_better(
    stage: ConsulStage, faulty: FaultyConsul
) -> None:
    await stage.change()
    await stage.serves()
    outage = await stage.outage(seen_by=())
    faulty.unless = "consistent"
    faulty.fault = "older"
    asked = len(faulty.requests)
    await eventually(lambda: len(faulty.requests) >= asked + 10)
    await outage.ends("older answers, meanwhile")
    outage = await stage.outage(seen_by=())
    faulty.fault = None
    await outage.ends("older answers")


async def test_an_older_answer_is_not_believed_at_a_start_either(
    haproxy: HAProxy, faulty: FaultyConsul, web_servers: WebServers, dynsrv: Install
) -> None:
    sources = {BACKEND: from_consul(faulty.url, wait="1s")}  # who wants stale answers gets them
    async with ConsulStage(haproxy, dynsrv, await web_servers(4), told(faulty), sources=sources) as stage:
        await stage.change()
        await stage.serves()
        outage = await stage.outage(seen_by=())
        faulty.unless = "consistent"
        faulty.fault = "older"
        await restart(stage, outage)
        faulty.fault = None
        await outage.ends("older answers at a start")


@pytest.mark.parametrize("fault", ["index-0", "index-back", "not-blocking"])
async def test_an_index_that_does_not_block_makes_no_storm_and_hides_no_change(
    stage: ConsulStage, faulty: FaultyConsul, *, fault: Fault
) -> None:
    outage = await stage.outage(seen_by=())
    asked = len(faulty.requests)
    faulty.fault = fault

    def of_one_backend() -> list[float]:
        return [request.at for request in faulty.requests[asked:] if "stale" in request.query]

    await eventually(lambda: len(of_one_backend()) >= 8)
    times = of_one_backend()
    assert times[-1] - times[0] > 2  # the pauses have grown to one or two seconds
    assert len(faulty.requests) - asked < 5 * len(times)
    await outage.ends(f"{fault}, meanwhile")
    outage = await stage.outage(seen_by=())
    faulty.fault = None
    await outage.ends(fault)


async def test_after_a_dropped_connection_nothing_is_asked_with_the_index_of_before(
    stage: ConsulStage, faulty: FaultyConsul
) -> None:
    def both_wait() -> bool:
        last = [request.query for request in faulty.requests[-2:]]
        return all("index" in query for query in last) and {"stale" in query for query in last} == {False, True}

    await eventually(both_wait)
    outage = await stage.outage()
    asked = len(faulty.requests)
    faulty.fault = "reset"
    await outage.is_told("unreachable", attempts=3)
    dropped = [request.target for request in faulty.requests[asked:]]
    assert len(dropped) >= 4
    assert not [target for target in dropped if "index=" in target]
    faulty.fault = None
    await outage.ends("reset")


async def test_an_empty_list_that_consul_insists_on_is_for_the_guard(
    haproxy: HAProxy, faulty: FaultyConsul, web_servers: WebServers, dynsrv: Install
) -> None:
    sources = {BACKEND: from_consul(faulty.url, wait="1s")}
    servers = await web_servers(4)
    async with ConsulStage(haproxy, dynsrv, servers, told(faulty), sources=sources, limits={}) as stage:
        outage = await stage.outage(seen_by=())
        faulty.fault = "empty"
        await stage.controller.logged(Event.REMOVAL_BLOCKED)
        assert "degraded: backend be_app on lb1: guard: " in await stage.get("/readyz")
        faulty.fault = None
        await outage.ends("empty, and consistently so")
