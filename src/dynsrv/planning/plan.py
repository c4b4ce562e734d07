"""Which steps lead from the observed servers to the desired ones?

Endpoints and servers meet by address and port:

    | desired | observed, owned by dynsrv     | then                                                      |
    |---------|-------------------------------|-----------------------------------------------------------|
    | yes     | none                          | add it, admit it                                          |
    | yes     | one with these options        | keep it: weight, state; put it back if it drains          |
    | yes     | only ones with other options  | add a successor; when that serves, remove the predecessor |
    | drain   | one, whatever its options     | keep it in drain                                          |
    | no      | any                           | remove it                                                 |

dynsrv owns the servers with the prefix, or all with `adopt: all`. Other servers matter only because they occupy names
and ids, and because they serve. A serving server is removed only if the guard permits it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dynsrv.model import AdminState, Backend, Check, EndpointState, Location, Server
from dynsrv.planning import guard, lifecycle, naming
from dynsrv.planning.desired_servers import Desired, DesiredServer
from dynsrv.planning.guard import RemovalDecision, RemovalRequest
from dynsrv.planning.lifecycle import Addition, PlanBuilder
from dynsrv.planning.policy import OnEmpty, Policy
from dynsrv.planning.recent_history import RecentHistory
from dynsrv.steps import (
    Add,
    Admit,
    CloseSessions,
    Delete,
    Disable,
    DisableAgent,
    Drain,
    EnableAgent,
    EnableHealth,
    Plan,
    SetMaxconn,
    SetWeight,
    Step,
    Wait,
    WaitsFor,
)

_ORDER: tuple[type[Step], ...] = (
    Add,
    EnableHealth,
    SetMaxconn,
    DisableAgent,
    Admit,
    SetWeight,
    EnableAgent,
    Drain,
    Disable,
    CloseSessions,
    Delete,
)
"""Additions before removals; HAProxy is also fastest with runs of equal commands. SetWeight comes after Admit and
before Drain, so that a server that is left between two of these steps is still recognised as dynsrv's work."""
_RANK = {step: rank for rank, step in enumerate(_ORDER)}

_PATIENCE = 30.0
"""Seconds after which a new server whose first check has not finished counts as failing. A check of an address that
does not answer is nearly always running, and would otherwise always count as about to pass."""

_OPTIONS_CHANGED = "its options changed: clients that stick to it move to other servers"
_REPLACES = "replaces a server whose options changed: clients that stick to that one move to other servers"
_UNWANTED = "no longer listed by the source"


