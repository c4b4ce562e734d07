"""dynsrv follows the service web of a Consul that fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.integration.support.consul_api import ConsulAPI
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy
from tests.integration.support.outage import Stage
from tests.integration.support.web_servers import WebServer


class ConsulStage(Stage):
    """The servers are registered at *consul*. With *by_agent* they belong to the agent, else to the node elsewhere."""

    def __init__(
        self,
        haproxy: HAProxy,
        install: Install,
        servers: Sequence[WebServer],
        consul: ConsulAPI,
        *,
        sources: Mapping[str, Mapping[str, object]],
        by_agent: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(haproxy, install, servers, sources=sources, **arguments)
        self.consul = consul
        self._by_agent = by_agent

    async def register(self, servers: Sequence[WebServer]) -> None:
        if self._by_agent:
            for one in servers:
                own = await self.consul.register("web", address="127.0.0.1", port=one.port)
                # An agent that starts again remembers only what a check was told.
                await self.consul.set_status(own, "passing")
        else:
            await self.consul.register_many("web", [("127.0.0.1", one.port) for one in servers])

    async def deregister(self, server: WebServer) -> None:
        if self._by_agent:
            await self.consul.deregister(f"web-{server.port}")
        else:
            await self.consul.deregister_many("web", [("127.0.0.1", server.port)])

    def name(self, server: WebServer) -> str:
        return f"dyn-127.0.0.1:{server.port}"
