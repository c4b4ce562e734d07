"""May the token read everything that is needed? Consul has to be asked: a response does not say what was left out."""

from __future__ import annotations

from collections.abc import Collection

from dynsrv.documents.messages import listed
from dynsrv.errors import SourceError
from dynsrv.sources.consul import responses
from dynsrv.sources.consul.agents import Agents
from dynsrv.sources.consul.requests import Query

_MAX_AT_ONCE = 60
"""Consul rejects requests for more than 64 permissions (`maxAuthorizeRequests`)."""


async def check_permission(agents: Agents, query: Query, *, nodes: Collection[str]) -> bool:
    """Return whether ACLs are enabled; if so, the token may read the service and *nodes*. "" stands for every node.

    Raises:
        SourceError: it may not, with the reason acl; or the request failed.
    """
    names = sorted(nodes)
    for start in range(0, len(names), _MAX_AT_ONCE):
        try:
            denied, _ = await agents.request(query.permission(names[start : start + _MAX_AT_ONCE]), responses.denied)
        except SourceError as error:
            if "ACL support disabled" in str(error):
                return False
            raise
        if denied:
            raise acl_error(query, f"may not read {listed(denied)}")
    return True


def acl_error(query: Query, problem: str) -> SourceError:
    """Return the error for a token with too few permissions."""
    rules = f'service "{query.service}" {{policy = "read"}} and node_prefix "" {{policy = "read"}}'
    return SourceError("acl", f"the token {problem}; give it (without one: the anonymous token) a policy with {rules}")