def make_plan(*, desired: Desired, observed: Backend, history: RecentHistory, now: float, policy: Policy) -> Plan:
    """Return the steps from *observed* to *desired*, in the order in which they may be sent.

    Pure: equal arguments give an equal plan. *now* and the times in *history* are seconds of the same monotonic clock.
    Deletions are in the order of HAProxy's server list, which it walks for each; additions have ids, so that it does
    not search for a free one.
    """
    builder = PlanBuilder()
    match_ = _match(desired, observed, history, policy)
    for addition in match_.additions:
        lifecycle.add(addition, policy=policy, builder=builder)

    leaving: list[tuple[Server, str]] = []
    for server in observed.servers:
        target = match_.kept.get(server.name)
        if target is None:
            reason = match_.removed.get(server.name)
            if reason is None:
                continue  # not owned by dynsrv
            if server.name in match_.awaited:
                builder.waits.append(
                    Wait(server.name, WaitsFor.SUCCESSOR, f"{reason}; keeps serving until its replacement does")
                )
            elif server.serving or _spared(server, desired, policy):
                leaving.append((server, reason))
            elif server.admin is AdminState.READY and server.name in history.in_config_file:
                builder.waits.append(_config_file_wait(server, reason))
            else:
                drained_for = now - history.drains.get(server.name, now)
                quiet_for = now - history.last_sessions.get(server.name, now)
                lifecycle.remove(
                    server,
                    reason=reason,
                    drained_for=drained_for,
                    quiet_for=quiet_for,
                    policy=policy,
                    builder=builder,
                )
        elif server.serving and target.endpoint.state is EndpointState.DRAIN:
            leaving.append((server, "set to drain by the source"))
        elif server.serving and target.weight == 0:
            leaving.append((server, "its desired weight is 0"))
        elif target.endpoint.state is EndpointState.READY:
            if not lifecycle.is_up_to_date(server, target):
                lifecycle.keep(server, target, policy=policy, builder=builder)
        else:
            lifecycle.keep_in_drain(server, target, policy=policy, builder=builder)

    # those that stop come first, the others in an order that is the same in each pass and on each proxy
    leaving.sort(key=lambda one: (not match_.stops(one[0]), one[0].address or "", one[0].port, one[0].name))
    tallies = _tallies(match_, desired=desired, observed=observed, history=history)
    others = 0  # that serve on, while no request goes to a backup server
    for backup, recent in ((False, history.active), (True, history.backup)):
        tally = tallies[backup]
        of_this_kind = [(server, reason) for server, reason in leaving if server.backup is backup]
        request = RemovalRequest(
            leaving=len(of_this_kind),
            stopping=sum(match_.stops(server) for server, _ in of_this_kind),
            serving=tally.serving,
            wanted=tally.wanted,
            foreign=tally.foreign + others,
            coming=tally.coming,
            failing=tally.failing,
            empty=not desired,
            backup=backup,
        )
        decision = guard.evaluate(request, recent=recent, now=now, limits=policy.limits)
        _leave(of_this_kind, match_, decision, history=history, policy=policy, builder=builder)
        others = tally.serving + tally.foreign - decision.may_leave
    builder.steps.sort(key=lambda step: _RANK[type(step)])  # stable
    return Plan(tuple(builder.steps), tuple(builder.waits), tuple(builder.refusals), tuple(builder.holds))


@dataclass(slots=True)
class _Match:
    """Endpoints and servers, matched; the keys are names of servers."""

    kept: dict[str, DesiredServer] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)  # the reason
    awaited: set[str] = field(default_factory=set)  # of removed: those whose successor does not serve yet
    additions: list[Addition] = field(default_factory=list)

    def stops(self, server: Server) -> bool:
        """Whether the source says of *server* that it is about to end."""
        target = self.kept.get(server.name)
        return target is not None and target.endpoint.state is EndpointState.DRAIN


def _match(desired: Desired, observed: Backend, history: RecentHistory, policy: Policy) -> _Match:
    match_ = _Match()
    ours: dict[Location, list[Server]] = {}
    for server in observed.servers:
        if policy.owns(server.name):
            ours.setdefault((server.address, server.port), []).append(server)

    missing: list[tuple[DesiredServer, str]] = []
    for location, target in desired.items():
        servers = ours.pop(location, ())
        if len(servers) == 1 and servers[0].id == target.id and target.fits(servers[0]):  # the common case
            match_.kept[servers[0].name] = target
            continue
        current = _current(servers, target, policy)
        if current is not None:
            match_.kept[current.name] = target
        else:
            missing.append((target, _REPLACES if servers else "listed by the source"))
        for server in servers:
            if server is not current:
                match_.removed[server.name] = _why_replaced(servers, target)
                if server.serving and not (current and current.serving):
                    match_.awaited.add(server.name)
    match_.removed.update((server.name, _UNWANTED) for servers in ours.values() for server in servers)
    match_.additions.extend(_additions(missing, observed, history, policy))
    return match_


def _current(servers: Sequence[Server], target: DesiredServer, policy: Policy) -> Server | None:
    """Return the server to keep for *target*: of several, the one that serves, or else the first.

    An adopted server keeps the options of HAProxy's configuration file; they count as correct.
    """
    if target.endpoint.state is EndpointState.READY:
        servers = [
            one for one in servers if (target.made(one) and target.fits(one)) or not one.name.startswith(policy.prefix)
        ]
    return max(servers, key=lambda server: server.serving, default=None)


