"""Many instances: what dynsrv asks of AWS stays bounded, and what it costs is printed.

How fast or how small dynsrv is on the machine of the day is not asserted, beyond what would be absurd; `pytest -rP`
shows the figures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from itertools import pairwise

import pytest

from dynsrv.logs import Event
from tests.integration.support.aws import from_ec2
from tests.integration.support.aws_faults import FaultyAws
from tests.integration.support.controller import UNGUARDED, Install
from tests.integration.support.figures import Usage
from tests.integration.support.haproxy import HAProxy
from tests.integration.support.stalls import stalls
from tests.integration.support.waiting import eventually

# Which HAProxy it is makes no difference to AWS.
pytestmark = pytest.mark.any_version

MANY = 1000
TAGS = {"ports": "8080", "team": "blue", "stage": "live", "Name": "web"}
BACKEND: Mapping[str, object] = {"server": {"check": False}, "limits": UNGUARDED}
LOOKS = "DescribeInstances"


async def _seconds_until(haproxy: HAProxy, addresses: set[str], *, within: float = 60.0) -> float:
    """Wait until HAProxy has exactly these servers, all of which get requests."""
    began = time.monotonic()

    async def exactly() -> bool:
        rows = (await haproxy.servers()).values()
        return len(rows) == len(addresses) and {row.address for row in rows if row.ready} == addresses

    await eventually(exactly, within=within, what=f"HAProxy has {len(addresses)} servers")
    return time.monotonic() - began


async def test_a_thousand_instances_are_followed(
    haproxy: HAProxy, faulty_aws: FaultyAws, on_ec2: Install, *, unused_tcp_port: int
) -> None:
    aws = faulty_aws.aws
    launched = await aws.launch(MANY, tags=TAGS)
    controller = on_ec2(
        haproxy,
        backend={"source": from_ec2(faulty_aws.url), **BACKEND},
        web={"listen": f"127.0.0.1:{unused_tcp_port}"},
    )
    faulty_aws.instances.frozen = True
    await controller.start()
    every = set(aws.launched.values())  # moto gives an address by lot, and may give it twice
    took = await _seconds_until(haproxy, every)
    assert len(await haproxy.servers()) == len(every)
    print(f"{MANY} servers: {took:.2f} s with the start of dynsrv, and {faulty_aws.instances.seconds:.2f} s of moto's")
    print(f"so far {Usage.of(controller.pid)}")
    first = faulty_aws.asked(LOOKS)[:10]
    assert {request.form["MaxResults"] for request in first} == {"100"}
    assert ["NextToken" in request.form for request in first] == [False] + [True] * 9  # ten pages

    asked, before, began = len(faulty_aws.asked(LOOKS)), Usage.of(controller.pid), time.monotonic()
    told = await stalls(unused_tcp_port, seconds=4)
    after, seconds = Usage.of(controller.pid), time.monotonic() - began
    pages = len(faulty_aws.asked(LOOKS)) - asked
    print(f"{pages / 10 / seconds:.2f} looks/s: {(after.cpu - before.cpu) / seconds * 100:.0f} % of a CPU; {after}")
    print(f"meanwhile, /healthz: {told}")
    assert pages > 0
    assert told.longest < 5
    assert after.memory < 500

    await aws.launch(50, tags=TAGS)
    await aws.terminate(*launched[:100])
    await faulty_aws.instances.thaw(first[0])
    changed = {where for one, where in aws.launched.items() if one not in launched[:100]}
    print(f"100 go and 50 come: {await _seconds_until(haproxy, changed):.2f} s")
    assert not controller.lines(Event.SOURCE_FAILED)


async def test_looks_keep_their_distance(haproxy: HAProxy, faulty_aws: FaultyAws, on_ec2: Install) -> None:
    await faulty_aws.aws.launch(3, tags=TAGS)
    controller = on_ec2(haproxy, backend={"source": from_ec2(faulty_aws.url, interval="1s"), **BACKEND})
    await controller.start()
    await eventually(lambda: len(faulty_aws.asked(LOOKS)) >= 5)
    pauses = [two.at - one.at for one, two in pairwise(faulty_aws.asked(LOOKS))]
    print(f"pauses of {', '.join(f'{pause:.2f}' for pause in pauses)} s")
    assert min(pauses) > 0.85
    assert len({round(pause, 3) for pause in pauses}) > 1  # by lot, or many dynsrvs would ask at once
    assert faulty_aws.most_connections == 1


async def test_while_instances_come_and_go_they_are_looked_at_more_often(
    haproxy: HAProxy, faulty_aws: FaultyAws, on_ec2: Install
) -> None:
    (own,) = await faulty_aws.aws.launch(tags=TAGS)
    faulty_aws.instances.states[own] = "pending"
    controller = on_ec2(haproxy, backend={"source": from_ec2(faulty_aws.url, interval="1h"), **BACKEND})
    await controller.start()
    await controller.logged(Event.FIRST_ENDPOINTS_RECEIVED)
    faulty_aws.instances.states.clear()
    await eventually(haproxy.servers, within=8)
    first, second = faulty_aws.asked(LOOKS)
    print(f"looked at again after {second.at - first.at:.2f} s")
    assert second.at - first.at > 4.4


async def test_what_it_costs_to_follow_ec2_instead_of_a_file(
    haproxy: HAProxy, faulty_aws: FaultyAws, on_ec2: Install, *, unused_tcp_port: int
) -> None:
    await faulty_aws.aws.launch(3, tags=TAGS)
    web = {"listen": f"127.0.0.1:{unused_tcp_port}"}
    for what, source in {"file": None, "ec2": from_ec2(faulty_aws.url)}.items():
        controller = on_ec2(haproxy, backend={**BACKEND, **({"source": source} if source else {})}, web=web)
        controller.want([{"address": "127.0.0.1", "port": 81}])
        controller.log.unlink(missing_ok=True)
        began = time.monotonic()
        await controller.start()
        await controller.logged(Event.STARTED)
        measuring = asyncio.create_task(stalls(unused_tcp_port, seconds=2))
        await controller.logged(Event.FIRST_ENDPOINTS_RECEIVED)
        took = time.monotonic() - began
        told = await measuring
        used = Usage.of(controller.pid)
        print(f"{what}: the source answered after {took:.2f} s; then {used}; /healthz meanwhile: {told}")
        assert took < 10
        assert used.memory < 300
        await controller.stop()
