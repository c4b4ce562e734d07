"""May the token read what it is to read? Asked of Consul, since an answer does not tell what was left out of it."""

from __future__ import annotations

from collections.abc import Collection

from dynsrv.errors import SourceError
from dynsrv.sources.consul import answers
from dynsrv.sources.consul.agents import Agents
from dynsrv.sources.consul.questions import Query

_AT_ONCE = 60
"""Consul refuses more than 64 permissions in one question (`maxAuthorizeRequests`)."""


async def check_permission(agents: Agents, query: Query, *, nodes: Collection[str]) -> bool:
    """Return whether there are ACLs at all; if so, they let the token read the service and *nodes*. "" is any node.

    Raises:
        SourceError: they do not, with the reason acl; or Consul did not say.
    """
    names = sorted(nodes)
    for start in range(0, len(names), _AT_ONCE):
        try:
            denied, _ = await agents.ask(query.permission(names[start : start + _AT_ONCE]), answers.denied)
        except SourceError as error:
            if "ACL support disabled" in str(error):
                return False
            raise
        if denied:
            raise hidden(query, f"may not read {', '.join(denied)}")
    return True


def hidden(query: Query, problem: str) -> SourceError:
    """Return the error of a token that sees too little."""
    rules = f'service "{query.service}" {{policy = "read"}} and node_prefix "" {{policy = "read"}}'
    return SourceError("acl", f"the token {problem}; give it (without one: the anonymous token) a policy with {rules}")
