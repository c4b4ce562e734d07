"""Which agent does a request go to? One of several addresses, over a bounded number of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from dynsrv.errors import SourceError
from dynsrv.logs import Event, get_logger
from dynsrv.sources.consul.requests import Request
from dynsrv.sources.consul.transport import AgentFailed, Response, Transport

MARGIN = 10.0
"""Seconds that a response may take in addition to the time for which it may block."""

CONNECTIONS = 96
"""To one Consul at once. Beyond 200 from one address (`limits.http_max_conns_per_client`) it resets connections without
an explanation. A blocking query counts there until its wait is over, even if the client has gone: so this is less than
half, or there would be no connection left after a restart, nor for other clients on this machine."""

SHORT_CONNECTIONS = 16
"""Of these, those for requests that do not block."""

MANY_BLOCKING = 40
"""With more blocking queries than these, each waits briefly only, so that a second restart finds connections, too."""
BRIEF_WAIT = 10.0  # seconds

QUEUE_TIMEOUT = 2.0
"""Seconds for which a blocking query waits for a connection; after that it is sent as a short one."""

MAX_SHORT_RATE = 60
"""Queries a second that may become short ones: the more there are, the longer each waits."""

T = TypeVar("T")

log = get_logger()


class Budget:
    """The connections that all requests to one Consul share. If none is free, a request waits for one.

    With more services than connections for blocking queries, those without one are polled every two seconds or so, or
    less often if there are many, until a connection is free.
    """

    def __init__(self, connections: int = CONNECTIONS, *, short: int = SHORT_CONNECTIONS) -> None:
        self._blocking = asyncio.Semaphore(connections - short)
        self._short = asyncio.Semaphore(short)
        self._queued = 0
        self._blocked = 0

    def wait(self, wait: float) -> float:
        """Return for how many of *wait* seconds a query may block now."""
        return wait if self._blocked <= MANY_BLOCKING else min(wait, BRIEF_WAIT)

    @asynccontextmanager
    async def connection(self, *, blocking: bool) -> AsyncIterator[bool]:
        """Hold a connection, and yield whether the request may block on it; *blocking* asks for that."""
        may_block = blocking and await self._acquire_blocking()
        if not may_block:
            await self._short.acquire()
        self._blocked += may_block
        try:
            yield may_block
        finally:
            self._blocked -= may_block
            (self._blocking if may_block else self._short).release()

    async def _acquire_blocking(self) -> bool:
        self._queued += 1
        try:
            async with asyncio.timeout(max(QUEUE_TIMEOUT, self._queued / MAX_SHORT_RATE)):
                await self._blocking.acquire()
        except TimeoutError:
            return False
        finally:
            self._queued -= 1
        return True


class Agents:
    """The agents of one Consul: requests go to the first until it fails, then to the next, and so on in a circle."""

    def __init__(self, addresses: Sequence[str], *, transport: Transport, budget: Budget) -> None:
        self._addresses = tuple(addresses)
        self._current = 0
        self.transport = transport
        self._budget = budget

    @property
    def address(self) -> str:
        """The one that the next request goes to."""
        return self._addresses[self._current]

    async def request(
        self, request: Request, parse: Callable[[bytes], T], *, index: int = 0, wait: float = 0.0
    ) -> tuple[T, Response]:
        """Return what *parse* makes of the first good response of an agent, and that response.

        *parse* raises a ValueError if it is not what Consul writes.

        With an *index*, Consul blocks until it has something newer, for *wait* seconds at most. An index only counts
        for the agent that is tried first: the next one answers without blocking.

        Raises:
            SourceError: every agent failed, or the request or the token is wrong.
        """
        failures: list[AgentFailed] = []
        while len(failures) < len(self._addresses):
            async with self._budget.connection(blocking=index > 0) as may_block:
                address = self.address  # only now: while this was queued, another request may have seen one fail
                try:
                    response = await self._send(address, request, index=index if may_block else 0, wait=wait)
                    value = parse(response.body)
                except ValueError as error:
                    failures.append(AgentFailed("invalid", f"{address} returned {error}"))
                except AgentFailed as failure:
                    failures.append(failure)
                else:
                    if failures:
                        log.warning(Event.CONSUL_AGENT_SWITCHED, agent=address, error=str(failures[-1]))
                    return value, response
            index = 0
            self._skip(address)
        reasons = [failure.reason for failure in failures]
        # An agent that answers, even with an error, says more than one that does not.
        reason = next((each for each in reasons if each != "unreachable"), reasons[0])
        raise SourceError(reason, "; ".join(dict.fromkeys(map(str, failures))))

    async def _send(self, address: str, request: Request, *, index: int, wait: float) -> Response:
        timeout = MARGIN
        if index:
            wait = self._budget.wait(wait)
            blocking = (("index", str(index)), ("wait", f"{round(wait * 1000)}ms"))
            request = Request(request.path, (*request.params, *blocking))
            # Consul adds up to a sixteenth at random, so that not all queries return at once.
            timeout += wait * 17 / 16
        return checked(await self.transport.send(address, request, timeout=timeout), address)

    def _skip(self, address: str) -> None:
        if address == self.address:  # another request may have done so before
            self._current = (self._current + 1) % len(self._addresses)


_LEADERLESS = ("leader", "rpc error", "no known consul servers")
"""How a missing leader is reported: at first `rpc error making call: EOF`, after 7 s `No cluster leader`."""


def checked(response: Response, address: str) -> Response:
    """Return *response* if its status is 200.

    Raises:
        AgentFailed: this agent cannot answer now.
        SourceError: no agent would answer this request.
    """
    message = _message(response.body)
    match response.status:
        case 200:
            return response
        case 401 | 403:
            why = "Consul does not know the token" if "ACL not found" in message else "the token does not allow this"
            raise SourceError("acl", f"{address} denied access: {message}; {why}")
        case 429:
            raise AgentFailed("overloaded", f"{address} receives too many requests (429): {message}")
        case 500 if "No path to datacenter" in message or "Failed to create boolean expression" in message:
            raise SourceError("request", f"{address} rejected the request: {message}")
        case 500 if any(words in message.lower() for words in _LEADERLESS):
            # Without Consul's message, which names another server each time.
            raise AgentFailed("leader", f"{address} cannot reach the leader of the Consul servers (500)")
        case status if status >= 500:
            raise AgentFailed("server", f"{address} failed ({status}): {message}")
        case status if 300 <= status < 400:
            location = (response.location or "nowhere")[:200]
            raise AgentFailed("invalid", f"{address} redirects to {location} ({status}); is that Consul's HTTP API?")
        case status:
            raise SourceError("request", f"{address} rejected the request ({status}): {message}")


def _message(body: bytes) -> str:
    """Return the first line of an error, safe to log."""
    line = body[:300].decode("utf-8", "replace").strip().partition("\n")[0]
    return "".join(character if character.isprintable() else " " for character in line) or "no message"
