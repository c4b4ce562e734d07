"""Many instances are asked for page by page, over one connection, and all of them become servers."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from dynsrv.logs import Event
from tests.integration.support.aws import from_ec2
from tests.integration.support.aws_faults import FaultyAws
from tests.integration.support.controller import UNGUARDED, Install
from tests.integration.support.haproxy import HAProxy
from tests.integration.support.waiting import eventually

pytestmark = pytest.mark.any_version

MANY = 350
TAGS = {"ports": "8080", "team": "blue", "stage": "live", "Name": "web"}
BACKEND: Mapping[str, object] = {"server": {"check": False}, "limits": UNGUARDED}
LOOKS = "DescribeInstances"


async def _has(haproxy: HAProxy, addresses: set[str]) -> None:
    """Wait until HAProxy has exactly these servers, all of which get requests."""

    async def exactly() -> bool:
        rows = (await haproxy.servers()).values()
        return len(rows) == len(addresses) and {row.address for row in rows if row.ready} == addresses

    await eventually(exactly, within=60, what=f"HAProxy has {len(addresses)} servers")


async def test_hundreds_of_instances_are_followed_page_by_page(
    haproxy: HAProxy, faulty_aws: FaultyAws, on_ec2: Install
) -> None:
    aws = faulty_aws.aws
    launched = await aws.launch(MANY, tags=TAGS)
    controller = on_ec2(haproxy, backend={"source": from_ec2(faulty_aws.url), **BACKEND})
    faulty_aws.instances.frozen = True
    await controller.start()
    # moto gives an address at random, and may give it twice
    await _has(haproxy, set(aws.launched.values()))
    first = faulty_aws.asked(LOOKS)[:4]
    assert {request.form["MaxResults"] for request in first} == {"100"}
    assert ["NextToken" in request.form for request in first] == [False, True, True, True]

    await aws.launch(50, tags=TAGS)
    await aws.terminate(*launched[:100])
    await faulty_aws.instances.thaw(first[0])
    await _has(haproxy, {where for one, where in aws.launched.items() if one not in launched[:100]})
    assert not controller.lines(Event.SOURCE_FAILED)
    assert faulty_aws.most_connections == 1
