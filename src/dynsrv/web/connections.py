"""How many connections may clients have? So few that file descriptors remain for HAProxy and the sources."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from dynsrv.logs import Event, get_logger

MAX_CONNECTIONS = 1000
"""At most, and at most half of the file descriptors that the process may open."""

IDLE_TIMEOUT = 20.0
"""Seconds until a connection is closed that has sent no whole request head, or none since the last response."""

HANDSHAKE_TIMEOUT = 5.0
"""Seconds that a TLS handshake may take."""

BACKLOG = 32
"""Connections that wait to be accepted. asyncio accepts as many before it opens them, so they may exceed the limit."""

_LOG_INTERVAL = 60.0

log = get_logger()


def connection_limit() -> int:
    """Return how many connections clients may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // 2)


class BoundedConnections:
    """Creates the protocols of *server*, for at most *limit* connections at a time.

    A further connection replaces the oldest one without a request in progress. If there is none, it is closed.
    """

    def __init__(self, server: Callable[[], Any], connections: Callable[[], list[Any]], *, limit: int) -> None:
        self._create = server
        self._connections = connections
        self._limit = limit
        self._busy: set[Any] = set()
        self._closed: set[Any] = set()

    def __call__(self) -> asyncio.BaseProtocol:
        """Return the protocol of a new connection."""
        connections = self._connections()
        self._closed.intersection_update(connections)
        current = [one for one in connections if one not in self._closed]
        if len(current) >= self._limit:
            idle = next((one for one in current if one not in self._busy), None)
            if idle is None:
                return _Refusal()
            self._closed.add(idle)
            idle.force_close()
        protocol: asyncio.BaseProtocol = self._create()
        return protocol

    async def handle(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Have *handler* answer *request*, whose connection is busy meanwhile."""
        protocol = request.protocol
        self._busy.add(protocol)
        try:
            return await handler(request)
        finally:
            self._busy.discard(protocol)


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def log_accept_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Log that connections cannot be accepted once a minute: asyncio reports it thousands of times a second."""
    logged = -_LOG_INTERVAL

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal logged
        # after such an error asyncio listens again, even on a socket that was closed meanwhile
        if not any(word in str(context.get("message")) for word in ("accept", "_start_serving")):
            loop.default_exception_handler(context)
        elif loop.time() - logged >= _LOG_INTERVAL:
            logged = loop.time()
            log.error(Event.ACCEPT_FAILED, error=str(context.get("exception")))

    loop.set_exception_handler(handler)
