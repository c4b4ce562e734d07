"""A server whose options changed: who serves until when, and who goes."""

from __future__ import annotations

from dynsrv.model import AdminState, Check, OperationalState
from tests.fakes.builders import CHECKED, a_server, an_endpoint
from tests.unit.planning.plans import steps_of, the_plan, waits_of

DRAIN, MAINT = AdminState.DRAIN, AdminState.MAINT
OLD = ("check", "inter 9s")
S = "dyn-10.0.0.1:80"


def test_a_successor_that_fails_its_check_leaves_the_predecessor_serving() -> None:
    successor = a_server(name=f"{S}-f", admin=MAINT, check=Check.FAILED)
    plan = the_plan(a_server(options=OLD), successor, wanted=(an_endpoint(),))
    assert plan.steps == ()
    assert waits_of(plan) == [f"{S} successor", f"{S}-f check"]


def test_a_successor_that_haproxy_sees_down_leaves_the_predecessor_serving() -> None:
    successor = a_server(name=f"{S}-f", operational=OperationalState.DOWN, check=Check.FAILED)
    assert waits_of(the_plan(a_server(options=OLD), successor, wanted=(an_endpoint(),))) == [f"{S} successor"]


def test_a_predecessor_that_does_not_serve_is_not_kept() -> None:
    for predecessor in (
        a_server(options=OLD, operational=OperationalState.DOWN),
        a_server(options=OLD, operational=OperationalState.STOPPING),
    ):
        plan = the_plan(predecessor, wanted=(an_endpoint(),))
        assert f"drain {S}" in steps_of(plan)
    assert f"delete {S}" in steps_of(the_plan(a_server(options=OLD, admin=MAINT), wanted=(an_endpoint(),)))


def test_a_predecessor_that_drains_is_removed_while_its_successor_is_added() -> None:
    plan = the_plan(a_server(options=OLD, admin=DRAIN, sessions=0), wanted=(an_endpoint(),))
    assert [step.kind for step in plan.steps] == ["add", "enable_health", "disable", "delete"]


def test_a_server_that_slowly_starts_serves() -> None:
    successor = a_server(name=f"{S}-f", operational=OperationalState.STARTING)
    assert steps_of(the_plan(a_server(options=OLD), successor, wanted=(an_endpoint(),))) == [f"drain {S}"]


def test_of_two_servers_with_the_same_options_the_one_that_serves_stays() -> None:
    first, second = (a_server(name=name) for name in ("dyn-a", "dyn-b"))
    assert steps_of(the_plan(first, second, wanted=(an_endpoint(),))) == ["drain dyn-b"]
    waiting = a_server(name="dyn-a", admin=MAINT, check=Check.PENDING)
    assert steps_of(the_plan(waiting, second, wanted=(an_endpoint(),))) == ["delete dyn-a"]


def test_changed_back_options_find_the_predecessor_again() -> None:
    predecessor, successor = a_server(options=CHECKED, admin=DRAIN), a_server(options=OLD, name=f"{S}-f")
    plan = the_plan(predecessor, successor, wanted=(an_endpoint(),))
    assert sorted(steps_of(plan)) == [f"admit {S}", f"set_weight {S}"]
    assert waits_of(plan) == [f"{S}-f successor"]
