"""dynsrv follows the instances of an EC2 that fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.integration.support.aws import Aws
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy
from tests.integration.support.outage import Stage
from tests.integration.support.web_servers import WebServer


class Ec2Stage(Stage):
    """Each server is an instance in *aws*, tagged app=web and with its port; with *group*, one of that group."""

    def __init__(
        self,
        haproxy: HAProxy,
        install: Install,
        servers: Sequence[WebServer],
        aws: Aws,
        *,
        sources: Mapping[str, Mapping[str, object]],
        group: str | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(haproxy, install, servers, sources=sources, **arguments)
        self.aws = aws
        self._group = group
        self.instances: dict[WebServer, str] = {}

    async def register(self, servers: Sequence[WebServer]) -> None:
        for one in servers:
            self.instances[one] = await self.aws.launch_for(one)
            if self._group is not None:
                await self.aws.attach(self.instances[one], group=self._group)

    async def deregister(self, server: WebServer) -> None:
        await self.aws.terminate(self.instances[server])

    def name(self, server: WebServer) -> str:
        return f"dyn-{self.instances[server]}"
