"""Can Consul be used? Every prerequisite of a watch is requested once and reported in a sentence."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import AsyncGenerator

from dynsrv.errors import SourceError
from dynsrv.sources.consul import requests, responses
from dynsrv.sources.consul.agents import Agents
from dynsrv.sources.consul.permission import check_permission
from dynsrv.sources.consul.requests import Query


async def inspect(agents: Agents, query: Query) -> AsyncGenerator[str, None]:
    """Yield a sentence each on the agent, its leader, the token and the service.

    Raises:
        SourceError: the first of them that is not in order.
    """
    async with agents.transport:
        leader, _ = await agents.request(requests.LEADER, responses.leader)
        yield f"{agents.address} answers{await _version(agents)}"
        if not leader:
            raise SourceError("leader", f"{agents.address} has no leader; see `consul members`")
        yield f"its servers have a leader, {leader}"
        if await check_permission(agents, query, nodes={""}):
            yield f"the token may read the service {query.service} and all nodes"
        else:
            yield "ACLs are disabled: everybody may read everything"
        instances, _ = await agents.request(query.instances(), responses.instances)
        if not instances:
            raise SourceError("request", await _missing(agents, query))
        counts = Counter(instance.status.value for instance in instances)
        listed = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        yield f"the service {query.service} has {len(instances)} instances: {listed}"


async def _version(agents: Agents) -> str:
    try:
        agent, _ = await agents.request(requests.AGENT, responses.agent)
    except SourceError:
        return ""  # a watch does not need agent:read
    config = agent.config
    return f": Consul {config.version}, node {config.node}, datacenter {config.datacenter}"


async def _missing(agents: Agents, query: Query) -> str:
    if query.tags or query.filter:
        return f"the service {query.service} has no instance that has the tags and matches the filter"
    known, _ = await agents.request(query.services(), responses.services)
    near = difflib.get_close_matches(query.service, known, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; nothing is registered under this name"
    return f"the service {query.service} has no instance{hint}"
