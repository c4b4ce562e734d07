"""What is the next step of one server? Two state machines without a stage of their own: HAProxy holds it.

admit    (not there) ─Add→ maint, check off ─EnableHealth→ maint, check runs ─first check passed─Admit→ ready
         drain ─Admit→ ready                               (an endpoint that came back)
         maint, check paused by HAProxy ─Drain→ drain      (where the check runs again)

remove   ready ─Drain→ drain ─no session left, or deadline─Disable→ maint ─Delete→ (not there)
         at the deadline, with `then: close`: Disable, CloseSessions, Delete
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from dynsrv.model import (
    Add,
    AdminState,
    Admit,
    Check,
    CloseSessions,
    Delete,
    Disable,
    Drain,
    EnableHealth,
    EndpointState,
    Server,
    SetWeight,
    Step,
    Wait,
    WaitsFor,
)
from dynsrv.planning.policy import Admission, AfterDrain, Policy
from dynsrv.planning.targets import Target


@dataclass(slots=True)
class Draft:
    """Steps and waits, as they are found."""

    steps: list[Step] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)


def add(target: Target, *, name: str, server_id: int, reason: str, policy: Policy, draft: Draft) -> None:
    """Add a server for *target*, and go as far as one can without looking again."""
    endpoint = target.endpoint
    draft.steps.append(Add(name, server_id, endpoint.address, endpoint.port, target.weight, target.options, reason))
    check = Check.DISABLED if policy.has_check else Check.NONE
    _leave_maintenance(name, check, target, policy=policy, draft=draft)


def keep(server: Server, target: Target, *, policy: Policy, draft: Draft) -> None:
    """Bring a server that is wanted to what is wanted of it."""
    wanted = target.endpoint.state
    if server.weight != target.weight:
        draft.steps.append(SetWeight(server.name, target.weight, f"weight is {server.weight}, wanted {target.weight}"))
    match server.admin:
        case AdminState.READY:
            if server.check is Check.DISABLED:
                draft.steps.append(EnableHealth(server.name, "its check is configured, but off"))
            if wanted is EndpointState.DRAIN:
                draft.steps.append(Drain(server.name, "the source wants it drained"))
        case AdminState.DRAIN:
            if wanted is EndpointState.READY:
                _leave_drain(server, policy, draft)
        case AdminState.MAINT if server.check_paused and not _may_serve(server.check, policy):
            draft.steps.append(Drain(server.name, "wanted again; its check runs in drain, not in this maintenance"))
        case AdminState.MAINT:
            _leave_maintenance(server.name, server.check, target, policy=policy, draft=draft)
        case _:
            assert_never(server.admin)


def remove(server: Server, *, reason: str, drained_for: float, policy: Policy, draft: Draft) -> None:
    """Bring a server that is not wanted nearer to its deletion, without losing a request.

    *drained_for* is how long it has been in drain, in seconds.
    """
    steps = draft.steps
    name = server.name
    match server.admin:
        case AdminState.READY:
            steps.append(Drain(name, reason))
            draft.waits.append(Wait(name, WaitsFor.SESSIONS, f"{reason}; drains", policy.drain_timeout))
        case AdminState.DRAIN if server.sessions == 0:
            steps.append(Disable(name, f"{reason}; drained, no session is left"))
            steps.append(Delete(name, f"{reason}; drained"))
        case AdminState.DRAIN if drained_for >= policy.drain_timeout:
            overdue = f"{reason}; {_sessions(server)} left after {policy.drain_timeout:g} s of drain"
            steps.append(Disable(name, overdue))
            if policy.after_drain is AfterDrain.CLOSE:
                steps.append(CloseSessions(name, overdue))
            steps.append(Delete(name, overdue))
        case AdminState.DRAIN:
            left = policy.drain_timeout - drained_for
            draft.waits.append(Wait(name, WaitsFor.SESSIONS, f"{reason}; drains, {_sessions(server)} left", left))
        case AdminState.MAINT:
            # its drain is over, or it never served; HAProxy refuses as long as sessions are left
            if policy.after_drain is AfterDrain.CLOSE and server.since_change >= policy.drain_timeout:
                steps.append(CloseSessions(name, f"{reason}; in maintenance for {server.since_change:g} s"))
            steps.append(Delete(name, f"{reason}; in maintenance"))
        case _:
            assert_never(server.admin)


def _leave_maintenance(name: str, check: Check, target: Target, *, policy: Policy, draft: Draft) -> None:
    if check is Check.DISABLED:
        draft.steps.append(EnableHealth(name, "its check has to run before it may serve"))
    if not _may_serve(check, policy):
        draft.waits.append(_check_wait(name, check))
        return
    why = {
        Check.PASSED: "its check passed",
        Check.NONE: "it has no check",
    }.get(check, "admitted at once, as configured")
    if target.endpoint.state is EndpointState.READY:
        draft.steps.append(Admit(name, why))
    else:
        draft.steps.append(Drain(name, f"the source wants it drained; {why}"))


def _leave_drain(server: Server, policy: Policy, draft: Draft) -> None:
    if server.check is Check.DISABLED:
        draft.steps.append(EnableHealth(server.name, "its check has to run before it may serve"))
    if _may_serve(server.check, policy):
        draft.steps.append(Admit(server.name, "wanted again before its drain was over"))
    else:
        draft.waits.append(_check_wait(server.name, server.check))


def _may_serve(check: Check, policy: Policy) -> bool:
    """Whether a server may receive requests: the result of the check decides, never the status that HAProxy shows."""
    return check in {Check.PASSED, Check.NONE} or policy.admission is Admission.AT_ONCE


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
