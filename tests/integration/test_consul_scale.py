"""Many instances, services and backends are followed, and what dynsrv asks of Consul stays bounded."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import yaml

from dynsrv.logs import Event
from tests.integration.support.consul import Consul, StartConsul
from tests.integration.support.consul_faults import FaultyConsul
from tests.integration.support.controller import UNGUARDED, Install, from_consul
from tests.integration.support.haproxy import HAProxy, StartHAProxy
from tests.integration.support.waiting import eventually

pytestmark = pytest.mark.any_version

HEALTH = "/v1/health/service/"
CONNECTIONS = 96
"""To one Consul at once, as docs/consul.md promises."""
MORE = CONNECTIONS + 34
"""Services, of which some have to wait for a connection."""
WEIGHT = 100
"""Of a server, where nobody says another."""
ANOTHER = ("10.255.0.1", 80)

Wanted = Mapping[tuple[str, str, int], int]
"""Weights by backend, address and port."""


def locations(number: int, *, net: int = 0) -> list[tuple[str, int]]:
    """Return so many addresses of 10.*net*.0.0 and up, where nobody listens."""
    return [(f"10.{net}.{one // 250}.{one % 250 + 1}", 8080) for one in range(number)]


def in_haproxy(number: int) -> str:
    """Return the backends be_0, be_1, … of HAProxy's configuration."""
    return "".join(f"\nbackend be_{one}\n    balance roundrobin\n" for one in range(number))


