"""What is the next step of one server? Two state machines whose state is HAProxy's, not dynsrv's.

    admit    (absent)    ─Add→ maint, check off ─EnableHealth→ maint, check runs ─first check passed─Admit→ ready
             drain, weight 0 ─Admit, SetWeight→ ready          (an endpoint that returned)
             maint, check paused, weight 0 ─Drain→ drain       (where the check runs again)

    remove   ready ─SetWeight 0, Drain→ drain ─no sessions left, or deadline─Disable→ maint ─Delete→ (absent)
             maint, with `on_timeout: close` ─no session is younger than the timeout─CloseSessions, Delete→ (absent)

HAProxy's state also shows who took a server out of service, so this survives a restart of dynsrv. A server that dynsrv
drains has weight 0, in drain and in the maintenance after it. A new server waits in maintenance with its check disabled
or running; one without a check is added with weight 0. A server that an operator took out keeps its weight, and its
check is paused in maintenance: it is held.

An agent (`agent-check`) changes a server's weight and state, like an operator. It is enabled once the server is
admitted, and disabled before dynsrv drains or removes it: its reply `ready` would end the drain. So while it is
enabled, weight and state are its own, and while it is disabled, dynsrv's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from dynsrv.model import AdminState, Agent, Check, EndpointState, Server, failing_check
from dynsrv.planning.desired_servers import DesiredServer
from dynsrv.planning.policy import Admission, DrainTimeoutAction, Policy
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
    """A plan under construction."""

    steps: list[Step] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Addition:
    """A server to add. *trusted*: it was serving just before, in HAProxy's previous process."""

    target: DesiredServer
    name: str
    id: int
    reason: str
    trusted: bool = False


def add(addition: Addition, *, policy: Policy, builder: PlanBuilder) -> None:
    """Add a server, with all steps that do not depend on what HAProxy reports next."""
    target, name = addition.target, addition.name
    endpoint = target.endpoint
    # of an agent, the weight that it is added with decides, and the disabled agent marks it as new
    weight = target.weight if policy.has_check or target.agent else 0
    options = (*target.options, f"maxconn {target.maxconn}") if target.maxconn else target.options
    builder.steps.append(Add(name, addition.id, endpoint.address, endpoint.port, weight, options, addition.reason))
    if weight != target.weight and endpoint.state is EndpointState.READY:
        builder.steps.append(SetWeight(name, target.weight, "its desired weight; it was added with weight 0"))
    check = Check.DISABLED if policy.has_check else Check.NONE
    if addition.trusted and policy.has_check:
        builder.steps.append(EnableHealth(name, "its health check continues"))
        _let_in(name, target, "it was serving before HAProxy was reloaded or restarted", builder)
    else:
        _leave_maintenance(name, check, target, detail=None, policy=policy, builder=builder)


def held(server: Server) -> bool:
    """Whether an operator, not dynsrv, put this server of dynsrv's into drain or maintenance."""
    match server.admin:
        case AdminState.READY:
            return False
        case _ if server.agent is Agent.ENABLED:
            return True  # or its agent
        case AdminState.DRAIN:
            return server.weight > 0
        case AdminState.MAINT:
            new = server.agent is Agent.DISABLED if server.check is Check.NONE else not server.check_paused
            return server.weight > 0 and not new
        case _:
            assert_never(server.admin)


def is_up_to_date(server: Server, target: DesiredServer) -> bool:
    """Whether a server that shall be ready needs no step. True of most servers, so it has to be fast."""
    by_agent = server.agent is Agent.ENABLED and target.weight > 0
    wanted = (server.weight == target.weight or by_agent) and server.maxconn in {None, target.maxconn}
    return server.serving and wanted and server.check is not Check.DISABLED and server.agent is not Agent.DISABLED


