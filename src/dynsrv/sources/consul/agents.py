"""Which agent answers? Several addresses, of which one after the other is asked, with so many connections at most."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import TypeVar
from weakref import WeakSet

import structlog

from dynsrv.errors import SourceError
from dynsrv.sources.consul.questions import Question
from dynsrv.sources.consul.transport import AgentFailed, Reply, Transport

MARGIN = 10.0
"""Seconds that an answer may take beside the time for which Consul was told to wait."""

CONNECTIONS = 128
"""To one Consul at once. Beyond 200 from one address (`limits.http_max_conns_per_client`) it resets them without a
word, and others on this machine ask it too."""

SHORTEST_TURN = 1.0
LONGEST_QUEUE = 1.0

T = TypeVar("T")

log = structlog.get_logger()


class Budget:
    """The connections that all questions to one Consul share; who finds none free waits in line."""

    def __init__(self, connections: int = CONNECTIONS) -> None:
        self._connections = connections
        self.connection = asyncio.Semaphore(connections)
        """To be held while a question is on its way."""
        self.watches: WeakSet[object] = WeakSet()
        """Who asks again and again, also while it waits after a failure."""

    def turn(self, wait: float) -> float:
        """Return for how many of *wait* seconds a question may occupy its connection.

        With more watches than connections they take turns, short enough that none stands in line for much
        longer than a second; by lot, or all that began at once would end at once.
        """
        crowd = len(self.watches) - self._connections
        if crowd <= 0:
            return wait
        turn = min(wait, max(SHORTEST_TURN, LONGEST_QUEUE * self._connections / crowd))
        return min(wait, random.uniform(SHORTEST_TURN, max(SHORTEST_TURN, 2 * turn - SHORTEST_TURN)))  # noqa: S311


class Agents:
    """The agents that are asked: the first until it fails, then the next, and so on in a circle."""

    def __init__(self, addresses: Sequence[str], *, transport: Transport, budget: Budget) -> None:
        self._addresses = tuple(addresses)
        self._current = 0
        self.transport = transport
        self.budget = budget

    @property
    def address(self) -> str:
        """The one that is asked next."""
        return self._addresses[self._current]

    async def ask(
        self, question: Question, read: Callable[[bytes], T], *, index: int = 0, wait: float = 0.0
    ) -> tuple[T, Reply]:
        """Return what *read* makes of the first good answer of an agent, and that answer.

        *read* raises a ValueError if it is not what Consul writes.

        With an *index*, Consul answers when it has something newer, or after *wait* seconds. An index counts only
        for the agent that is asked first: the next one tells what it knows at once.

        Raises:
            SourceError: no agent could tell, or the question or the token is wrong.
        """
        failures: list[AgentFailed] = []
        while len(failures) < len(self._addresses):
            address = self.address
            try:
                reply = await self._ask(address, question, index=index, wait=wait)
                value = read(reply.body)
            except ValueError as error:
                failures.append(AgentFailed("invalid", f"{address} gave {error}"))
            except AgentFailed as failure:
                failures.append(failure)
            else:
                if failures:
                    log.warning("another Consul agent is asked", agent=address, error=str(failures[-1]))
                return value, reply
            index = 0
            self._give_up(address)
        raise SourceError(failures[0].reason, "; ".join(dict.fromkeys(map(str, failures))))

    async def _ask(self, address: str, question: Question, *, index: int, wait: float) -> Reply:
        async with self.budget.connection:
            timeout = MARGIN
            if index:
                # Consul adds up to a sixteenth by lot, so that not all come back at once.
                timeout += wait * 17 / 16
                blocking = (("index", str(index)), ("wait", f"{round(wait * 1000)}ms"))
                question = Question(question.path, (*question.params, *blocking))
            return checked(await self.transport.send(address, question, timeout=timeout), address)

    def _give_up(self, address: str) -> None:
        if address == self.address:  # another question may have found out before
            self._current = (self._current + 1) % len(self._addresses)


def checked(reply: Reply, address: str) -> Reply:
    """Return *reply* if it is a good one.

    Raises:
        AgentFailed: this agent cannot answer now.
        SourceError: no agent would answer that.
    """
    said = _said(reply.body)
    match reply.status:
        case 200:
            return reply
        case 401 | 403:
            raise SourceError("acl", f"{address} refused: {said}; the token is unknown to Consul, or may not do this")
        case 429:
            raise AgentFailed("overloaded", f"{address} is asked too often by all of its clients (429): {said}")
        case 500 if "No path to datacenter" in said or "Failed to create boolean expression" in said:
            raise SourceError("request", f"{address} refused: {said}")
        case 500 if "leader" in said.lower():
            raise AgentFailed("leader", f"{address} knows no leader of its servers (500): {said}")
        case status if status >= 500:
            raise AgentFailed("server", f"{address} failed ({status}): {said}")
        case status if 300 <= status < 400:
            raise AgentFailed(
                "invalid", f"{address} sends elsewhere ({status}, to {reply.location}): is that Consul's HTTP API?"
            )
        case status:
            raise SourceError("request", f"{address} refused ({status}): {said}")


def _said(body: bytes) -> str:
    """Return the first line of an error, fit for a log."""
    line = body[:300].decode("utf-8", "replace").strip().partition("\n")[0]
    return "".join(character if character.isprintable() else " " for character in line) or "without a word"
