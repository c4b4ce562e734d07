"""Which servers does a snapshot call for? Its endpoints with what the policy adds, by address and port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from dynsrv.model import Endpoint, Location, Server, Snapshot
from dynsrv.planning import naming
from dynsrv.planning.options import with_own_options
from dynsrv.planning.policy import Policy

_IDS_TRIED = 8
"""Ids to compare, since the preferred ones may have been taken. That eight are, of 100,000 servers: below 1e-27."""


@dataclass(frozen=True, slots=True)
class DesiredServer:
    """The server that an endpoint calls for: its weight, maxconn (0: no limit), options and preferred *id*.

    A *backup* server receives requests only while no other server can. With an *agent*, that decides about the weight.
    """

    endpoint: Endpoint
    weight: int
    maxconn: int
    options: tuple[str, ...]
    id: int
    backup: bool
    agent: bool

    def ids(self) -> Iterator[int]:
        """Yield the ids that the server may have, without end."""
        return naming.ids(self.endpoint, self.options)

    def made(self, server: Server) -> bool:
        """Whether *server*, of the same address and port, was added with these options."""
        return server.id == self.id or server.id in islice(self.ids(), _IDS_TRIED)

    def fits(self, server: Server) -> bool:
        """Whether *server*, added with these options, can get this weight in place.

        An agent gives percentages of the weight that a server was added with, which nothing can change.
        """
        return not self.agent or self.weight in {0, server.initial_weight}


Desired = Mapping[Location, DesiredServer]


def desired_servers(snapshot: Snapshot, policy: Policy, *, before: Desired | None = None) -> Desired:
    """Return the servers that *snapshot* calls for.

    Each costs a hash, except those of endpoints that are the same in *before*, made with the same policy.
    """
    known = before or {}
    servers: dict[Location, DesiredServer] = {}
    for endpoint in snapshot.endpoints:
        location = (endpoint.address, endpoint.port)
        same = known.get(location)
        servers[location] = same if same and same.endpoint == endpoint else _desired_server(endpoint, policy)
    return servers


def _desired_server(endpoint: Endpoint, policy: Policy) -> DesiredServer:
    options = with_own_options(policy.options, endpoint.options)
    return DesiredServer(
        endpoint=endpoint,
        weight=policy.weight if endpoint.weight is None else endpoint.weight,
        maxconn=policy.maxconn if endpoint.maxconn is None else endpoint.maxconn,
        options=options,
        id=next(naming.ids(endpoint, options)),
        backup="backup" in options,
        agent="agent-check" in options,
    )
