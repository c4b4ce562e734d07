"""Which instances get requests? By their state in EC2, and by that in Auto Scaling where a group is asked for."""

from __future__ import annotations

import pytest

from dynsrv.model import EndpointState
from dynsrv.sources.ec2.endpoints import InstanceMapper
from dynsrv.sources.ec2.responses import Inventory
from tests.fakes.ec2 import an_instance
from tests.unit.sources.ec2.looks import a_look

READY, DRAIN, NOTHING = EndpointState.READY, EndpointState.DRAIN, None

ELSEWHERE = ["pending", "stopped", "terminated"]
ON_ITS_WAY_OUT = ["shutting-down", "stopping"]

IN_SERVICE = ["InService", "Pending", "Pending:Wait", "Pending:Proceed"]
ASIDE = ["EnteringStandby", "Standby", "Detaching", "Detached", "Quarantined", "ReplacingRootVolume"]
ENDING = ["Terminating", "Terminating:Wait", "Terminating:Proceed", "Terminating:Retained", "Terminated"]
WARM = ["Warmed:Pending", "Warmed:Pending:Wait", "Warmed:Running", "Warmed:Stopped", "Warmed:Terminating:Wait"]


def state_of(look: Inventory, *, removes_terminating: bool = False) -> EndpointState | None:
    """What becomes of the only instance."""
    snapshot = InstanceMapper(port=80, removes_terminating=removes_terminating).snapshot(look)
    assert snapshot.notes == ()
    return next((endpoint.state for endpoint in snapshot.endpoints), None)


def in_group(state: str, *, ec2: str = "running", removes_terminating: bool = False) -> EndpointState | None:
    return state_of(a_look(an_instance(state=ec2), states={"i-1": state}), removes_terminating=removes_terminating)


def both(look: Inventory) -> set[EndpointState | None]:
    """What becomes of it where lifecycle actions are completed, and where they are not."""
    return {state_of(look, removes_terminating=removes) for removes in (False, True)}


def test_an_instance_that_runs_gets_requests() -> None:
    assert both(a_look(an_instance(state="running"))) == {READY}


@pytest.mark.parametrize("state", [*ELSEWHERE, "unheard-of"])
def test_an_instance_that_does_not_run_is_not_there(state: str) -> None:
    assert both(a_look(an_instance(state=state))) == {NOTHING}


@pytest.mark.parametrize("state", ON_ITS_WAY_OUT)
def test_an_instance_that_shuts_down_or_stops_is_drained(state: str) -> None:
    assert state_of(a_look(an_instance(state=state))) is DRAIN
    assert in_group("InService", ec2=state) is DRAIN


@pytest.mark.parametrize("state", ON_ITS_WAY_OUT)
def test_where_lifecycle_actions_are_completed_an_instance_that_shuts_down_is_let_go(state: str) -> None:
    assert state_of(a_look(an_instance(state=state)), removes_terminating=True) is NOTHING
    assert in_group("Terminating:Proceed", ec2=state, removes_terminating=True) is NOTHING


@pytest.mark.parametrize("state", [*IN_SERVICE, "SomethingNew"])
def test_an_instance_of_a_group_that_runs_gets_requests_unless_auto_scaling_says_otherwise(state: str) -> None:
    assert both(a_look(an_instance(), states={"i-1": state})) == {READY}


@pytest.mark.parametrize("state", ASIDE)
def test_an_instance_in_standby_or_put_aside_is_drained(state: str) -> None:
    assert both(a_look(an_instance(), states={"i-1": state})) == {DRAIN}


@pytest.mark.parametrize("state", ENDING)
def test_an_instance_that_auto_scaling_ends_is_drained_or_let_go_where_lifecycle_actions_are_completed(
    state: str,
) -> None:
    assert in_group(state) is DRAIN
    assert in_group(state, removes_terminating=True) is NOTHING


@pytest.mark.parametrize("state", WARM)
def test_an_instance_of_a_warm_pool_is_not_there(state: str) -> None:
    assert both(a_look(an_instance(), states={"i-1": state})) == {NOTHING}


def test_an_instance_that_runs_and_is_not_of_the_group_is_not_there() -> None:
    assert both(a_look(an_instance(), states={"i-2": "InService"})) == {NOTHING}


@pytest.mark.parametrize("ec2", ELSEWHERE)
def test_whatever_auto_scaling_says_an_instance_that_does_not_run_is_not_there(ec2: str) -> None:
    for state in (*IN_SERVICE, *ASIDE, *ENDING, *WARM):
        assert both(a_look(an_instance(state=ec2), states={"i-1": state})) == {NOTHING}


def test_a_member_of_the_group_that_ec2_does_not_name_is_not_there() -> None:
    assert InstanceMapper(port=80).snapshot(a_look(states={"i-1": "InService"})).endpoints == ()


def test_where_the_servers_of_an_instance_are_does_not_depend_on_its_state() -> None:
    look = a_look(*(an_instance(state=state) for state in ["running", *ELSEWHERE, *ON_ITS_WAY_OUT]))
    assert {InstanceMapper(port=80).locations(one) for one in look.instances} == {frozenset({("10.0.0.1", 80)})}
