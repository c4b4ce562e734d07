"""A client that talks to a FakeHAProxy in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynsrv.runtime import Client, ProcessInfo, commands
from tests.fakes.haproxy import FakeBackend, FakeHAProxy, FakeServer
from tests.fakes.streams import Fault, Wire


class Talk:
    """A client, the HAProxy that it talks to, and the wire between them."""

    def __init__(self, version: str = "3.2.26-1", **options: Any) -> None:
        self.haproxy = FakeHAProxy(version, backends=[FakeBackend(servers=[FakeServer("s1")])])
        self.wire = Wire(self.haproxy)
        self.client = Client("/run/haproxy/admin.sock", opener=self.wire, **options)

    async def process(self) -> ProcessInfo:
        """Ask who answers."""
        return await self.client.run(commands.info())

    def before(self, line: str, happens: Callable[[], None], *, time: int = 1) -> None:
        """Let something happen before HAProxy reads *line* for the so manieth time from now."""
        earlier = self.wire.before_line
        left = time

        def look(read: str) -> None:
            nonlocal left
            earlier(read)
            if read == line:
                left -= 1
                if left == 0:
                    happens()

        self.wire.before_line = look

    def spoil(self, fault: Fault, *, connection: int = 0) -> None:
        """Let *fault* befall a connection, counted in bytes from now."""
        self.wire.connections[connection].spoil(fault)
