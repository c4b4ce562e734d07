"""A Consul without a process: what 1.8.7 answers on the loop's time, and what a test makes happen to it.

It stands where the HTTP transport stands, and what dynsrv has no reason to ask is an AssertionError.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from types import TracebackType
from typing import Self

from dynsrv.sources.consul.requests import Request
from dynsrv.sources.consul.transport import AgentFailed, Response
from tests.fakes.consul_asked import Asked
from tests.fakes.consul_catalog import Catalog, FakeInstance, an_instance
from tests.fakes.consul_servers import Servers
from tests.fakes.consul_words import NO_LEADER, Acl

__all__ = ["NO_LEADER", "A", "Acl", "Asked", "B", "C", "FakeConsul", "FakeInstance", "Trouble", "an_instance"]

A, B, C = "http://a:8500", "http://b:8500", "http://c:8500"
STORM = 2000
MOST_CONNECTIONS = 200  # limits.http_max_conns_per_client


class Trouble(Enum):
    """What keeps an agent from answering at all."""

    DOWN = "down"  # it refuses connections, and has closed those it had
    SILENT = "silent"  # it takes connections, and says nothing


class FakeAgent:
    """One agent, which does what its attributes say."""

    def __init__(self, consul: FakeConsul) -> None:
        self._consul = consul
        self.connections = 0
        self.trouble: Trouble | Response | None = None
        """A reply is given at once, whatever is asked."""
        self.between: Callable[[Asked, Response], Response] = lambda _, reply: reply
        """What a proxy before it makes of its answers."""
        self.ignores_index = False
        """Whether a proxy before it takes the index out of each question."""
        self.behind: Catalog | None = None
        """What it answers stale questions from, if that is not what the leader knows."""

    def lag(self) -> None:
        """Hear nothing of what is written from now on."""
        self.behind = self._consul.catalog.copy()

    def catch_up(self) -> None:
        """Hear of all that was written."""
        self.behind = None
        self._consul.tell()

    def fail(self, trouble: Trouble | Response | None) -> None:
        """Get into *trouble*, or out of it."""
        self.trouble = trouble
        self._consul.tell()


class FakeConsul(Servers):
    """Consul's servers with their *instances*, behind an agent at each of *addresses*."""

    def __init__(self, *instances: FakeInstance, addresses: tuple[str, ...] = (A,)) -> None:
        super().__init__(*instances)
        self.agents = {address: FakeAgent(self) for address in addresses}
        self.latency = 0.002
        self.body_takes = 0.0
        """Seconds for which the body of an answer about a service is on its way."""
        self.asked: list[Asked] = []
        """All that was asked, by the time of asking."""
        self.entered = 0
        self.at_once = 0
        self.most_at_once = 0
        self._restored = 0
        self._lot = random.Random(1)
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def agent(self) -> FakeAgent:
        """The first one."""
        return next(iter(self.agents.values()))

    def questions(self, *, since: float = 0.0) -> list[Asked]:
        """Return what was asked about the instances of a service."""
        return [asked for asked in self.asked if asked.service is not None and asked.at >= since]

    def permissions(self) -> list[list[str]]:
        """Return which permissions were asked for, as `node n1`."""
        return [asked.permissions for asked in self.asked if asked.permissions]

    # ---- what happens to it

    def register(self, *instances: FakeInstance) -> None:
        """Register instances, one after the other; those that are there change."""
        for instance in instances:
            self.catalog.put(instance)
        self.tell()

    def deregister(self, *instances: FakeInstance) -> None:
        """Deregister instances, one after the other."""
        for instance in instances:
            self.catalog.remove(instance.node, instance.id)
        self.tell()

    def maintain(self, node: str, *, on: bool = True) -> None:
        """Put a node into maintenance, or out of it."""
        self.catalog.maintain(node, on=on)
        self.tell()

    def write(self) -> None:
        """Change something that has nothing to do with services."""
        self.catalog.write()
        self.tell()

    def restore(self, snapshot: Catalog) -> None:
        """Go back to what an earlier copy of the catalog says, with its index.

        As measured, that answers all questions that wait, with what they would have been answered before.
        """
        self.catalog = snapshot.copy()
        for agent in self.agents.values():
            agent.behind = None
        self._restored += 1
        self.tell()

    def lose_leader(self) -> None:
        """Answer only stale questions from now on."""
        self.leader = False
        self.tell()

    def tell(self) -> None:
        """Let all that wait look again."""
        waiting, self._waiting = self._waiting, set()
        for one in waiting:
            if not one.done():
                one.set_result(None)

    # ---- what it answers

    async def __aenter__(self) -> Self:
        self.entered += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.entered -= 1
        assert self.entered >= 0

    async def send(self, address: str, question: Request, *, timeout: float) -> Response:
        """Answer as `Transport` promises."""
        assert self.entered, "asked, but not entered"
        agent = self.agents[address]
        asked = Asked.read(question, at=_now(), address=address)
        self.asked.append(asked)
        assert len(self.asked) <= STORM or self.asked[-STORM].at < asked.at, f"{STORM} questions while no time passed"
        agent.connections += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            async with asyncio.timeout(timeout):
                if agent.connections > MOST_CONNECTIONS:
                    raise AgentFailed("unreachable", f"{address} closed the connection without a response")
                reply = await self._answer(agent, asked)
                return agent.between(asked, reply)
        except TimeoutError:
            raise AgentFailed("timeout", f"{address} did not respond in time") from None
        finally:
            self.at_once -= 1
            agent.connections -= 1

    async def _answer(self, agent: FakeAgent, asked: Asked) -> Response:
        await asyncio.sleep(self.latency)
        until = _now() + asked.wait * (1 + self._lot.uniform(0, 1 / 16))
        restored, before = self._restored, None
        while True:
            if agent.trouble is Trouble.DOWN:
                raise AgentFailed("unreachable", f"cannot connect to {asked.address}: Connection refused")
            if agent.trouble is Trouble.SILENT:
                await self._news()
                continue
            if isinstance(agent.trouble, Response):
                return agent.trouble
            reply = self.reply(asked, behind=agent.behind)
            if before is not None and (restored != self._restored or _now() >= until):
                reply = before
            elif _now() < until and _is_old(reply, asked) and not agent.ignores_index:
                before = reply
                await self._news(until=until)
                continue
            if asked.service is not None and reply.status == 200 and self.body_takes:
                await asyncio.sleep(self.body_takes)
                reply = replace(reply, seconds=self.body_takes)
            return reply

    async def _news(self, *, until: float | None = None) -> None:
        news = asyncio.get_running_loop().create_future()
        self._waiting.add(news)
        try:
            async with asyncio.timeout_at(until):
                await news
        except TimeoutError:
            if until is None or _now() < until:
                raise
        finally:
            self._waiting.discard(news)


def _is_old(reply: Response, asked: Asked) -> bool:
    """Whether Consul keeps this answer for as long as it may."""
    return reply.status == 200 and (reply.index or 0) <= asked.index


def _now() -> float:
    return asyncio.get_running_loop().time()
