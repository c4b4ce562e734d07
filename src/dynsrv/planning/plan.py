"""Which steps lead from the observed servers to the desired ones?

Endpoints and servers meet by address and port:

    | desired | observed, ours                | then                                                      |
    |---------|-------------------------------|-----------------------------------------------------------|
    | yes     | none                          | add it, admit it                                          |
    | yes     | one with these options        | keep it: weight, state; put it back if it drains          |
    | yes     | only ones with other options  | add a successor; when that serves, remove the predecessor |
    | drain   | one, whatever its options     | keep it in drain                                          |
    | no      | any                           | remove it                                                 |

Ours is what bears the prefix; other servers count only as takers of names and ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dynsrv.model import (
    Add,
    Admit,
    Backend,
    CloseSessions,
    Delete,
    Disable,
    Drain,
    EnableHealth,
    EndpointState,
    Plan,
    Server,
    SetWeight,
    Step,
    Wait,
    WaitsFor,
)
from dynsrv.planning import lifecycle, naming
from dynsrv.planning.lifecycle import Draft
from dynsrv.planning.policy import Policy
from dynsrv.planning.targets import Location, Target, Targets

_ORDER: tuple[type[Step], ...] = (Add, EnableHealth, SetWeight, Admit, Drain, Disable, CloseSessions, Delete)
"""What adds goes before what takes away. Runs of equal commands are also what HAProxy answers fastest."""
_RANK = {step: rank for rank, step in enumerate(_ORDER)}


def make_plan(*, desired: Targets, observed: Backend, drains: Mapping[str, float], now: float, policy: Policy) -> Plan:
    """Return the steps from *observed* to *desired*, in the order in which they may be sent.

    Pure: equal arguments give an equal plan. *drains* tells since when each draining server drains; *now* and these
    times are in seconds of one monotonic clock. Deletions come in HAProxy's own order, because it walks its list to
    the server, and additions carry ids, so that it need not look for a free one.
    """
    draft = Draft()
    ours: dict[Location, list[Server]] = {}
    for server in observed.servers:
        if server.name.startswith(policy.prefix):
            ours.setdefault((server.address, server.port), []).append(server)

    missing: list[tuple[Target, str]] = []
    removals: dict[str, str] = {}  # name of a server and why it goes
    for location, target in desired.items():
        servers = ours.get(location, ())
        current = _current(servers, target)
        if current is None:
            missing.append((target, "its options changed" if servers else "the source wants it"))
        else:
            lifecycle.keep(current, target, policy=policy, draft=draft)
        for server in servers:
            if server is current:
                continue
            if server.serving and not (current and current.serving):
                reason = "its options changed; serves until its successor does"
                draft.waits.append(Wait(server.name, WaitsFor.SUCCESSOR, reason))
            else:
                removals[server.name] = "its options changed"

    for location, servers in ours.items():
        if location not in desired:
            removals.update((server.name, "the source no longer wants it") for server in servers)

    _add(missing, observed, policy, draft)
    for server in observed.servers:
        if server.name in removals:
            reason = removals[server.name]
            drained_for = now - drains.get(server.name, now)
            lifecycle.remove(server, reason=reason, drained_for=drained_for, policy=policy, draft=draft)

    draft.steps.sort(key=lambda step: _RANK[type(step)])  # stable
    return Plan(tuple(draft.steps), tuple(draft.waits))


def _current(servers: Sequence[Server], target: Target) -> Server | None:
    """Return the server that is to stay for *target*: of several the one that serves, else the first."""
    if target.endpoint.state is EndpointState.READY:
        servers = [server for server in servers if target.made(server)]
    return max(servers, key=lambda server: server.serving, default=None)


def _add(missing: Sequence[tuple[Target, str]], observed: Backend, policy: Policy, draft: Draft) -> None:
    if not missing:
        return
    taken_ids = {server.id for server in observed.servers}
    taken_names = {server.name for server in observed.servers}
    # sorted: when two endpoints want one id, the same one gets it on every HAProxy
    for target, reason in sorted(missing, key=lambda one: (one[0].endpoint.address, one[0].endpoint.port)):
        server_id = naming.first_free(target.ids(), taken_ids)
        name = naming.first_free(naming.names(target.endpoint, policy.prefix, server_id), taken_names)
        taken_ids.add(server_id)
        taken_names.add(name)
        lifecycle.add(target, name=name, server_id=server_id, reason=reason, policy=policy, draft=draft)
