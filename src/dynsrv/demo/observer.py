"""What does HAProxy have now? Asked by the demo itself, so that dynsrv is not its own witness."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dynsrv.errors import ProxyUnreachable
from dynsrv.haproxy.proxy import HAProxy
from dynsrv.model import Server
from dynsrv.runtime import Client

_PAUSE = 0.05  # seconds between two looks


class Observer:
    """Looks at one backend of the HAProxy behind the stats socket *address*, again and again."""

    def __init__(self, address: Path, *, backend: str) -> None:
        self._client = Client(str(address))
        self._proxy = HAProxy("demo", self._client)
        self._backend = backend
        self._looked = asyncio.Condition()
        self.servers: tuple[Server, ...] = ()

    async def run(self) -> None:
        """Look until cancelled."""
        async with self._client:
            while True:
                with suppress(ProxyUnreachable):  # then the last look stays, and who waits for another waits on
                    self.servers = (await self._proxy.observe(self._backend, with_maxconn=False)).servers
                async with self._looked:
                    self._looked.notify_all()
                await asyncio.sleep(_PAUSE)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition*, which is asked after every look, holds."""
        async with self._looked:
            await self._looked.wait_for(condition)
