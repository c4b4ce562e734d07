"""Would Consul answer? Each thing that a watch needs, asked for once and told in a sentence."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import AsyncGenerator

from dynsrv.errors import SourceError
from dynsrv.sources.consul import answers, questions
from dynsrv.sources.consul.agents import Agents
from dynsrv.sources.consul.permission import check_permission
from dynsrv.sources.consul.questions import Query


async def inspect(agents: Agents, query: Query) -> AsyncGenerator[str, None]:
    """Yield what is found of the agent, its leader, the token and the service.

    Raises:
        SourceError: the first of them that is not as it should be.
    """
    async with agents.transport:
        leader, _ = await agents.ask(questions.LEADER, answers.leader)
        yield f"{agents.address} answers{await _version(agents)}"
        if not leader:
            raise SourceError("leader", f"{agents.address} knows no leader of its servers; look at `consul members`")
        yield f"its servers have a leader, {leader}"
        if await check_permission(agents, query, nodes={""}):
            yield f"the token may read the service {query.service} and all nodes"
        else:
            yield "ACLs are off: everybody may read everything"
        instances, _ = await agents.ask(query.instances(), answers.instances)
        if not instances:
            raise SourceError("request", await _missing(agents, query))
        counts = Counter(instance.status.value for instance in instances)
        told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        yield f"the service {query.service} has {len(instances)} instances: {told}"


async def _version(agents: Agents) -> str:
    try:
        agent, _ = await agents.ask(questions.AGENT, answers.agent)
    except SourceError:
        return ""  # agent:read is nothing that a watch needs
    config = agent.config
    return f": Consul {config.version}, node {config.node}, datacenter {config.datacenter}"


async def _missing(agents: Agents, query: Query) -> str:
    if query.tags or query.filter:
        return f"the service {query.service} has no instance that has the tags and matches the filter"
    known, _ = await agents.ask(query.services(), answers.services)
    near = difflib.get_close_matches(query.service, known, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; nothing was registered by this name"
    return f"the service {query.service} has no instance{hint}"
