"""Which agent answers? Several addresses, of which one after the other is asked, with so many connections at most."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from dynsrv.errors import SourceError
from dynsrv.logs import Event, get_logger
from dynsrv.sources.consul.questions import Question
from dynsrv.sources.consul.transport import AgentFailed, Reply, Transport

MARGIN = 10.0
"""Seconds that an answer may take in addition to the time for which Consul may block."""

CONNECTIONS = 96
"""To one Consul at once. Beyond 200 from one address (`limits.http_max_conns_per_client`) it resets them without a
word. A question that it keeps counts there until its time is over, also when who asked is gone: so it is less than
half, or a restart would find no connection, nor would others on this machine."""

QUICK = 16
"""Of these, those for questions that are answered at once."""

MANY = 40
"""Questions kept at once beyond which they are kept only briefly, so that a second restart finds connections, too."""
BRIEFLY = 10.0  # seconds

PATIENCE = 2.0
"""Seconds for which a query waits for a connection on which Consul may block; then it becomes a short one."""

MOST_QUICK = 60
"""Such short queries per second at most: the more of them, the longer each waits."""

T = TypeVar("T")

log = get_logger()


class Budget:
    """The connections that all queries to one Consul share; a query waits until one is free.

    With more services than connections, those without one ask every two seconds or so, or less often if they are many,
    until one gets free.
    """

    def __init__(self, connections: int = CONNECTIONS, *, quick: int = QUICK) -> None:
        self._kept = asyncio.Semaphore(connections - quick)
        self._quick = asyncio.Semaphore(quick)
        self._in_line = 0
        self._keeping = 0

    def wait(self, wait: float) -> float:
        """Return for how many of *wait* seconds Consul may keep a question now."""
        return wait if self._keeping <= MANY else min(wait, BRIEFLY)

    @asynccontextmanager
    async def connection(self, *, to_be_kept: bool) -> AsyncIterator[bool]:
        """Hold a connection, and yield whether Consul may keep the question on it until there is news."""
        kept = to_be_kept and await self._is_free()
        if not kept:
            await self._quick.acquire()
        self._keeping += kept
        try:
            yield kept
        finally:
            self._keeping -= kept
            (self._kept if kept else self._quick).release()

    async def _is_free(self) -> bool:
        self._in_line += 1
        try:
            async with asyncio.timeout(max(PATIENCE, self._in_line / MOST_QUICK)):
                await self._kept.acquire()
        except TimeoutError:
            return False
        finally:
            self._in_line -= 1
        return True


class Agents:
    """The agents that are asked: the first until it fails, then the next, and so on in a circle."""

    def __init__(self, addresses: Sequence[str], *, transport: Transport, budget: Budget) -> None:
        self._addresses = tuple(addresses)
        self._current = 0
        self.transport = transport
        self._budget = budget

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
            async with self._budget.connection(to_be_kept=index > 0) as kept:
                address = self.address  # only now: while this waited, another query may have found that one fails
                try:
                    reply = await self._send(address, question, index=index if kept else 0, wait=wait)
                    value = read(reply.body)
                except ValueError as error:
                    failures.append(AgentFailed("invalid", f"{address} gave {error}"))
                except AgentFailed as failure:
                    failures.append(failure)
                else:
                    if failures:
                        log.warning(Event.CONSUL_AGENT_SWITCHED, agent=address, error=str(failures[-1]))
                    return value, reply
            index = 0
            self._give_up(address)
        reasons = [failure.reason for failure in failures]
        # One that answered, if only with an error, tells more than those that did not.
        reason = next((one for one in reasons if one != "unreachable"), reasons[0])
        raise SourceError(reason, "; ".join(dict.fromkeys(map(str, failures))))

    async def _send(self, address: str, question: Question, *, index: int, wait: float) -> Reply:
        timeout = MARGIN
        if index:
            wait = self._budget.wait(wait)
            blocking = (("index", str(index)), ("wait", f"{round(wait * 1000)}ms"))
            question = Question(question.path, (*question.params, *blocking))
            # Consul adds a random sixteenth at most, so that not all queries return at the same time.
            timeout += wait * 17 / 16
        return checked(await self.transport.send(address, question, timeout=timeout), address)

    def _give_up(self, address: str) -> None:
        if address == self.address:  # another question may have found out before
            self._current = (self._current + 1) % len(self._addresses)


_LEADERLESS = ("leader", "rpc error", "no known consul servers")
"""Errors without a leader: `rpc error making call: EOF` at first, and `No cluster leader` after 7 s."""


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
            why = "the token is unknown to Consul" if "ACL not found" in said else "the token may not do this"
            raise SourceError("acl", f"{address} refused: {said}; {why}")
        case 429:
            raise AgentFailed("overloaded", f"{address} is asked too often by all of its clients (429): {said}")
        case 500 if "No path to datacenter" in said or "Failed to create boolean expression" in said:
            raise SourceError("request", f"{address} refused: {said}")
        case 500 if any(words in said.lower() for words in _LEADERLESS):
            # Without Consul's words, which name another server each time.
            raise AgentFailed("leader", f"{address} reaches no leader of Consul's servers (500)")
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
