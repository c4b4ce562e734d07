"""No server begins to leave while HAProxy's configuration file has it: a reload would bring it back."""

from __future__ import annotations

import pytest

from dynsrv.model import AdminState, Check, Endpoint, EndpointState, OperationalState, Server
from dynsrv.planning import Limits
from tests.fakes.builders import a_policy, a_server, an_endpoint
from tests.unit.planning.plans import steps_of, the_plan, waits_of

S = "dyn-10.0.0.1:80"
NAMED = frozenset({S})


@pytest.mark.parametrize(
    "wanted",
    [(), (an_endpoint(state=EndpointState.DRAIN),), (an_endpoint(weight=0),)],
    ids=["unwanted", "drain", "weight 0"],
)
def test_a_server_that_is_to_leave_serves_until_the_file_is_without_it(wanted: tuple[Endpoint, ...]) -> None:
    plan = the_plan(a_server(), wanted=wanted, in_config_file=NAMED)
    assert plan.steps == ()
    assert waits_of(plan) == [f"{S} config_file"]
    assert plan.waits[0].reason.endswith("; keeps serving until HAProxy's configuration file no longer has it")
    assert the_plan(a_server(), wanted=wanted).steps


def test_a_predecessor_serves_beside_its_successor_until_the_file_is_without_it() -> None:
    predecessor, successor = a_server(options=("check", "inter 9s")), a_server(name=f"{S}-f")
    plan = the_plan(predecessor, successor, wanted=(an_endpoint(),), in_config_file=NAMED)
    assert plan.steps == ()
    assert waits_of(plan) == [f"{S} config_file"]


def test_a_server_that_is_down_is_not_drained_before_either() -> None:
    down = a_server(operational=OperationalState.DOWN, check=Check.FAILED)
    assert waits_of(the_plan(down, in_config_file=NAMED)) == [f"{S} config_file"]


@pytest.mark.parametrize(
    "leaving",
    [a_server(admin=AdminState.DRAIN), a_server(admin=AdminState.MAINT), a_server(admin=AdminState.MAINT, weight=100)],
)
def test_what_leaves_already_waits_for_no_file(leaving: Server) -> None:
    assert steps_of(the_plan(leaving, in_config_file=NAMED)) == steps_of(the_plan(leaving))


def test_what_is_added_or_stays_waits_for_no_file() -> None:
    wanted = (an_endpoint(1), an_endpoint(2))
    named = frozenset({S, "dyn-10.0.0.2:80"})
    assert steps_of(the_plan(a_server(), wanted=wanted, in_config_file=named)) == [
        "add dyn-10.0.0.2:80",
        "enable_health dyn-10.0.0.2:80",
    ]


def test_what_the_guard_keeps_waits_for_the_guard_and_not_for_the_file() -> None:
    plan = the_plan(a_server(), policy=a_policy(limits=Limits(min_ready=1)), in_config_file=NAMED)
    assert waits_of(plan) == [f"{S} guard"]
