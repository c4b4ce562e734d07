"""Watches of a Consul in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dynsrv.sources.consul.agents import CONNECTIONS, SHORT_CONNECTIONS, Agents, Budget
from dynsrv.sources.consul.requests import Query
from dynsrv.sources.consul.responses import Instance
from dynsrv.sources.consul.watch import Watch
from tests.fakes.consul import FakeConsul

WAIT = 30.0
LONGEST_WAIT = WAIT * 17 / 16
"""Seconds until Consul answers a question that has no news."""


def some_agents(
    consul: FakeConsul, *, blocking: int = CONNECTIONS - SHORT_CONNECTIONS, short: int = SHORT_CONNECTIONS
) -> Agents:
    """The agents of *consul*, of which the first is asked first."""
    return Agents(tuple(consul.agents), transport=consul, budget=Budget(blocking + short, short=short))


def a_watch(consul: FakeConsul, *, service: str = "web", wait: float = WAIT, **query: Any) -> Watch:
    """A watch of one service."""
    return Watch(some_agents(consul), Query(service, **query), wait=wait)


def nodes(instances: Iterable[Instance]) -> list[str]:
    """The names of the nodes of instances."""
    return [instance.node.name for instance in instances]
