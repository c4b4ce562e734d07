"""Which servers would HAProxy need if it started now, and how is each written in its configuration? Pure.

    | dynsrv's server is                                   | then                                      |
    |------------------------------------------------------|-------------------------------------------|
    | serving, and not about to leave                      | a line: name, id, weight as they are live |
    | held by an operator, and desired                     | a line with `disabled`: a hold again      |
    | draining, about to leave, down, or not admitted yet  | none                                      |

If no server would serve, all desired servers get a line: an empty section would help nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dynsrv.model import Agent, Backend, EndpointState, Location, Server, host_port
from dynsrv.persist.section import OtherServers
from dynsrv.planning import Desired, DesiredServer, Policy, held, naming

_LINE = re.compile(
    r"server (?P<name>\S+) (?P<address>\S+) id (?P<id>\d+) weight (?P<weight>\d+)"
    r"(?: maxconn (?P<maxconn>\d+))?(?P<disabled> disabled)?(?: (?P<options>.+))?"
)


class ServerLine(NamedTuple):
    """One `server` line. *maxconn* 0: no bound. *options* are the rest of it, as text."""

    name: str
    id: int
    address: str
    weight: int
    maxconn: int
    options: str
    disabled: bool = False

    def __str__(self) -> str:
        maxconn = f" maxconn {self.maxconn}" if self.maxconn else ""
        disabled = " disabled" if self.disabled else ""
        options = f" {self.options}" if self.options else ""
        return f"server {self.name} {self.address} id {self.id} weight {self.weight}{maxconn}{disabled}{options}"

    @classmethod
    def read(cls, text: str) -> ServerLine | None:
        """Return the line that `str()` would have written as *text*; None if another program wrote it."""
        if (match := _LINE.fullmatch(text)) is None:
            return None
        return cls(
            name=match["name"],
            id=int(match["id"]),
            address=match["address"],
            weight=int(match["weight"]),
            maxconn=int(match["maxconn"] or 0),
            options=match["options"] or "",
            disabled=bool(match["disabled"]),
        )


Written = Mapping[str, ServerLine]
"""The lines that a section has now, by the servers' names."""


@dataclass(frozen=True, slots=True)
class SeenServers:
    """What the last pass over a backend of one proxy observed, and the servers that it takes out of service, by name.

    *stale*: the proxy could not be observed since.
    """

    desired: Desired
    observed: Backend
    policy: Policy
    leaving: frozenset[str] = frozenset()
    stale: bool = False

    def serving(self) -> frozenset[str]:
        """Return the names of the servers that serve, and are not about to leave."""
        return frozenset(one.name for one in self.observed.servers if one.serving).difference(self.leaving)


def servers_to_write(seen: Sequence[SeenServers], *, others: OtherServers, written: Written) -> list[ServerLine]:
    """Return the lines for one backend, of one proxy or of several that read one file, in the order of their names.

    A server is left out if it leaves on any of them, and disabled if it is held on any. *others* are the servers
    elsewhere in the section. *written* shows the options of servers that are no longer desired, or with other options.
    """
    lines: dict[str, ServerLine] = {}
    serves = False
    without = others.names.union(*(one.leaving for one in seen))
    for one in seen:
        for server in one.observed.servers:
            if not one.policy.owns(server.name) or server.name in without:
                continue
            target = one.desired.get((server.address, server.port))
            if server.serving or (target is not None and held(server)):
                serves |= server.serving
                if server.address is None:
                    continue  # adopted, and HAProxy does not report its address
                line = _as_live(server, target, policy=one.policy, written=written)
                before = lines.setdefault(server.name, line)
                if line.disabled and not before.disabled:
                    lines[server.name] = before._replace(disabled=True)
    if not serves:
        for one in seen:
            for line in _all_wanted(one, others=others, written=written):
                lines.setdefault(line.name, line)
    return [lines[name] for name in sorted(lines)]


def still_held(lines: list[ServerLine], written: Written) -> list[ServerLine]:
    """Return *lines*, disabled if they are so in *written*: an operator held them when HAProxy was last observed."""
    return [
        line._replace(disabled=True)
        if (before := written.get(line.name)) and before.disabled and before.id == line.id
        else line
        for line in lines
    ]


def _as_live(server: Server, target: DesiredServer | None, *, policy: Policy, written: Written) -> ServerLine:
    if target is not None and target.made(server):
        options = " ".join(target.options)
    elif (before := written.get(server.name)) is not None and before.id == server.id:
        options = before.options  # HAProxy does not report them
    else:
        options = " ".join(target.options if target else policy.options)
    address = host_port(server.address or "", server.port)
    disabled = not server.serving and held(server)
    # its agent gives percentages of it, in the next process too
    weight = server.initial_weight if server.agent is Agent.ENABLED else server.weight
    return ServerLine(server.name, server.id, address, weight, server.maxconn or 0, options, disabled)


def _all_wanted(seen: SeenServers, *, others: OtherServers, written: Written) -> Iterator[ServerLine]:
    """Yield a line for each server desired ready, with the name and id that it has, or would be added with."""
    desired, observed, policy = seen.desired, seen.observed, seen.policy
    ours: dict[Location, list[Server]] = {}
    for server in observed.servers:
        if policy.owns(server.name):
            ours.setdefault((server.address, server.port), []).append(server)
    taken_names = {one.name for one in observed.servers} | others.names
    taken_ids = {one.id for one in observed.servers} | others.ids
    wanted = (one for one in desired.values() if one.endpoint.state is EndpointState.READY and one.weight)
    # in the order in which the planner adds them, so that names and ids are the same
    for target in sorted(wanted, key=lambda one: (one.endpoint.address, one.endpoint.port)):
        endpoint = target.endpoint
        if policy.adopt_all and str(endpoint) in others.addresses:
            continue
        there = ours.get((endpoint.address, endpoint.port), ())
        live = next((one for one in there if target.made(one) or not one.name.startswith(policy.prefix)), None)
        if live is not None:
            yield _as_live(live, target, policy=policy, written=written)._replace(weight=target.weight)
            continue
        server_id = naming.first_free(target.ids(), taken_ids)
        name = naming.first_free(naming.names(endpoint, policy.prefix, server_id), taken_names)
        taken_ids.add(server_id)
        taken_names.add(name)
        options = " ".join(target.options)
        yield ServerLine(name, server_id, str(endpoint), target.weight, target.maxconn, options)