def keep(server: Server, target: DesiredServer, *, policy: Policy, builder: PlanBuilder) -> None:
    """Bring a desired server to the state ready."""
    if server.maxconn is not None and server.maxconn != target.maxconn:
        reason = f"maxconn is {server.maxconn}, desired {target.maxconn}"
        builder.steps.append(SetMaxconn(server.name, target.maxconn, reason))
    if server.admin is not AdminState.READY and held(server):
        builder.holds.append(_hold(server))
        return
    match server.admin:
        case AdminState.READY:
            if server.check is Check.DISABLED:
                builder.steps.append(EnableHealth(server.name, "its health check is configured but disabled"))
            if server.agent is Agent.ENABLED and not target.weight:
                builder.steps.append(DisableAgent(server.name, "its desired weight is 0, whatever its agent says"))
            if server.agent is not Agent.ENABLED or not target.weight:
                _set_weight(server, target, builder)
            _enable_agent(server.name, server.agent, target, builder)
        case AdminState.DRAIN if not _may_serve(server.check, policy):
            if server.check is Check.DISABLED:
                builder.steps.append(EnableHealth(server.name, "required before it receives requests"))
            builder.waits.append(_check_wait(server.name, server.check, server.check_detail))
        case AdminState.DRAIN:
            _set_weight(server, target, builder)
            builder.steps.append(Admit(server.name, "listed again before its drain ended"))
            _enable_agent(server.name, server.agent, target, builder)
        case AdminState.MAINT if server.check_paused and not _may_serve(server.check, policy):
            builder.steps.append(
                Drain(server.name, "listed again; its health check is paused in maintenance but runs in drain")
            )
        case AdminState.MAINT:
            if _may_serve(server.check, policy):
                _set_weight(server, target, builder)
            _leave_maintenance(
                server.name, server.check, target, detail=server.check_detail, policy=policy, builder=builder
            )
        case _:
            assert_never(server.admin)


def _hold(server: Server) -> Hold:
    if server.agent is Agent.ENABLED:
        reason = f"put into {server.admin} by its agent, or by hand; it returns when either sets it to ready"
        return Hold(server.name, reason, WaitsFor.AGENT)
    return Hold(server.name, f"held by an operator: put into {server.admin} by hand; set it to ready to release it")


def _enable_agent(name: str, agent: Agent, target: DesiredServer, builder: PlanBuilder) -> None:
    """Let the agent of an admitted server decide about its weight and state from now on."""
    if agent is Agent.DISABLED and target.weight:
        builder.steps.append(EnableAgent(name, "its agent check is configured but disabled"))


def keep_in_drain(server: Server, target: DesiredServer, *, policy: Policy, builder: PlanBuilder) -> None:
    """Bring a server to the state drain, as its endpoint demands. The guard decides about serving ones first."""
    match server.admin:
        case AdminState.READY:
            drain(server, reason="set to drain by the source", builder=builder)
        case AdminState.DRAIN:
            _silence_agent(server, builder)
        case AdminState.MAINT if held(server):
            builder.holds.append(_hold(server))
        case AdminState.MAINT if server.check_paused:
            builder.steps.append(Drain(server.name, "set to drain by the source"))
        case AdminState.MAINT:
            _leave_maintenance(
                server.name, server.check, target, detail=server.check_detail, policy=policy, builder=builder
            )
        case _:
            assert_never(server.admin)


def drain(server: Server, *, reason: str, builder: PlanBuilder) -> None:
    """Drain a ready server, with weight 0 to mark the drain as dynsrv's own."""
    _silence_agent(server, builder)
    if server.weight and server.agent is not Agent.ENABLED:
        builder.steps.append(SetWeight(server.name, 0, "marks the drain as dynsrv's own"))
    builder.steps.append(Drain(server.name, reason))


def _silence_agent(server: Server, builder: PlanBuilder) -> None:
    """Let no agent end what dynsrv begins: it is disabled, and the weight marks the drain as dynsrv's own."""
    if server.agent is Agent.ENABLED:
        builder.steps.append(DisableAgent(server.name, "its agent could end the drain"))
        if server.weight:
            builder.steps.append(SetWeight(server.name, 0, "marks the drain as dynsrv's own"))


