"""An instance that runs in EC2 is a server of HAProxy; one that ends goes, and no request is lost."""

from __future__ import annotations

import asyncio

import pytest

from dynsrv.logs import Event
from tests.integration.support.aws import Aws, from_ec2
from tests.integration.support.aws_faults import FaultyAws
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import load, request
from tests.integration.support.views import start_views_of
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version


async def test_a_launched_instance_serves_and_a_terminated_one_goes_without_losing_a_request(
    haproxy: HAProxy, aws: Aws, web_servers: WebServers, on_ec2: Install
) -> None:
    old, new = await web_servers(2)
    controller = on_ec2(haproxy, backend={"source": from_ec2(aws.url), "drain": {"timeout": "60s"}})
    first = await aws.launch_for(old)
    await controller.start()
    await serves(haproxy, [old])
    async with load(haproxy.frontend, pause=0.005) as counts:
        await eventually(lambda: counts.answered[old.port] > 100)
        second = await aws.launch_for(new)
        await eventually(lambda: counts.answered[new.port] > 100)
        await serves(haproxy, [old, new])
        assert set(await haproxy.servers()) == {f"dyn-{first}", f"dyn-{second}"}
        # Of several, one is answered by the server that is to go.
        slow = [asyncio.create_task(request(haproxy.frontend, "/slow", timeout=60)) for _ in range(4)]
        await eventually(lambda: old.slow_running)
        await aws.terminate(first)

        async def drains() -> bool:
            rows = (await haproxy.servers()).values()
            assert {row.port: row.draining for row in rows} == {old.port: True, new.port: False}
            return True

        await eventually(drains)
        answered = counts.answered.total()
        await eventually(lambda: counts.answered.total() > answered + 100)
        await drains()  # for as long as a session is left
        for server in (old, new):
            server.release()
        await serves(haproxy, [new])
        assert {await one for one in slow} == {old.port, new.port}
    assert not counts.failed
    await controller.logged(Event.SERVER_DELETED)
    assert len(controller.lines(Event.SERVER_DELETED)) == 1
    await aws.terminate(second)
    await serves(haproxy, [])


async def test_the_states_of_an_instance(
    a_haproxy: StartHAProxy, aws: Aws, faulty_aws: FaultyAws, on_ec2: Install
) -> None:
    one, two, three = [(await aws.launch(address="127.0.0.1", tags={"ports": port}))[0] for port in ("81", "82", "83")]
    states = faulty_aws.instances.states
    states |= {one: "pending"}
    views = await start_views_of(a_haproxy, on_ec2, app=from_ec2(faulty_aws.url))
    await views.show(app={82: "ready", 83: "ready"})
    del states[one]
    await views.show(app={81: "ready", 82: "ready", 83: "ready"})
    drained = (await views.rows("app"))[81]
    # They have no sessions: if they were not wanted at all, they would be deleted at once.
    states |= {one: "stopping", two: "shutting-down"}
    await views.show(app={81: "drain", 82: "drain", 83: "ready"})
    states.clear()
    await views.show(app={81: "ready", 82: "ready", 83: "ready"})
    assert (await views.rows("app"))[81].id == drained.id
    await aws.stop(one)
    await aws.terminate(two)
    await views.show(app={83: "ready"})
    await aws.start(one)
    await views.show(app={81: "ready", 83: "ready"})
    await aws.terminate(three)
    await views.show(app={81: "ready"})


async def test_filters_choose_the_instances_that_all_of_them_match(
    a_haproxy: StartHAProxy, aws: Aws, on_ec2: Install
) -> None:
    address = "127.0.0.1"
    await aws.launch(address=address, tags={"ports": "81", "stage": "live"}, type="t3.micro")
    await aws.launch(address=address, tags={"ports": "82", "stage": "live"}, type="t3.small")
    await aws.launch(address=address, tags={"ports": "83", "stage": "live"}, type="t3.large")
    await aws.launch(address=address, tags={"ports": "84", "stage": "test"}, type="t3.micro")
    await aws.launch(address=address, tags={"ports": "85", "app": "mail"}, type="t3.micro")
    small = ["t3.micro", "t3.small"]
    views = await start_views_of(
        a_haproxy,
        on_ec2,
        small=from_ec2(aws.url, filters={"tag:app": "web", "instance-type": small, "tag:stage": "live"}),
        live=from_ec2(aws.url, filters={"tag:stage": "live"}),
        any=from_ec2(aws.url, filters={"tag-key": ["stage", "app"], "tag:app": "m*"}),
    )
    await views.show(
        small={81: "ready", 82: "ready"},
        live={81: "ready", 82: "ready", 83: "ready"},
        any={85: "ready"},
    )


async def test_tags_say_ports_and_weights(a_haproxy: StartHAProxy, aws: Aws, on_ec2: Install) -> None:
    (several,) = await aws.launch(address="127.0.0.1", tags={"ports": "81, 82,83", "weight": "7"})
    (single,) = await aws.launch(address="127.0.0.1", tags={"ports": "84"})
    views = await start_views_of(
        a_haproxy,
        on_ec2,
        tagged=from_ec2(aws.url, weight_tag="weight"),
        plain=from_ec2(aws.url),
        fixed=from_ec2(aws.url, port=90, filters={"instance-id": single}),
    )
    await views.show(
        tagged={81: 7, 82: 7, 83: 7, 84: 100},
        plain={81: 100, 82: 100, 83: 100, 84: 100},
        fixed={90: 100},
    )
    names = {f"dyn-{several}-{port}" for port in (81, 82, 83)} | {f"dyn-{single}"}
    assert set(await views.haproxy.servers("tagged")) == names
    before = (await views.rows("tagged"))[81]

    await aws.tag(several, weight="0", ports="81,82")
    await aws.tag(single, weight="256")
    await views.show(tagged={81: 0, 82: 0, 84: 256}, plain={81: 100, 82: 100, 84: 100})
    assert (await views.rows("tagged"))[81].id == before.id  # changed in place


async def test_private_public_and_ipv6_addresses(a_haproxy: StartHAProxy, aws: Aws, on_ec2: Install) -> None:
    await aws.launch(3, subnet=await aws.a_subnet(), ipv6=True)
    views = await start_views_of(
        a_haproxy,
        on_ec2,
        private=from_ec2(aws.url, port=80),
        public=from_ec2(aws.url, port=80, address="public"),
        ipv6=from_ec2(aws.url, port=80, address="ipv6"),
    )
    running = (await aws.instances()).values()
    addresses = {
        "private": {one.address for one in running},
        "public": {one.public for one in running},
        "ipv6": {one.ipv6 for one in running},
    }
    assert all(len(own) == 3 and "" not in own for own in addresses.values()), addresses

    async def told() -> bool:
        for backend, own in addresses.items():
            assert {row.address for row in (await views.haproxy.servers(backend)).values()} == own
        return True

    await eventually(told)