def _why_replaced(servers: Sequence[Server], target: DesiredServer) -> str:
    if any(target.made(one) and not target.fits(one) for one in servers):
        return f"its weight, of which its agent gives percentages, is now {target.weight}"
    return _OPTIONS_CHANGED


def _additions(
    missing: Sequence[tuple[DesiredServer, str]], observed: Backend, history: RecentHistory, policy: Policy
) -> Iterator[Addition]:
    if not missing:
        return
    taken_ids = {server.id for server in observed.servers}
    taken_names = {server.name for server in observed.servers}
    # sorted: when two endpoints hash to the same id, the same one gets it on every HAProxy
    for target, reason in sorted(missing, key=lambda one: (one[0].endpoint.address, one[0].endpoint.port)):
        server_id = naming.first_free(target.ids(), taken_ids)
        name = naming.first_free(naming.names(target.endpoint, policy.prefix, server_id), taken_names)
        taken_ids.add(server_id)
        taken_names.add(name)
        yield Addition(target, name, server_id, reason, trusted=server_id in history.trusted)


def _spared(server: Server, desired: Desired, policy: Policy) -> bool:
    """Whether *server*, which does not serve, is kept because of `on_empty: keep`."""
    leaves_already = server.admin is not AdminState.READY and server.weight == 0
    return not desired and policy.limits.on_empty is OnEmpty.KEEP and not leaves_already


@dataclass(slots=True)
class _Tally:
    """How many servers there are, of those that are backup servers or of the others (see `RemovalRequest`)."""

    serving: int = 0
    foreign: int = 0
    wanted: int = 0
    coming: int = 0
    failing: int = 0


def _tallies(match_: _Match, *, desired: Desired, observed: Backend, history: RecentHistory) -> dict[bool, _Tally]:
    """Count the backup servers (True) and the others (False)."""
    tallies = {False: _Tally(), True: _Tally()}
    for one in desired.values():
        tallies[one.backup].wanted += one.weight > 0 and one.endpoint.state is EndpointState.READY
    for addition in match_.additions:
        if addition.target.endpoint.state is EndpointState.READY:
            fails = addition.name in history.refused
            tallies[addition.target.backup].failing += fails
            tallies[addition.target.backup].coming += not fails
    for server in observed.servers:
        if server.serving:
            ours = server.name in match_.kept or server.name in match_.removed
            tallies[server.backup].serving += ours
            tallies[server.backup].foreign += not ours
        elif (target := match_.kept.get(server.name)) and target.endpoint.state is EndpointState.READY:
            tally = tallies[target.backup or server.backup]
            if server.admin is AdminState.READY:
                tally.failing += target.weight > 0
            elif not lifecycle.held(server):
                fails = server.check is Check.FAILED or server.since_change > _PATIENCE
                tally.failing += fails
                tally.coming += not fails
    return tallies


def _leave(
    leaving: Sequence[tuple[Server, str]],
    match_: _Match,
    decision: RemovalDecision,
    *,
    history: RecentHistory,
    policy: Policy,
    builder: PlanBuilder,
) -> None:
    if decision.refusal is not None and leaving:
        builder.refusals.append(decision.refusal)
    waits_for = WaitsFor.SUCCESSOR if decision.refusal is None else WaitsFor.GUARD
    for number, (server, reason) in enumerate(leaving):
        if number >= decision.may_leave:
            builder.waits.append(Wait(server.name, waits_for, f"{reason}; {decision.kept}", decision.deadline))
        elif server.name in history.in_config_file:
            builder.waits.append(_config_file_wait(server, reason))
        elif (target := match_.kept.get(server.name)) is None:
            lifecycle.remove(server, reason=reason, policy=policy, builder=builder)
        elif target.endpoint.state is EndpointState.READY:
            lifecycle.keep(server, target, policy=policy, builder=builder)
        else:
            lifecycle.drain(server, reason=reason, builder=builder)


def _config_file_wait(server: Server, reason: str) -> Wait:
    unnamed = "keeps serving until HAProxy's configuration file no longer has it"
    return Wait(server.name, WaitsFor.CONFIG_FILE, f"{reason}; {unnamed}")