def remove(
    server: Server,
    *,
    reason: str,
    drained_for: float = 0.0,
    quiet_for: float = 0.0,
    policy: Policy,
    builder: PlanBuilder,
) -> None:
    """Take the next step towards the deletion of a server, without losing a request.

    *drained_for*: seconds since its drain began. *quiet_for*: seconds for which no session has begun. Clients that
    stick to a server keep coming while it drains, so sessions are closed only in maintenance, where none can begin, and
    only once the youngest has had the drain's timeout.
    """
    steps = builder.steps
    name = server.name
    if server.admin is not AdminState.READY:
        _silence_agent(server, builder)
    match server.admin:
        case AdminState.READY:
            drain(server, reason=reason, builder=builder)
            builder.waits.append(Wait(name, WaitsFor.SESSIONS, f"{reason}; draining", policy.drain_timeout))
        case AdminState.DRAIN if server.sessions == 0:
            steps.append(Disable(name, f"{reason}; drained, no sessions left"))
            steps.append(Delete(name, f"{reason}; drained"))
        case AdminState.DRAIN if drained_for >= policy.drain_timeout:
            overdue = f"{reason}; {_sessions(server)} left after draining for {policy.drain_timeout:g} s"
            steps.append(Disable(name, overdue))
            steps.append(Delete(name, overdue))
            builder.waits.append(_last_sessions_wait(server, reason, quiet_for, policy))
        case AdminState.DRAIN:
            left = policy.drain_timeout - drained_for
            builder.waits.append(Wait(name, WaitsFor.SESSIONS, f"{reason}; draining, {_sessions(server)} left", left))
        case AdminState.MAINT:
            # drained, or never served; HAProxy refuses to delete it while sessions remain
            if policy.on_drain_timeout is DrainTimeoutAction.CLOSE and quiet_for >= policy.drain_timeout:
                if server.sessions != 0:
                    age = f"none younger than {policy.drain_timeout:g} s"
                    steps.append(CloseSessions(name, f"{reason}; {_sessions(server)} left, {age}"))
            elif server.sessions:
                builder.waits.append(_last_sessions_wait(server, reason, quiet_for, policy))
            steps.append(Delete(name, f"{reason}; in maintenance"))
        case _:
            assert_never(server.admin)


def _leave_maintenance(
    name: str, check: Check, target: DesiredServer, *, detail: str | None, policy: Policy, builder: PlanBuilder
) -> None:
    if check is Check.DISABLED:
        builder.steps.append(EnableHealth(name, "required before it receives requests"))
    if not _may_serve(check, policy):
        builder.waits.append(_check_wait(name, check, detail))
        return
    why = {
        Check.PASSED: "its health check passed",
        Check.NONE: "it has no health check",
    }.get(check, "admitted immediately, as configured")
    _let_in(name, target, why, builder)


def _let_in(name: str, target: DesiredServer, why: str, builder: PlanBuilder) -> None:
    if target.endpoint.state is EndpointState.READY:
        builder.steps.append(Admit(name, why))
        _enable_agent(name, Agent.DISABLED if target.agent else Agent.NONE, target, builder)
    else:
        builder.steps.append(SetWeight(name, 0, "marks the drain as dynsrv's own"))
        builder.steps.append(Drain(name, f"set to drain by the source; {why}"))


def _set_weight(server: Server, target: DesiredServer, builder: PlanBuilder) -> None:
    if server.weight != target.weight:
        reason = f"weight is {server.weight}, desired {target.weight}"
        builder.steps.append(SetWeight(server.name, target.weight, reason))


def _may_serve(check: Check, policy: Policy) -> bool:
    """Whether a server may receive requests: decided by its check result, never by the status that HAProxy shows."""
    return check in {Check.PASSED, Check.NONE} or policy.admission is Admission.IMMEDIATELY


def _check_wait(name: str, check: Check, detail: str | None) -> Wait:
    why = failing_check(detail) if check is Check.FAILED else "its first health check has not finished"
    return Wait(name, WaitsFor.CHECK, f"{why}; it receives no requests until a check passes")


def _last_sessions_wait(server: Server, reason: str, quiet_for: float, policy: Policy) -> Wait:
    """Wait for the sessions of a server in maintenance to end, until the youngest has had the drain's timeout."""
    left = None
    if policy.on_drain_timeout is DrainTimeoutAction.CLOSE:
        left = max(0.0, policy.drain_timeout - quiet_for)
    return Wait(server.name, WaitsFor.SESSIONS, f"{reason}; in maintenance, {_sessions(server)} left", left)


def _sessions(server: Server) -> str:
    match server.sessions:
        case None:
            return "an unknown number of sessions"
        case 1:
            return "1 session"
        case number:
            return f"{number} sessions"
