"""A group of instances that wait to end until their lifecycle action is completed, and dynsrv's view of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.integration.support.aws import GROUP, from_ec2
from tests.integration.support.aws_faults import FaultyAws
from tests.integration.support.aws_played import Action
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.load import request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer

HEARTBEAT = 3.0
"""Seconds that Auto Scaling waits for a heartbeat here; at AWS, 30 are the least."""
HEARTBEATS = "RecordLifecycleActionHeartbeat"
COMPLETIONS = "CompleteLifecycleAction"
LOOKS = "DescribeInstances"


class EndingGroup:
    """Instances with a web server each, which ends with its instance: completed, or when a heartbeat is late."""

    def __init__(self, faulty_aws: FaultyAws, servers: Sequence[WebServer]) -> None:
        self.aws = faulty_aws.aws
        self.between = faulty_aws
        self.old, self.new = servers
        self.instances: dict[str, WebServer] = {}
        self.proxies: list[HAProxy] = []
        self.left: list[set[str]] = []  # servers of an instance when it ended

    async def prepare(self) -> None:
        """Make the group with its hook, and launch an instance for both servers."""
        await self.aws.a_group()
        await self.aws.a_hook(heartbeat=HEARTBEAT)
        await self.aws.a_hook("boot", transition="LAUNCHING")  # of no interest to dynsrv
        self.between.lifecycle.at_end = self._end
        for server in (self.old, self.new):
            await self.launch(server)

    def source(self, **keys: object) -> dict[str, object]:
        own = {"auto_scaling_group": GROUP, "complete_lifecycle": True}
        return from_ec2(self.between.url, **{**own, **keys})

    async def started(self, install: Install, *proxies: HAProxy, **keys: object) -> Dynsrv:
        """Start dynsrv with *keys* for its source, and wait until both instances serve on all *proxies*."""
        self.proxies = list(proxies)
        controller = install(*proxies, backend={"source": self.source(**keys), "drain": {"timeout": "60s"}})
        await controller.start()
        for haproxy in proxies:
            await serves(haproxy, [self.old, self.new])
        return controller

    async def launch(self, server: WebServer, **tags: str) -> str:
        own = await self.aws.launch_for(server, **tags)
        await self.aws.attach(own)
        self.instances[own] = server
        return own

    async def hold(self, server: WebServer, *, hook: str = "drain") -> Action:
        """Let Auto Scaling begin to end the instance of *server*."""
        (instance,) = [one for one, own in self.instances.items() if own is server]
        return await self.between.lifecycle.hold(instance, hook=hook)

    async def _end(self, instance: str) -> None:
        for haproxy in self.proxies:
            self.left.append({name for name in await haproxy.servers() if instance in name})
        await self.instances[instance].stop()

    async def slow(self, haproxy: HAProxy) -> list[asyncio.Task[int]]:
        """Start requests of which at least one is answered by the old server, when it is released."""
        slow = [asyncio.create_task(request(haproxy.frontend, "/slow", timeout=60)) for _ in range(4)]
        await eventually(lambda: self.old.slow_running)
        return slow

    async def answer(self, slow: list[asyncio.Task[int]]) -> None:
        """Release them, and fail if one was lost."""
        for server in (self.old, self.new):
            server.release()
        assert {await one for one in slow} == {self.old.port, self.new.port}

    async def looked(self, times: int = 2) -> None:
        """Wait until dynsrv asked for the instances so often from now on."""
        known = len(self.between.asked(LOOKS))
        await eventually(lambda: len(self.between.asked(LOOKS)) >= known + times)

    async def is_completed(self, action: Action) -> None:
        """Wait until the instance ended, and fail if that was too early, or not because of a completion."""
        await eventually(lambda: action.over)
        assert not action.expired

        async def ended() -> bool:
            return (await self.aws.instances())[action.instance].state == "terminated"

        await eventually(ended)
        assert not any(self.left), self.left
        assert action.results == ["CONTINUE"]