def in_dynsrv(sources: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return the backends be_0, be_1, … of dynsrv's configuration."""
    same: dict[str, object] = {"server": {"check": False}, "limits": UNGUARDED}
    return [{"name": f"be_{number}", "source": source, **same} for number, source in enumerate(sources)]


async def has(haproxy: HAProxy, wanted: Wanted, *, backend: str = "", within: float = 60.0) -> None:
    """Wait until HAProxy, or its *backend*, has the servers of *wanted* and no others, all of which get requests."""

    async def exactly() -> bool:
        _, header, *lines = (await haproxy.ask(f"show servers state {backend}")).splitlines()
        columns = header[2:].split(" ")
        rows = [dict(zip(columns, line.split(" "), strict=True)) for line in lines if line]
        ready = {
            (row["be_name"], row["srv_addr"], int(row["srv_port"])): int(row["srv_uweight"])
            for row in rows
            if int(row["srv_admin_state"]) & 0x3B == 0
        }
        return len(ready) == len(rows) and ready == wanted

    await eventually(exactly, within=within, what=f"HAProxy has {len(wanted)} servers")


class Crowd:
    """Services of five instances each, and a dynsrv that follows the first of them; *between* counts its questions."""

    def __init__(self, consul: Consul, between: FaultyConsul, haproxy: HAProxy, install: Install) -> None:
        self.consul = consul
        self.between = between
        self.haproxy = haproxy
        self.controller = install(haproxy)
        self.wanted: dict[tuple[str, str, int], int] = {}

    def follow(self, number: int, *, own_tokens: bool = False, **keys: object) -> None:
        """Configure dynsrv so, with *keys* for its sources."""
        sources: list[dict[str, object]] = [
            from_consul(self.between.url, service=f"service-{one}", **keys)
            | ({"token": f"{one}"} if own_tokens else {})
            for one in range(number)
        ]
        settings = yaml.safe_load(self.controller.configuration.read_text())
        self.controller.configuration.write_text(yaml.safe_dump({**settings, "backends": in_dynsrv(sources)}))
        self.wanted = {(f"be_{net}", *one): WEIGHT for net in range(number) for one in locations(5, net=net)}

    async def grow(self, number: int) -> None:
        """Register another instance of one service, and wait until it serves: 5 s at most."""
        backend = f"be_{number}"
        await self.consul.register_many(f"service-{number}", [ANOTHER])
        self.wanted[backend, *ANOTHER] = WEIGHT
        here = {where: weight for where, weight in self.wanted.items() if where[0] == backend}
        await has(self.haproxy, here, backend=backend, within=5.0)


@pytest.fixture
def a_crowd(a_haproxy: StartHAProxy, a_consul: StartConsul, stack: AsyncExitStack, dynsrv: Install) -> StartCrowd:
    """Start so many services, and dynsrv with *following* of them, and wait until all of these are in HAProxy."""

    async def start(number: int, *, following: int | None = None, durable: bool = False, **keys: Any) -> Crowd:
        consul = await a_consul(durable=durable)
        for net in range(number):
            await consul.register_many(f"service-{net}", locations(5, net=net))
        between = await stack.enter_async_context(FaultyConsul(consul.url))
        crowd = Crowd(consul, between, await a_haproxy(extra=in_haproxy(number)), dynsrv)
        crowd.follow(following or number, **keys)
        await crowd.controller.start()
        await has(crowd.haproxy, crowd.wanted)
        return crowd

    return start


StartCrowd = Callable[..., Awaitable[Crowd]]


@pytest.fixture
async def between(consul: Consul, stack: AsyncExitStack) -> FaultyConsul:
    """What counts the questions to Consul, and the connections."""
    return await stack.enter_async_context(FaultyConsul(consul.url))


async def test_a_thousand_instances_are_followed(haproxy: HAProxy, consul: Consul, dynsrv: Install) -> None:
    everybody = locations(1000)
    await consul.register_many("web", everybody)
    controller = dynsrv(haproxy, backend={"source": from_consul(consul.url), "server": {"check": False}})
    await controller.start()
    await has(haproxy, {("be_app", *one): WEIGHT for one in everybody})

    # As soon as one instance has a weight of its own, Consul's weights count for all of them.
    await consul.register_many("web", everybody[:10], weights={"Passing": 7, "Warning": 1})
    wanted = {("be_app", *one): 7 if number < 10 else 1 for number, one in enumerate(everybody)}
    await has(haproxy, wanted)
    await consul.deregister_many("web", everybody[-100:])
    for one in everybody[-100:]:
        del wanted["be_app", *one]
    await has(haproxy, wanted)


async def test_more_services_than_connections_take_turns(a_crowd: StartCrowd) -> None:
    crowd = await a_crowd(MORE)
    for number in random.sample(range(MORE), 5):
        await crowd.grow(number)
    assert crowd.between.most_connections <= CONNECTIONS
    await has(crowd.haproxy, crowd.wanted)


async def test_a_few_services_too_many_do_not_stand_in_line_for_long(a_crowd: StartCrowd) -> None:
    few = CONNECTIONS + 2
    crowd = await a_crowd(few + 4, following=few)
    asked = Counter(request.path for request in crowd.between.asked(HEALTH))
    last = min(range(few), key=lambda number: asked[f"{HEALTH}service-{number}"])
    await crowd.grow(last)
    crowd.follow(few + 4)
    crowd.wanted[f"be_{last}", *ANOTHER] = WEIGHT
    crowd.controller.signal(signal.SIGHUP)
    await has(crowd.haproxy, crowd.wanted, within=5.0)
    assert crowd.between.most_connections <= CONNECTIONS


async def test_services_with_tokens_of_their_own_share_the_connections(a_crowd: StartCrowd) -> None:
    crowd = await a_crowd(MORE, own_tokens=True)
    assert crowd.between.most_connections <= CONNECTIONS


async def test_a_restart_does_not_use_up_the_connections_that_consul_has_for_this_machine(a_crowd: StartCrowd) -> None:
    crowd = await a_crowd(CONNECTIONS)
    await eventually(crowd.consul.blocked)
    await crowd.controller.stop()
    await crowd.controller.start()

    async def answered() -> bool:
        assert (await crowd.consul.health("of-others")).status == 200
        assert not crowd.controller.lines(Event.SOURCE_FAILED)
        return len(crowd.controller.lines(Event.FIRST_ENDPOINTS_RECEIVED)) == 2 * CONNECTIONS

    await eventually(answered, within=5.0)


async def test_fifty_backends_that_ask_the_same_share_one_query(
    a_haproxy: StartHAProxy, consul: Consul, between: FaultyConsul, dynsrv: Install
) -> None:
    first, second = locations(2)
    await consul.register_many("web", [first])
    haproxy = await a_haproxy(extra=in_haproxy(50))
    controller = dynsrv(haproxy, backends=in_dynsrv([from_consul(between.url)] * 50))
    await controller.start()
    await has(haproxy, {(f"be_{number}", *first): WEIGHT for number in range(50)})
    await eventually(lambda: len(between.asked(HEALTH)) == 2)  # one that was answered at once, and one that waits

    await consul.register_many("web", [second])
    both = {(f"be_{number}", *one): WEIGHT for number in range(50) for one in (first, second)}
    await has(haproxy, both)
    assert len(controller.lines(Event.ENDPOINTS_CHANGED)) == 50
    await eventually(lambda: len(between.asked(HEALTH)) == 3)
    assert between.most_connections == 1


async def test_a_busy_consul_does_not_make_dynsrv_ask_for_a_missing_service_all_the_time(
    haproxy: HAProxy, consul: Consul, between: FaultyConsul, dynsrv: Install
) -> None:
    controller = dynsrv(haproxy, backend={"source": from_consul(between.url), "server": {"check": False}})
    await controller.start()
    await controller.logged(Event.FIRST_ENDPOINTS_RECEIVED)
    registrations = 0

    async def register_others() -> None:
        nonlocal registrations
        while True:
            await consul.touch_unrelated()
            registrations += 1
            await asyncio.sleep(0.045)  # twenty a second

    registering = asyncio.create_task(register_others())
    known = len(between.requests)
    await eventually(lambda: registrations >= 60)
    assert len(between.requests) - known <= 20  # pauses double from 20 ms
    await consul.register_many("web", [ANOTHER])
    await has(haproxy, {("be_app", *ANOTHER): WEIGHT}, within=3.0)
    assert not registering.done()
    registering.cancel()


async def test_an_agent_that_comes_back_is_not_stormed(a_crowd: StartCrowd) -> None:
    crowd = await a_crowd(20, durable=True)
    await eventually(lambda: crowd.between.connections == 20)

    async def asked_from_now_on(*, times: int) -> list[float]:
        """Wait until each service was asked for so often, and return when each was for the first time."""
        began = time.monotonic()

        def each() -> list[list[float]]:
            requests = [one for one in crowd.between.asked(HEALTH) if one.at >= began]
            paths = [f"{HEALTH}service-{number}" for number in range(20)]
            return [[one.at for one in requests if one.path == path] for path in paths]

        await eventually(lambda: min(map(len, each())) >= times)
        return [first for first, *_ in each()]

    await crowd.consul.kill()
    gone = await asked_from_now_on(times=3)
    await crowd.consul.launch()
    back = await asked_from_now_on(times=1)
    assert max(map(_most_at_once, (gone, back))) < 20
    await eventually(lambda: len(crowd.controller.lines(Event.SOURCE_RECOVERED)) == 20)
    await has(crowd.haproxy, crowd.wanted)
    await crowd.grow(random.randrange(20))


def _most_at_once(times: list[float]) -> int:
    """Return how many of *times*, in seconds, are at most within 10 ms."""
    return max(sum(0 <= other - one < 0.01 for other in times) for one in times)
