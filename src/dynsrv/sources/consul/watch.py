"""Which instances are there now? A blocking query that is asked again and again, for all backends that want to know.

What can be wrong with a good answer, and what is done about it:

    nobody knows how old it is              the first question of a watch is `consistent`
    its index is below what was known       asked again with `consistent`
    its index went back, or is below 1      the next question has none, and is answered at once
    nothing is left of the service          asked again with `consistent`, and whether the token may still read
    a node is not seen any more             asked again, if Consul kept the question: it may have been answered when the
                                            token could read less; and asked whether the token may read the node now
    it tells nothing new                    the next question waits, ever longer

A leader that has not caught up yet, a follower that lags, and a token that lost its rights give such answers, all with
the status 200. Any failure ends the watch; the next one begins without an index.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from dynsrv.errors import SourceError
from dynsrv.logs import Event, get_logger
from dynsrv.sources.consul import answers
from dynsrv.sources.consul.agents import Agents
from dynsrv.sources.consul.answers import Instance
from dynsrv.sources.consul.permission import check_permission, hidden
from dynsrv.sources.consul.questions import Consistency, Query
from dynsrv.sources.shared_watch import SharedWatch

SHORTEST_PAUSE = 0.02
"""Seconds between two questions at least: a service whose instances come and go cannot keep dynsrv busy."""
LONGEST_PAUSE = 2.0

STORM = 1.0
"""An answer without news that comes sooner than after so many seconds was for nothing."""

SPREAD = 1.0
"""Seconds over which those begin again that failed together: a server of Consul's may have thousands of clients."""

log = get_logger()

Instances = tuple[Instance, ...]


class Watch(SharedWatch[Instances]):
    """Follows one query while anybody wants to know; Consul is asked once, however many do.

    It publishes the instances after each answer, as the same object while nothing changes. *wait* is how many seconds
    Consul may block a query without news.
    """

    def __init__(self, agents: Agents, query: Query, *, wait: float) -> None:
        super().__init__()
        self.agents = agents
        self.query = query
        self._wait = wait
        # What earlier tasks found out counts, too: an outage makes nothing true.
        self._known: Instances = ()
        self._newest = 0

    def __repr__(self) -> str:
        return f"<Watch of {self.query.service}, {self.followers} followers>"

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        index = wasted = 0
        if self._failures:
            await asyncio.sleep(random.uniform(0.0, SPREAD))  # noqa: S311 - no secret
        async with self.agents.transport:
            while True:
                began = clock()
                if self._latest is None:
                    answer = await self._begin()
                else:
                    answer = await self._ask(index=index, wait=self._wait)
                waited = clock() - began - answer.seconds
                answer = await self._judged(answer)
                index = answer.index if answer.index >= max(index, 1) else 0
                self._newest = answer.index
                known = self._latest
                if known is None or answer.instances != known:
                    known = self._known = answer.instances
                    wasted = 0
                else:
                    # Woken for something else, or an index that does not block: it is not to become a storm.
                    wasted = min(wasted + 1, 10) if waited < STORM else 0
                self._tell(known)
                # As long as the answer took to read: no more than half of the time goes into that.
                del answer  # or a second copy of the instances would be kept while Consul keeps the question
                await asyncio.sleep(max(clock() - began - waited, SHORTEST_PAUSE - waited, _pause(wasted)))

    async def _begin(self) -> _Answer:
        """Return the first answer: a consistent one; with `stale`, any server's while there is no leader to ask."""
        try:
            return await self._ask(Consistency.CONSISTENT)
        except SourceError as error:
            if not self.query.stale or error.reason not in {"leader", "server", "timeout"}:
                raise
        return await self._ask()

    async def _ask(self, consistency: Consistency | None = None, *, index: int = 0, wait: float = 0.0) -> _Answer:
        question = self.query.instances(consistency)
        instances, reply = await self.agents.ask(question, answers.instances, index=index, wait=wait)
        if reply.index is None:
            problem = "the answer has no X-Consul-Index: is there a proxy that takes it away?"
            raise SourceError("invalid", f"{self.agents.address}: {problem}")
        if reply.filtered:
            raise hidden(self.query, "may not read all of it (X-Consul-Results-Filtered-By-ACLs)")
        consistent = consistency is Consistency.CONSISTENT
        return _Answer(instances, reply.index, reply.seconds, consistent=consistent, kept=index > 0)

    async def _judged(self, answer: _Answer) -> _Answer:
        """Return *answer*, or the one that stands in its place, beyond doubt."""
        first = self._latest is None
        if answer.kept and self._vanished(answer) and not self._doubtful(answer):
            answer = await self._ask()
        if self._doubtful(answer) and not answer.consistent:
            doubted, answer = answer, await self._ask(Consistency.CONSISTENT)
            if doubted.instances != answer.instances:
                log.info(Event.CONSUL_ANSWER_CORRECTED, service=self.query.service, instances=len(answer.instances))
        vanished = self._vanished(answer)
        if vanished or (first and not answer.instances):
            await check_permission(self.agents, self.query, nodes=vanished or {""})
        return answer

    def _doubtful(self, answer: _Answer) -> bool:
        """Return whether *answer* is older than what is known, or has nothing of the service."""
        emptied = not answer.instances and (self._known or self._latest is None)
        return bool(emptied) or answer.index < self._newest

    def _vanished(self, answer: _Answer) -> set[str]:
        """Return the nodes that are known, and not in *answer*."""
        return answers.nodes(self._known) - answers.nodes(answer.instances)


@dataclass(frozen=True, slots=True)
class _Answer:
    instances: Instances
    index: int
    seconds: float  # for which its body was on its way
    consistent: bool
    kept: bool  # Consul may have read it when the question came, and answered it later


def _pause(wasted: int) -> float:
    """Return a random pause after *wasted* answers without news; random because others are woken by the same."""
    if not wasted:
        return 0.0
    longest: float = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2**wasted)
    return random.uniform(longest / 2, longest)  # noqa: S311 - no secret
