"""What Auto Scaling does with the instances of a group, HAProxy follows, and no request is lost."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from dynsrv.logs import Event
from tests.integration.support.aws import GROUP, Aws, from_ec2
from tests.integration.support.aws_faults import FaultyAws
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy
from tests.integration.support.load import Load, load
from tests.integration.support.ports import a_port
from tests.integration.support.views import start_views_of
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer

pytestmark = pytest.mark.any_version


class Fleet:
    """A web server for each instance that a group launched, all of them on one port."""

    def __init__(self, aws: Aws, haproxy: HAProxy, *, port: int) -> None:
        self._aws = aws
        self._haproxy = haproxy
        self.port = port
        self.servers: dict[str, WebServer] = {}  # by instance

    async def scale(self, desired: int) -> None:
        """Scale the group, boot what is new, and wait until exactly its instances are live and get requests."""
        await self._aws.scale(desired)
        await self.serves()

    async def boot(self) -> None:
        for instance in (await self._aws.instances()).values():
            if instance.id not in self.servers:
                server = WebServer(instance.address, self.port, number=len(self.servers))
                self.servers[instance.id] = await server.start()

    async def serves(self) -> None:
        await self.boot()
        serving = {one for one, state in (await self._aws.members()).items() if state == "InService"}

        async def exactly() -> bool:
            rows = await self._haproxy.servers()
            assert rows.keys() == {f"dyn-{one}" for one in serving}, rows
            assert {row.address for row in rows.values()} == {self.servers[one].host for one in serving}
            assert all(row.ready and row.operational == 2 for row in rows.values()), rows
            return True

        await eventually(exactly)

    async def stop(self) -> None:
        for server in self.servers.values():
            await server.stop()


@pytest.fixture
async def fleet(aws: Aws, haproxy: HAProxy, stack: AsyncExitStack) -> Fleet:
    """A group of two instances in a network of loopback's."""
    await aws.a_group(desired=2, subnet=await aws.a_subnet("127.7.0.0/16"))
    fleet = Fleet(aws, haproxy, port=stack.enter_context(a_port()))
    stack.push_async_callback(fleet.stop)
    return fleet


async def test_a_group_that_grows_and_shrinks_under_load_loses_no_request(
    haproxy: HAProxy, aws: Aws, fleet: Fleet, on_ec2: Install
) -> None:
    source = from_ec2(aws.url, auto_scaling_group=GROUP, port=fleet.port)
    controller = on_ec2(haproxy, backend={"source": source})
    await controller.start()
    await fleet.serves()
    async with load(haproxy.frontend, pause=0.005) as counts:
        for desired in (5, 1, 3):
            await fleet.scale(desired)
            await _goes_on(counts)
    assert not counts.failed
    assert set(counts.answered) == {server.number for server in fleet.servers.values()}


async def _goes_on(counts: Load) -> None:
    sent = counts.sent
    await eventually(lambda: counts.sent > sent + 100)


async def test_an_instance_in_standby_is_drained_and_one_that_is_detached_goes(
    haproxy: HAProxy, aws: Aws, fleet: Fleet, on_ec2: Install
) -> None:
    source = from_ec2(aws.url, auto_scaling_group=[GROUP], port=fleet.port)
    controller = on_ec2(haproxy, backend={"source": source})
    await controller.start()
    await fleet.serves()
    first, second = await aws.members()
    before = await haproxy.servers()
    async with load(haproxy.frontend, pause=0.005) as counts:
        await aws.enter_standby(first)

        async def drained() -> bool:
            rows = await haproxy.servers()
            assert {name: row.draining for name, row in rows.items()} == {f"dyn-{first}": True, f"dyn-{second}": False}
            return True

        await eventually(drained)
        await aws.exit_standby(first)
        await fleet.serves()
        assert (await haproxy.servers())[f"dyn-{first}"].id == before[f"dyn-{first}"].id
        await aws.detach(second)  # it goes on running, with all its other tags
        await fleet.serves()
        await aws.attach(second)
        await fleet.serves()
    assert not counts.failed
    assert set(counts.answered) == {0, 1}


async def test_the_lifecycle_states_of_an_instance(
    a_haproxy: StartHAProxy, aws: Aws, faulty_aws: FaultyAws, on_ec2: Install
) -> None:
    told = {
        "Pending": "ready",
        "Pending:Wait": "ready",
        "Pending:Proceed": "ready",
        "InService": "ready",
        "EnteringStandby": "drain",
        "Standby": "drain",
        "Detaching": "drain",
        "Terminating": "drain",
        "Terminating:Wait": "drain",
        "Terminating:Proceed": "drain",
        "Terminated": "drain",
        "Warmed:Pending": None,
        "Warmed:Running": None,
        "Warmed:Stopped": None,
        "Warmed:Terminating:Wait": None,
    }
    await aws.a_group()
    shown: dict[int, str] = {}
    for port, (state, meaning) in enumerate(told.items(), 81):
        (own,) = await aws.launch(address="127.0.0.1", tags={"ports": str(port)})
        await aws.attach(own)
        faulty_aws.lifecycle.states[own] = state
        shown |= {port: meaning} if meaning else {}
    source = from_ec2(faulty_aws.url, auto_scaling_group=GROUP)
    views = await start_views_of(a_haproxy, on_ec2, app=source)
    await views.show(app=shown)
    faulty_aws.lifecycle.states.clear()
    await views.show(app=dict.fromkeys(range(81, 81 + len(told)), "ready"))


async def test_several_groups_and_an_instance_that_only_has_the_tag_of_one(
    a_haproxy: StartHAProxy, aws: Aws, on_ec2: Install
) -> None:
    for port, group in ((81, "blue"), (82, "green"), (83, "red")):
        await aws.a_group(group)
        (own,) = await aws.launch(address="127.0.0.1", tags={"ports": str(port), "stage": "live"})
        await aws.attach(own, group=group)
    # moto takes this tag from everybody, AWS from nobody; what a warm pool has looks so.
    await aws.launch(address="127.0.0.1", tags={"ports": "84", "aws:autoscaling:groupName": "blue"})
    views = await start_views_of(
        a_haproxy,
        on_ec2,
        both=from_ec2(aws.url, auto_scaling_group=["blue", "green"]),
        live=from_ec2(aws.url, auto_scaling_group="blue", filters={"tag:stage": ["live"]}),
        test=from_ec2(aws.url, auto_scaling_group="blue", filters={"tag:stage": ["test"]}),
    )
    await views.show(both={81: "ready", 82: "ready"}, live={81: "ready"}, test={})


async def test_a_group_that_does_not_exist_is_told(haproxy: HAProxy, aws: Aws, on_ec2: Install) -> None:
    await aws.a_group("blue")
    source = from_ec2(aws.url, auto_scaling_group=["blue", "gren"])
    controller = on_ec2(haproxy, backend={"source": source})
    await controller.start()
    line = await controller.logged(Event.SOURCE_FAILED)
    assert "reason=request" in line
    assert "there is no Auto Scaling group gren" in line
    await aws.a_group("gren")
    await controller.logged(Event.FIRST_ENDPOINTS_RECEIVED)
