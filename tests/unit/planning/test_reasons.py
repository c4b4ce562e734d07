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
        (None, an_endpoint(), ["add: the source wants it", "enable_health: its check has to run before it may serve"]),
        (a_server(admin=MAINT), an_endpoint(), ["admit: its check passed"]),
        (
            a_server(admin=MAINT, check=Check.NONE),
            an_endpoint(),
            ["admit: it has no check", "set_weight: weight is 0, wanted 100"],
        ),
        (
            a_server(admin=DRAIN),
            an_endpoint(),
            ["admit: wanted again before its drain was over", "set_weight: weight is 0, wanted 100"],
        ),
        (
            a_server(admin=MAINT, check=Check.FAILED, paused=True),
            an_endpoint(),
            ["drain: wanted again; its check runs in drain, not in this maintenance"],
        ),
        (a_server(weight=5), an_endpoint(), ["set_weight: weight is 5, wanted 100"]),
        (a_server(check=Check.DISABLED), an_endpoint(), ["enable_health: its check is configured, but off"]),
        (
            a_server(),
            an_endpoint(state=EndpointState.DRAIN),
            ["drain: the source wants it drained", "set_weight: marks the drain as dynsrv's"],
        ),
        (
            a_server(admin=MAINT),
            an_endpoint(state=EndpointState.DRAIN),
            ["drain: the source wants it drained; its check passed", "set_weight: marks the drain as dynsrv's"],
        ),
        (
            a_server(),
            None,
            ["drain: the source no longer wants it", "set_weight: marks the drain as dynsrv's"],
        ),
        (
            a_server(admin=DRAIN),
            None,
            [
                "disable: the source no longer wants it; drained, no session is left",
                "delete: the source no longer wants it; drained",
            ],
        ),
        (
            a_server(admin=MAINT, since_change=31),
            None,
            [
                "close_sessions: the source no longer wants it; in maintenance for 31 s",
                "delete: the source no longer wants it; in maintenance",
            ],
        ),
    ],
)
def test_every_step_says_why(server: Server | None, endpoint: Endpoint | None, reasons: list[str]) -> None:
    steps = the_plan_for(server, endpoint, CLOSE).steps
    assert sorted(f"{step.kind}: {step.reason}" for step in steps) == sorted(reasons)


def test_immediate_admission_is_given_as_the_reason_of_an_admission_without_a_check() -> None:
    (admit,) = the_plan_for(a_server(admin=MAINT, check=Check.FAILED), an_endpoint(), IMMEDIATELY).steps
    assert admit.reason == "admitted at once, as configured"


def test_an_overdue_drain_says_how_much_is_cut() -> None:
    for sessions, words in ((1, "1 session"), (2, "2 sessions")):
        plan = the_plan_for(a_server(admin=DRAIN, sessions=sessions), None, CLOSE, drained_for=31)
        assert {step.reason for step in plan.steps} == {
            f"the source no longer wants it; {words} left after 30 s of drain"
        }


def test_a_weight_without_a_check_says_why_it_comes_late() -> None:
    steps = the_plan_for(None, an_endpoint(), UNCHECKED).steps
    assert [step.reason for step in steps if isinstance(step, SetWeight)] == ["its own weight; it was added with 0"]


def test_a_wait_says_what_for_and_for_how_long() -> None:
    assert the_plan_for(a_server(), None, CLOSE).waits == (
        Wait(S, WaitsFor.SESSIONS, "the source no longer wants it; drains", 30),
    )
    assert the_plan_for(a_server(admin=DRAIN, sessions=1), None, CLOSE, drained_for=20).waits == (
        Wait(S, WaitsFor.SESSIONS, "the source no longer wants it; drains, 1 session left", 10),
    )
    assert the_plan_for(a_server(admin=MAINT, check=Check.PENDING), an_endpoint(), CLOSE).waits == (
        Wait(S, WaitsFor.CHECK, "its first check is not over; it gets no request until one passes"),
    )
    assert the_plan_for(a_server(admin=MAINT, check=Check.FAILED), an_endpoint(), CLOSE).waits == (
        Wait(S, WaitsFor.CHECK, "its check fails; it gets no request until one passes"),
    )


def test_every_step_names_its_server() -> None:
    plan = the_plan_for(a_server(admin=DRAIN, sessions=1), None, CLOSE, drained_for=30)
    assert [in_short(step) for step in plan.steps] == [f"disable {S}", f"close_sessions {S}", f"delete {S}"]
