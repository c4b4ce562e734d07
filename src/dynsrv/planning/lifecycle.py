"""What is the next step of one server? Two state machines without a stage of their own: HAProxy holds it.

    admit    (not there) ─Add→ maint, check off ─EnableHealth→ maint, check runs ─first check passed─Admit→ ready
             drain, weight 0 ─Admit, SetWeight→ ready          (an endpoint that came back)
             maint, check paused, weight 0 ─Drain→ drain       (where the check runs again)

    remove   ready ─SetWeight 0, Drain→ drain ─no session left, or deadline─Disable→ maint ─Delete→ (not there)
             at the deadline, with `on_timeout: close`: Disable, CloseSessions, Delete

Who put a server there is told by HAProxy itself, so that it survives a restart of dynsrv. Ours have weight 0 in drain
and in the maintenance after it; a new one waits in maintenance with its check off or running, and without a check it
is added with weight 0. An operator's keep their weight, and in maintenance their check is paused: they are held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from dynsrv.model import AdminState, Check, EndpointState, Server
from dynsrv.planning.desired_servers import DesiredServer
from dynsrv.planning.policy import Admission, DrainTimeoutAction, Policy
from dynsrv.steps import (
    Add,
    Admit,
    CloseSessions,
    Delete,
    Disable,
    Drain,
    EnableHealth,
    Hold,
    Refusal,
    SetMaxconn,
    SetWeight,
    Step,
    Wait,
    WaitsFor,
)


@dataclass(slots=True)
class PlanBuilder:
    """A plan as it grows."""

    steps: list[Step] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Addition:
    """A server that is to be added. *trusted*: it served a moment ago, in the process before this one."""

    target: DesiredServer
    name: str
    id: int
    reason: str
    trusted: bool = False


def add(addition: Addition, *, policy: Policy, builder: PlanBuilder) -> None:
    """Add a server, and go as far as one can without looking again."""
    target, name = addition.target, addition.name
    endpoint = target.endpoint
    weight = target.weight if policy.has_check else 0
    options = (*target.options, f"maxconn {target.maxconn}") if target.maxconn else target.options
    builder.steps.append(Add(name, addition.id, endpoint.address, endpoint.port, weight, options, addition.reason))
    if not policy.has_check and target.weight and endpoint.state is EndpointState.READY:
        builder.steps.append(SetWeight(name, target.weight, "its own weight; it was added with 0"))
    check = Check.DISABLED if policy.has_check else Check.NONE
    if addition.trusted and policy.has_check:
        builder.steps.append(EnableHealth(name, "its check goes on"))
        _let_in(name, target, "it served before HAProxy was reloaded or restarted", builder)
    else:
        _leave_maintenance(name, check, target, policy=policy, builder=builder)


def held(server: Server) -> bool:
    """Whether an operator put this server, which is ours, into the drain or the maintenance that it is in."""
    match server.admin:
        case AdminState.READY:
            return False
        case AdminState.DRAIN:
            return server.weight > 0
        case AdminState.MAINT:
            waits_for_its_check = server.check is not Check.NONE and not server.check_paused
            return server.weight > 0 and not waits_for_its_check
        case _:
            assert_never(server.admin)


def is_up_to_date(server: Server, target: DesiredServer) -> bool:
    """Whether nothing is to be done about a server that is wanted ready: so most are, so it is looked at quickly."""
    wanted = server.weight == target.weight and server.maxconn in {None, target.maxconn}
    return server.serving and wanted and server.check is not Check.DISABLED


def keep(server: Server, target: DesiredServer, *, policy: Policy, builder: PlanBuilder) -> None:
    """Bring a server that is wanted, and wanted ready, to that."""
    if server.maxconn is not None and server.maxconn != target.maxconn:
        reason = f"maxconn is {server.maxconn}, wanted {target.maxconn}"
        builder.steps.append(SetMaxconn(server.name, target.maxconn, reason))
    if server.admin is not AdminState.READY and held(server):
        reason = f"held by operator: put into {server.admin} by hand; to release it, set it ready again"
        builder.holds.append(Hold(server.name, reason))
        return
    match server.admin:
        case AdminState.READY:
            if server.check is Check.DISABLED:
                builder.steps.append(EnableHealth(server.name, "its check is configured, but off"))
            _set_weight(server, target, builder)
        case AdminState.DRAIN if not _may_serve(server.check, policy):
            if server.check is Check.DISABLED:
                builder.steps.append(EnableHealth(server.name, "its check has to run before it may serve"))
            builder.waits.append(_check_wait(server.name, server.check))
        case AdminState.DRAIN:
            _set_weight(server, target, builder)
            builder.steps.append(Admit(server.name, "wanted again before its drain was over"))
        case AdminState.MAINT if server.check_paused and not _may_serve(server.check, policy):
            builder.steps.append(Drain(server.name, "wanted again; its check runs in drain, not in this maintenance"))
        case AdminState.MAINT:
            if _may_serve(server.check, policy):
                _set_weight(server, target, builder)
            _leave_maintenance(server.name, server.check, target, policy=policy, builder=builder)
        case _:
            assert_never(server.admin)


def keep_in_drain(server: Server, target: DesiredServer, *, policy: Policy, builder: PlanBuilder) -> None:
    """Bring a server whose endpoint the source wants drained to that; one that serves must be allowed to go first."""
    match server.admin:
        case AdminState.READY:
            drain(server, reason="the source wants it drained", builder=builder)
        case AdminState.DRAIN:
            pass
        case AdminState.MAINT if held(server):
            builder.holds.append(Hold(server.name, "held by operator: put into maint by hand"))
        case AdminState.MAINT if server.check_paused:
            builder.steps.append(Drain(server.name, "the source wants it drained"))
        case AdminState.MAINT:
            _leave_maintenance(server.name, server.check, target, policy=policy, builder=builder)
        case _:
            assert_never(server.admin)


def drain(server: Server, *, reason: str, builder: PlanBuilder) -> None:
    """Let no new request come to a ready server, and mark its drain as ours by weight 0."""
    if server.weight:
        builder.steps.append(SetWeight(server.name, 0, "marks the drain as dynsrv's"))
    builder.steps.append(Drain(server.name, reason))


def remove(server: Server, *, reason: str, drained_for: float, policy: Policy, builder: PlanBuilder) -> None:
    """Bring a server that is not wanted nearer to its deletion, without losing a request.

    *drained_for* is how long it has been in drain, in seconds.
    """
    steps = builder.steps
    name = server.name
    match server.admin:
        case AdminState.READY:
            drain(server, reason=reason, builder=builder)
            builder.waits.append(Wait(name, WaitsFor.SESSIONS, f"{reason}; drains", policy.drain_timeout))
        case AdminState.DRAIN if server.sessions == 0:
            steps.append(Disable(name, f"{reason}; drained, no session is left"))
            steps.append(Delete(name, f"{reason}; drained"))
        case AdminState.DRAIN if drained_for >= policy.drain_timeout:
            overdue = f"{reason}; {_sessions(server)} left after {policy.drain_timeout:g} s of drain"
            steps.append(Disable(name, overdue))
            if policy.on_drain_timeout is DrainTimeoutAction.CLOSE:
                steps.append(CloseSessions(name, overdue))
            steps.append(Delete(name, overdue))
        case AdminState.DRAIN:
            left = policy.drain_timeout - drained_for
            builder.waits.append(Wait(name, WaitsFor.SESSIONS, f"{reason}; drains, {_sessions(server)} left", left))
        case AdminState.MAINT:
            # its drain is over, or it never served; HAProxy refuses as long as sessions are left
            if policy.on_drain_timeout is DrainTimeoutAction.CLOSE and server.since_change >= policy.drain_timeout:
                steps.append(CloseSessions(name, f"{reason}; in maintenance for {server.since_change:g} s"))
            steps.append(Delete(name, f"{reason}; in maintenance"))
        case _:
            assert_never(server.admin)


def _leave_maintenance(name: str, check: Check, target: DesiredServer, *, policy: Policy, builder: PlanBuilder) -> None:
    if check is Check.DISABLED:
        builder.steps.append(EnableHealth(name, "its check has to run before it may serve"))
    if not _may_serve(check, policy):
        builder.waits.append(_check_wait(name, check))
        return
    why = {
        Check.PASSED: "its check passed",
        Check.NONE: "it has no check",
    }.get(check, "admitted at once, as configured")
    _let_in(name, target, why, builder)


def _let_in(name: str, target: DesiredServer, why: str, builder: PlanBuilder) -> None:
    if target.endpoint.state is EndpointState.READY:
        builder.steps.append(Admit(name, why))
    else:
        builder.steps.append(SetWeight(name, 0, "marks the drain as dynsrv's"))
        builder.steps.append(Drain(name, f"the source wants it drained; {why}"))


def _set_weight(server: Server, target: DesiredServer, builder: PlanBuilder) -> None:
    if server.weight != target.weight:
        reason = f"weight is {server.weight}, wanted {target.weight}"
        builder.steps.append(SetWeight(server.name, target.weight, reason))


def _may_serve(check: Check, policy: Policy) -> bool:
    """Whether a server may receive requests: the result of the check decides, never the status that HAProxy shows."""
    return check in {Check.PASSED, Check.NONE} or policy.admission is Admission.IMMEDIATELY


def _check_wait(name: str, check: Check) -> Wait:
    failing = "its check fails" if check is Check.FAILED else "its first check is not over"
    return Wait(name, WaitsFor.CHECK, f"{failing}; it gets no request until one passes")


def _sessions(server: Server) -> str:
    match server.sessions:
        case None:
            return "an unknown number of sessions"
        case 1:
            return "1 session"
        case number:
            return f"{number} sessions"
