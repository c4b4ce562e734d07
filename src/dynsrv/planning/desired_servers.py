"""Which servers does a snapshot call for? Its endpoints with everything that the policy adds, found by address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from dynsrv.model import Endpoint, Location, Server, Snapshot
from dynsrv.planning import naming
from dynsrv.planning.policy import Policy

_IDS_COMPARED = 8
"""How often an id may have been taken when the server was added; with 100,000 servers, eight times: below 1e-27."""


@dataclass(frozen=True, slots=True)
class DesiredServer:
    """An endpoint as a server to be: with its weight, its maxconn (0: none), its options and its preferred *id*."""

    endpoint: Endpoint
    weight: int
    maxconn: int
    options: tuple[str, ...]
    id: int

    def ids(self) -> Iterator[int]:
        """Yield the ids that the server may have, without end."""
        return naming.ids(self.endpoint, self.options)

    def made(self, server: Server) -> bool:
        """Whether *server*, at this address and port, was added with these options."""
        return server.id == self.id or server.id in islice(self.ids(), _IDS_COMPARED)


Desired = Mapping[Location, DesiredServer]


def desired_servers(snapshot: Snapshot, policy: Policy, *, before: Desired | None = None) -> Desired:
    """Return the servers that *snapshot* calls for.

    It costs a hash an endpoint, but for those that are the same *before*, in a snapshot of the same policy.
    """
    known = before or {}
    found: dict[Location, DesiredServer] = {}
    for endpoint in snapshot.endpoints:
        location = (endpoint.address, endpoint.port)
        target = known.get(location)
        found[location] = target if target and target.endpoint == endpoint else _target(endpoint, policy)
    return found


def _target(endpoint: Endpoint, policy: Policy) -> DesiredServer:
    options = policy.options
    if endpoint.options:
        own = {option.partition(" ")[0] for option in endpoint.options}
        options = (*(one for one in options if one.partition(" ")[0] not in own), *endpoint.options)
    return DesiredServer(
        endpoint=endpoint,
        weight=policy.weight if endpoint.weight is None else endpoint.weight,
        maxconn=policy.maxconn if endpoint.maxconn is None else endpoint.maxconn,
        options=options,
        id=next(naming.ids(endpoint, options)),
    )
