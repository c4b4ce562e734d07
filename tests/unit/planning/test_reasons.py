"""Every step says why it is taken, and every wait what for and for how long."""

from __future__ import annotations

import pytest

from dynsrv.model import AdminState, Check, Endpoint, EndpointState, Server
from dynsrv.planning import Admission, DrainTimeoutAction, Policy
from dynsrv.steps import Plan, SetWeight, Wait, WaitsFor
from tests.fakes.builders import a_policy, a_server, an_endpoint, in_short
from tests.unit.planning.plans import the_plan

DRAIN, MAINT = AdminState.DRAIN, AdminState.MAINT
IMMEDIATELY = a_policy(admission=Admission.IMMEDIATELY)
UNCHECKED = a_policy(options=())
CLOSE = a_policy(on_drain_timeout=DrainTimeoutAction.CLOSE, drain_timeout=30)
S = "dyn-10.0.0.1:80"


def the_plan_for(server: Server | None, endpoint: Endpoint | None, policy: Policy, *, drained_for: float = 0) -> Plan:
    return the_plan(
        *([server] if server else []),
        wanted=(endpoint,) if endpoint else (),
        policy=policy,
        drains={server.name: 100.0} if server else {},
        now=100.0 + drained_for,
    )


@pytest.mark.parametrize(
    ("server", "endpoint", "reasons"),
    [
        (
            None,
            an_endpoint(),
            ["add: listed by the source", "enable_health: required before it receives requests"],
        ),
        (a_server(admin=MAINT), an_endpoint(), ["admit: its health check passed"]),
        (
            a_server(admin=MAINT, check=Check.NONE),
            an_endpoint(),
            ["admit: it has no health check", "set_weight: weight is 0, desired 100"],
        ),
        (
            a_server(admin=DRAIN),
            an_endpoint(),
            ["admit: listed again before its drain ended", "set_weight: weight is 0, desired 100"],
        ),
        (
            a_server(admin=MAINT, check=Check.FAILED, paused=True),
            an_endpoint(),
            ["drain: listed again; its health check is paused in maintenance but runs in drain"],
        ),
        (a_server(weight=5), an_endpoint(), ["set_weight: weight is 5, desired 100"]),
        (a_server(check=Check.DISABLED), an_endpoint(), ["enable_health: its health check is configured but disabled"]),
        (
            a_server(),
            an_endpoint(state=EndpointState.DRAIN),
            ["drain: set to drain by the source", "set_weight: marks the drain as dynsrv's own"],
        ),
        (
            a_server(admin=MAINT),
            an_endpoint(state=EndpointState.DRAIN),
            [
                "drain: set to drain by the source; its health check passed",
                "set_weight: marks the drain as dynsrv's own",
            ],
        ),
        (
            a_server(),
            None,
            ["drain: no longer listed by the source", "set_weight: marks the drain as dynsrv's own"],
        ),
        (
            a_server(admin=DRAIN),
            None,
            [
                "disable: no longer listed by the source; drained, no sessions left",
                "delete: no longer listed by the source; drained",
            ],
        ),
        (
            a_server(admin=MAINT),
            None,
            ["delete: no longer listed by the source; in maintenance"],
        ),
    ],
)
def test_every_step_says_why(server: Server | None, endpoint: Endpoint | None, reasons: list[str]) -> None:
    steps = the_plan_for(server, endpoint, CLOSE).steps
    assert sorted(f"{step.kind}: {step.reason}" for step in steps) == sorted(reasons)


def test_immediate_admission_is_given_as_the_reason_of_an_admission_without_a_check() -> None:
    (admit,) = the_plan_for(a_server(admin=MAINT, check=Check.FAILED), an_endpoint(), IMMEDIATELY).steps
    assert admit.reason == "admitted immediately, as configured"


def test_an_overdue_drain_says_how_much_is_cut() -> None:
    for sessions, words in ((1, "1 session"), (2, "2 sessions")):
        plan = the_plan_for(a_server(admin=DRAIN, sessions=sessions), None, CLOSE, drained_for=31)
        assert {step.reason for step in plan.steps} == {
            f"no longer listed by the source; {words} left after draining for 30 s"
        }


def test_sessions_that_are_closed_are_counted_and_had_their_time() -> None:
    server = a_server(admin=MAINT, paused=True, sessions=2)
    (close, _) = the_plan(server, last_sessions={server.name: 0}, now=31).steps
    assert close.reason == "no longer listed by the source; 2 sessions left, none younger than 30 s"


def test_a_weight_without_a_check_says_why_it_comes_late() -> None:
    steps = the_plan_for(None, an_endpoint(), UNCHECKED).steps
    assert [step.reason for step in steps if isinstance(step, SetWeight)] == [
        "its desired weight; it was added with weight 0"
    ]


def test_a_wait_says_what_for_and_for_how_long() -> None:
    assert the_plan_for(a_server(), None, CLOSE).waits == (
        Wait(S, WaitsFor.SESSIONS, "no longer listed by the source; draining", 30),
    )
    assert the_plan_for(a_server(admin=DRAIN, sessions=1), None, CLOSE, drained_for=20).waits == (
        Wait(S, WaitsFor.SESSIONS, "no longer listed by the source; draining, 1 session left", 10),
    )
    assert the_plan_for(a_server(admin=DRAIN, sessions=1), None, CLOSE, drained_for=30).waits == (
        Wait(S, WaitsFor.SESSIONS, "no longer listed by the source; in maintenance, 1 session left", 30),
    )
    assert the_plan_for(a_server(admin=MAINT, check=Check.PENDING), an_endpoint(), CLOSE).waits == (
        Wait(
            S, WaitsFor.CHECK, "its first health check has not finished; it receives no requests until a check passes"
        ),
    )
    assert the_plan_for(a_server(admin=MAINT, check=Check.FAILED), an_endpoint(), CLOSE).waits == (
        Wait(S, WaitsFor.CHECK, "its health check is failing; it receives no requests until a check passes"),
    )


def test_every_step_names_its_server() -> None:
    plan = the_plan_for(a_server(admin=DRAIN, sessions=1), None, CLOSE, drained_for=30)
    assert [in_short(step) for step in plan.steps] == [f"disable {S}", f"delete {S}"]
