"""Whatever comes back from AWS, or from what stands between, the servers stay, and are followed again soon after."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack

import pytest

from dynsrv.logs import Event
from tests.integration.support.aws import GROUP, Aws, from_ec2
from tests.integration.support.aws_faults import Fault, FaultyAws
from tests.integration.support.controller import Install
from tests.integration.support.ec2_stage import Ec2Stage
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.outage import BACKEND, backends
from tests.integration.support.ports import a_port
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

# Which HAProxy it is makes no difference to AWS.
pytestmark = pytest.mark.any_version

REASONS: dict[Fault, str] = {
    "throttled": "throttled",
    "throttling": "throttled",
    "unavailable": "server",
    "500": "server",
    "502": "server",
    "truncated": "unreachable",
    "reset": "unreachable",
    "unauthorized": "denied",
    "access-denied": "denied",
    "auth-failure": "credentials",
    "request-expired": "credentials",
    "expired-token": "credentials",
    "bad-filter": "request",
    "html": "invalid",
    "redirect": "invalid",
    "other-xml": "invalid",
    "not-xml": "invalid",
}
TRANSIENT = {"throttled", "server", "unreachable"}
"""Of these, botocore asks three times before it says so."""


class Several:
    """Several faults at once, each between the same AWS and a backend of its own; the load goes to the first."""

    def __init__(self, aws: Aws, faults: Iterable[Fault]) -> None:
        self.aws = aws
        self.faults = {fault if number else BACKEND: fault for number, fault in enumerate(faults)}
        self.between = {backend: FaultyAws(aws) for backend in self.faults}
        self.reasons = {backend: {REASONS[fault]} for backend, fault in self.faults.items()}

    def sources(self, **keys: object) -> dict[str, dict[str, object]]:
        return {backend: from_ec2(one.url, **keys) for backend, one in self.between.items()}

    def begin(self) -> None:
        for backend, one in self.between.items():
            one.fault = self.faults[backend]

    def end(self) -> None:
        for one in self.between.values():
            one.fault = None


@pytest.fixture
def several(aws: Aws, stack: AsyncExitStack) -> StartSeveral:
    """Start something between dynsrv and AWS for each fault."""

    async def start(*faults: Fault) -> Several:
        several = Several(aws, faults)
        for one in several.between.values():
            await stack.enter_async_context(one)
        return several

    return start


StartSeveral = Callable[..., Awaitable[Several]]


@pytest.fixture
async def stage(
    haproxy: HAProxy, faulty_aws: FaultyAws, web_servers: WebServers, on_ec2: Install
) -> AsyncIterator[Ec2Stage]:
    """Three instances; if the source wants none of them, all go."""
    sources = {BACKEND: from_ec2(faulty_aws.url)}
    async with Ec2Stage(haproxy, on_ec2, await web_servers(4), faulty_aws.aws, sources=sources) as stage:
        yield stage


@pytest.mark.parametrize(
    "reasons", [TRANSIENT, {"denied", "credentials", "request"}, {"invalid"}], ids=["transient", "refused", "invalid"]
)
async def test_an_answer_that_is_none_changes_nothing_and_is_told_once(
    a_haproxy: StartHAProxy, several: StartSeveral, web_servers: WebServers, on_ec2: Install, *, reasons: set[str]
) -> None:
    faults = await several(*(fault for fault, reason in REASONS.items() if reason in reasons))
    haproxy = await a_haproxy(extra=backends(*list(faults.between)[1:]))
    async with Ec2Stage(haproxy, on_ec2, await web_servers(4), faults.aws, sources=faults.sources()) as stage:
        outage = await stage.outage()
        faults.begin()
        await outage.are_told(faults.reasons)
        faults.end()
        await outage.ends(" ".join(faults.faults.values()))


async def test_a_later_page_that_fails_takes_no_server_away(
    a_haproxy: StartHAProxy, several: StartSeveral, web_servers: WebServers, on_ec2: Install
) -> None:
    faults = await several("throttled", "html", "reset")
    haproxy = await a_haproxy(extra=backends("html", "reset"))
    for one in faults.between.values():
        one.instances.at_most = 1  # of three
        one.later_pages = True
    async with Ec2Stage(haproxy, on_ec2, await web_servers(4), faults.aws, sources=faults.sources()) as stage:
        outage = await stage.outage()
        faults.begin()
        await outage.are_told(faults.reasons, attempts=1)
        for one in faults.between.values():
            assert {"NextToken" in request.form for request in one.asked("DescribeInstances")} == {True, False}
        faults.end()
        await outage.ends("the second page")


async def test_the_servers_of_a_group_stay_while_auto_scaling_does_not_answer(
    a_haproxy: StartHAProxy, several: StartSeveral, web_servers: WebServers, on_ec2: Install
) -> None:
    faults = await several("throttling", "access-denied")
    haproxy = await a_haproxy(extra=backends("access-denied"))
    for one in faults.between.values():
        one.only = "DescribeAutoScalingGroups"
    await faults.aws.a_group()
    sources = faults.sources(auto_scaling_group=GROUP)
    async with Ec2Stage(haproxy, on_ec2, await web_servers(4), faults.aws, sources=sources, group=GROUP) as stage:
        outage = await stage.outage()
        faults.begin()
        await outage.are_told(faults.reasons, attempts=1)
        faults.end()
        await outage.ends("Auto Scaling alone")


async def test_an_answer_that_does_not_come_is_waited_for(stage: Ec2Stage, faulty_aws: FaultyAws) -> None:
    outage = await stage.outage(seen_by=())
    faulty_aws.fault = "silent"
    asked = len(faulty_aws.requests)
    await eventually(lambda: len(faulty_aws.requests) > asked)
    await outage.changes_nothing()
    faulty_aws.fault = None
    await outage.ends("silent")


async def test_a_daemon_that_waits_for_an_answer_stops_at_once(
    haproxy: HAProxy, faulty_aws: FaultyAws, on_ec2: Install
) -> None:
    faulty_aws.fault = "silent"
    controller = on_ec2(haproxy, backend={"source": from_ec2(faulty_aws.url)})
    await controller.start()
    await eventually(lambda: faulty_aws.requests)
    assert await controller.stop() == 0  # and does not wait for it
    await controller.start()
    await eventually(lambda: len(faulty_aws.requests) > 1)
    assert await controller.stop(signal.SIGINT) == 0


async def test_an_empty_answer_is_a_good_one_and_the_guard_decides(
    haproxy: HAProxy, faulty_aws: FaultyAws, web_servers: WebServers, on_ec2: Install
) -> None:
    sources = {BACKEND: from_ec2(faulty_aws.url)}
    servers = await web_servers(4)
    async with Ec2Stage(haproxy, on_ec2, servers, faulty_aws.aws, sources=sources, limits={}) as stage:
        outage = await stage.outage(seen_by=())
        faulty_aws.fault = "empty"
        await stage.controller.logged(Event.REMOVAL_BLOCKED)
        assert "degraded: backend be_app on lb1: guard: " in await stage.get("/readyz")
        await outage.changes_nothing()
        faulty_aws.fault = None
        await outage.ends("empty")


async def test_an_aws_that_is_not_there_at_the_start_is_followed_when_it_comes(
    haproxy: HAProxy, aws: Aws, web_servers: WebServers, on_ec2: Install, *, stack: AsyncExitStack
) -> None:
    servers = await web_servers(1)
    await aws.launch_for(servers[0])
    port = stack.enter_context(a_port())
    controller = on_ec2(haproxy, backend={"source": from_ec2(f"http://127.0.0.1:{port}")})
    await controller.start()
    line = await controller.logged(Event.SOURCE_FAILED)
    assert "reason=unreachable" in line
    assert await haproxy.servers() == {}
    async with FaultyAws(aws, port=port):
        await serves(haproxy, servers)
        await controller.stop()
    assert len(controller.lines(Event.SOURCE_FAILED)) == 1


async def test_backends_that_ask_the_same_share_their_questions_and_their_failures(
    a_haproxy: StartHAProxy, faulty_aws: FaultyAws, web_servers: WebServers, on_ec2: Install
) -> None:
    haproxy = await a_haproxy(extra=backends("be_1", "be_2"))
    sources = {name: from_ec2(faulty_aws.url) for name in (BACKEND, "be_1", "be_2")}
    async with Ec2Stage(haproxy, on_ec2, await web_servers(4), faulty_aws.aws, sources=sources) as stage:
        outage = await stage.outage()
        asked = len(faulty_aws.requests)
        began = time.monotonic()
        await eventually(lambda: len(faulty_aws.requests) >= asked + 4)
        assert time.monotonic() - began > 2.5  # three pauses of a second, more or less
        faulty_aws.fault = "request-expired"
        await outage.is_told("credentials", attempts=1)
        faulty_aws.fault = None
        await outage.ends("in three backends")
