"""What is HAProxy's state now? Queried by the demo itself, independently of dynsrv."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dynsrv.errors import ProxyUnreachable
from dynsrv.haproxy.proxy import HAProxy
from dynsrv.model import Server
from dynsrv.runtime import Client

_PAUSE = 0.05  # seconds between two observations


class Observer:
    """Observes one backend of the HAProxy at the stats socket *address*, continuously."""

    def __init__(self, address: Path, *, backend: str) -> None:
        self._client = Client(str(address))
        self._proxy = HAProxy("demo", self._client)
        self._backend = backend
        self._observed = asyncio.Condition()
        self.servers: tuple[Server, ...] = ()

    async def run(self) -> None:
        """Observe until cancelled."""
        async with self._client:
            while True:
                with suppress(ProxyUnreachable):  # keep the last state; `until` keeps waiting
                    self.servers = (await self._proxy.observe(self._backend, with_maxconn=False)).servers
                async with self._observed:
                    self._observed.notify_all()
                await asyncio.sleep(_PAUSE)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* holds; it is evaluated after every observation."""
        async with self._observed:
            await self._observed.wait_for(condition)
