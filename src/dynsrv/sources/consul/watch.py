"""Which instances does a service have now? One blocking query, repeated for all backends that need it.

What can be wrong with a response of status 200, and what is done about it:

    nobody knows how old it is              the first request of a watch is `consistent`
    its index is lower than a known one     requested again, `consistent`
    its index went back, or is below 1      the next request has none, and does not block
    the service has no instances left       requested again, `consistent`; may the token still read the service?
    a node is missing                       requested again if the request was blocking, since Consul may have read the
                                            result when that began; may the token read the node?
    it contains nothing new                 the next request is delayed, longer each time

A leader that has not caught up, a follower that lags, and a token that lost permissions all cause such responses. Any
failure ends the watch; the next one begins without an index.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from dynsrv.errors import SourceError
from dynsrv.logs import Event, get_logger
from dynsrv.sources.consul import responses
from dynsrv.sources.consul.agents import Agents
from dynsrv.sources.consul.permission import acl_error, check_permission
from dynsrv.sources.consul.requests import Consistency, Query
from dynsrv.sources.consul.responses import Instance
from dynsrv.sources.shared_watch import SharedWatch

MIN_PAUSE = 0.02
"""Seconds between two requests at least: a service whose instances come and go cannot keep dynsrv busy."""
MAX_PAUSE = 2.0

TOO_SOON = 1.0
"""A response without news that comes within so many seconds makes the next pause longer."""

RESTART_SPREAD = 1.0
"""Seconds over which watches that failed together restart: a Consul server may have thousands of clients."""

log = get_logger()

Instances = tuple[Instance, ...]


class Watch(SharedWatch[Instances]):
    """Follows one query while it has subscribers; Consul gets the same requests however many there are.

    Publishes the instances after each response: the same object while nothing changed. *wait* is how many seconds a
    request may block.
    """

    def __init__(self, agents: Agents, query: Query, *, wait: float) -> None:
        super().__init__()
        self.agents = agents
        self.query = query
        self._wait = wait
        # Kept when a task fails and the next one starts: an outage makes no response more credible.
        self._known: Instances = ()
        self._highest_index = 0

    def __repr__(self) -> str:
        return f"<Watch of {self.query.service}, {self.subscribers} subscribers>"

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        index = futile = 0
        if self._failures:
            await asyncio.sleep(random.uniform(0.0, RESTART_SPREAD))  # noqa: S311 - no secret
        async with self.agents.transport:
            while True:
                began = clock()
                if self._latest is None:
                    result = await self._first()
                else:
                    result = await self._request(index=index, wait=self._wait)
                blocked = clock() - began - result.seconds
                result = await self._verified(result)
                index = result.index if result.index >= max(index, 1) else 0
                self._highest_index = result.index
                known = self._latest
                if known is None or result.instances != known:
                    known = self._known = result.instances
                    futile = 0
                else:
                    # Woken by something else, or by an index that does not block: it must not become a storm.
                    futile = min(futile + 1, 10) if blocked < TOO_SOON else 0
                self._publish(known)
                # Pause for as long as the response took to read: reading takes half of the time at most.
                del result  # or a second copy of the instances would be kept while the next request blocks
                await asyncio.sleep(max(clock() - began - blocked, MIN_PAUSE - blocked, _pause(futile)))

    async def _first(self) -> _Result:
        """Return the first result: a consistent one; with `stale`, any server's while there is no leader."""
        try:
            return await self._request(Consistency.CONSISTENT)
        except SourceError as error:
            if not self.query.stale or error.reason not in {"leader", "server", "timeout"}:
                raise
        return await self._request()

    async def _request(self, consistency: Consistency | None = None, *, index: int = 0, wait: float = 0.0) -> _Result:
        request = self.query.instances(consistency)
        instances, response = await self.agents.request(request, responses.instances, index=index, wait=wait)
        if response.index is None:
            problem = "the response has no X-Consul-Index; does a proxy remove it?"
            raise SourceError("invalid", f"{self.agents.address}: {problem}")
        if response.filtered:
            raise acl_error(self.query, "may not read all of it (X-Consul-Results-Filtered-By-ACLs)")
        consistent = consistency is Consistency.CONSISTENT
        return _Result(instances, response.index, response.seconds, consistent=consistent, blocking=index > 0)

    async def _verified(self, result: _Result) -> _Result:
        """Return *result* if it can be believed, otherwise a newer one."""
        first = self._latest is None
        if result.blocking and self._missing_nodes(result) and not self._doubtful(result):
            result = await self._request()
        if self._doubtful(result) and not result.consistent:
            doubtful, result = result, await self._request(Consistency.CONSISTENT)
            if doubtful.instances != result.instances:
                log.info(Event.CONSUL_ANSWER_CORRECTED, service=self.query.service, instances=len(result.instances))
        missing = self._missing_nodes(result)
        if missing or (first and not result.instances):
            await check_permission(self.agents, self.query, nodes=missing or {""})
        return result

    def _doubtful(self, result: _Result) -> bool:
        """Return whether *result* is older than what is known, or has no instances left."""
        emptied = not result.instances and (self._known or self._latest is None)
        return bool(emptied) or result.index < self._highest_index

    def _missing_nodes(self, result: _Result) -> set[str]:
        """Return the nodes that are known, and not in *result*."""
        return responses.nodes(self._known) - responses.nodes(result.instances)


@dataclass(frozen=True, slots=True)
class _Result:
    """The response to a query. *seconds* is how long its body took to arrive."""

    instances: Instances
    index: int
    seconds: float
    consistent: bool
    blocking: bool


def _pause(futile: int) -> float:
    """Return the pause after so many futile requests: random, since other clients are woken by the same event."""
    if not futile:
        return 0.0
    longest: float = min(MAX_PAUSE, MIN_PAUSE * 2**futile)
    return random.uniform(longest / 2, longest)  # noqa: S311 - no secret
