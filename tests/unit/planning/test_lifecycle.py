"""The next step of one server, for every state that HAProxy may hold it in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dynsrv.model import AdminState, Agent, Check, Endpoint, EndpointState, OperationalState, Server
from dynsrv.planning import Admission, DrainTimeoutAction, Policy, lifecycle
from dynsrv.steps import Add, Hold, Plan, SetWeight, WaitsFor
from tests.fakes.builders import CHECKED, a_policy, a_server, an_endpoint
from tests.unit.planning.plans import the_plan

DRAIN, MAINT = AdminState.DRAIN, AdminState.MAINT
IMMEDIATELY = a_policy(admission=Admission.IMMEDIATELY)
UNCHECKED = a_policy(options=())
S = "dyn-10.0.0.1:80"
CLOSE = a_policy(on_drain_timeout=DrainTimeoutAction.CLOSE, drain_timeout=30)
WAIT = a_policy(on_drain_timeout=DrainTimeoutAction.WAIT, drain_timeout=30)


def the_plan_for(
    server: Server | None, endpoint: Endpoint | None, policy: Policy, *, drained_for: float = 0, quiet_for: float = 0
) -> Plan:
    return the_plan(
        *([server] if server else []),
        wanted=(endpoint,) if endpoint else (),
        policy=policy,
        drains={server.name: 100.0} if server else {},
        last_sessions={server.name: 100.0 + drained_for - quiet_for} if server else {},
        now=100.0 + drained_for,
    )


def the_steps(server: Server | None, policy: Policy, *, state: EndpointState = EndpointState.READY) -> set[str]:
    """What is to be done with a server whose endpoint is wanted."""
    return kinds(the_plan_for(server, an_endpoint(state=state), policy))


def the_steps_for(server: Server | None, endpoint: Endpoint, policy: Policy) -> set[str]:
    return kinds(the_plan_for(server, endpoint, policy))


def the_removal(server: Server, policy: Policy, *, drained_for: float = 0, quiet_for: float = 0) -> set[str]:
    """What is to be done with a server whose endpoint is not wanted."""
    return kinds(the_plan_for(server, None, policy, drained_for=drained_for, quiet_for=quiet_for))


def kinds(plan: Plan) -> set[str]:
    """The steps of a plan without their order, what it waits for, and whether it holds."""
    steps = {f"weight {step.weight}" if isinstance(step, SetWeight) else step.kind for step in plan.steps}
    return steps | {f"wait {wait.waits_for}" for wait in plan.waits} | {"hold" for _ in plan.holds}


# ---- add, and admit


def test_a_new_server_waits_for_its_first_check_before_it_gets_requests() -> None:
    assert the_steps(None, a_policy()) == {"add", "enable_health", "wait check"}


def test_a_new_server_gets_requests_at_once_where_the_policy_says_so_and_is_checked_from_then_on() -> None:
    assert the_steps(None, IMMEDIATELY) == {"add", "enable_health", "admit"}


def test_a_new_server_without_a_check_is_added_without_weight_so_that_nobody_takes_it_for_an_operator_s() -> None:
    assert the_steps(None, UNCHECKED) == {"add", "weight 100", "admit"}
    (add, *_) = the_plan_for(None, an_endpoint(), UNCHECKED).steps
    assert isinstance(add, Add)
    assert add.weight == 0


def test_a_new_server_that_is_to_have_no_weight_gets_none() -> None:
    assert kinds(the_plan_for(None, an_endpoint(weight=0), UNCHECKED)) == {"add", "admit"}


def test_a_new_server_that_the_source_drains_is_checked_and_then_put_into_drain() -> None:
    assert the_steps(None, a_policy(), state=EndpointState.DRAIN) == {"add", "enable_health", "wait check"}
    assert the_steps(None, IMMEDIATELY, state=EndpointState.DRAIN) == {"add", "enable_health", "weight 0", "drain"}


def test_a_new_server_without_a_check_that_the_source_drains_never_gets_a_weight() -> None:
    assert the_steps(None, UNCHECKED, state=EndpointState.DRAIN) - {"weight 0"} == {"add", "drain"}


@pytest.mark.parametrize(
    ("check", "steps"),
    [
        (Check.DISABLED, {"enable_health", "wait check"}),
        (Check.PENDING, {"wait check"}),
        (Check.FAILED, {"wait check"}),
        (Check.PASSED, {"admit"}),
        (Check.NONE, {"admit", "weight 100"}),
    ],
)
def test_the_first_passed_check_is_what_ends_the_first_maintenance(check: Check, steps: set[str]) -> None:
    assert the_steps(a_server(admin=MAINT, check=check), a_policy()) == steps


@pytest.mark.parametrize(
    ("check", "steps"),
    [
        (Check.DISABLED, {"enable_health", "admit"}),
        (Check.PENDING, {"admit"}),
        (Check.FAILED, {"admit"}),
        (Check.PASSED, {"admit"}),
        (Check.NONE, {"admit", "weight 100"}),
    ],
)
def test_at_once_no_check_is_waited_for(check: Check, steps: set[str]) -> None:
    assert the_steps(a_server(admin=MAINT, check=check), IMMEDIATELY) == steps


@pytest.mark.parametrize("check", [Check.PENDING, Check.FAILED])
def test_a_check_that_haproxy_paused_runs_again_in_drain(check: Check) -> None:
    assert the_steps(a_server(admin=MAINT, check=check, paused=True), a_policy()) == {"drain"}


@pytest.mark.parametrize("check", [Check.PENDING, Check.FAILED])
def test_a_check_that_haproxy_paused_is_not_waited_for_where_the_source_wants_a_drain(check: Check) -> None:
    server = a_server(admin=MAINT, check=check, paused=True)
    assert "drain" in the_steps(server, a_policy(), state=EndpointState.DRAIN)


def test_a_paused_check_that_had_passed_is_a_first_passed_check() -> None:
    server = a_server(admin=MAINT, check=Check.PASSED, paused=True)
    assert the_steps(server, a_policy()) == {"admit", "weight 100"}


def test_at_once_a_paused_check_is_not_waited_for_either() -> None:
    server = a_server(admin=MAINT, check=Check.FAILED, paused=True)
    assert the_steps(server, IMMEDIATELY) == {"admit", "weight 100"}


def test_a_server_in_maintenance_that_the_source_drains_goes_to_drain_and_gets_nothing_on_the_way() -> None:
    assert the_steps(a_server(admin=MAINT), a_policy(), state=EndpointState.DRAIN) == {"drain", "weight 0"}


def test_a_server_that_served_before_a_reload_is_let_in_at_once() -> None:
    trusted = frozenset({a_server().id})
    plan = the_plan(wanted=(an_endpoint(),), trusted=trusted)
    assert kinds(plan) == {"add", "enable_health", "admit"}
    assert plan.steps[-1].reason == "it was serving before HAProxy was reloaded or restarted"
    drained = the_plan(wanted=(an_endpoint(state=EndpointState.DRAIN),), trusted=trusted)
    assert kinds(drained) == {"add", "enable_health", "weight 0", "drain"}
    assert kinds(the_plan(wanted=(an_endpoint(2),), trusted=trusted)) == {"add", "enable_health", "wait check"}


# ---- keep


@pytest.mark.parametrize("check", [Check.NONE, Check.PENDING, Check.FAILED, Check.PASSED])
def test_a_server_that_is_ready_and_wanted_so_is_left_alone_whatever_its_check_says(check: Check) -> None:
    assert the_steps(a_server(check=check), a_policy()) == set()


def test_a_check_that_somebody_left_off_is_turned_on() -> None:
    assert the_steps(a_server(check=Check.DISABLED), a_policy()) == {"enable_health"}


def test_a_server_that_the_source_drains_is_drained_and_stays() -> None:
    assert the_steps(a_server(), a_policy(), state=EndpointState.DRAIN) == {"weight 0", "drain"}
    assert the_steps(a_server(weight=0), a_policy(), state=EndpointState.DRAIN) == {"drain"}
    assert the_steps(a_server(admin=DRAIN), a_policy(), state=EndpointState.DRAIN) == set()


@pytest.mark.parametrize(
    ("check", "steps"),
    [
        (Check.DISABLED, {"enable_health", "wait check"}),
        (Check.PENDING, {"wait check"}),
        (Check.FAILED, {"wait check"}),
        (Check.PASSED, {"weight 100", "admit"}),
        (Check.NONE, {"weight 100", "admit"}),
    ],
)
def test_a_server_whose_endpoint_returns_is_put_back_instead_of_added_again(check: Check, steps: set[str]) -> None:
    assert the_steps(a_server(admin=DRAIN, check=check, sessions=3), a_policy()) == steps


@pytest.mark.parametrize("check", [Check.DISABLED, Check.PENDING, Check.FAILED, Check.PASSED])
def test_at_once_a_server_whose_endpoint_returns_is_put_back_without_waiting(check: Check) -> None:
    assert the_steps(a_server(admin=DRAIN, check=check), IMMEDIATELY) == {"weight 100", "admit"}


def test_a_weight_is_changed_in_place_as_soon_as_it_matters() -> None:
    assert the_steps(a_server(weight=5), a_policy()) == {"weight 100"}
    assert the_steps(a_server(weight=5, admin=MAINT), a_policy()) == {"weight 100", "admit"}
    assert the_steps(a_server(weight=5, admin=MAINT, check=Check.PENDING), a_policy()) == {"wait check"}


def test_a_maxconn_is_changed_in_place_where_it_is_known() -> None:
    policy = a_policy(maxconn=30)
    assert the_steps(replace(a_server(), maxconn=20), policy) == {"set_maxconn"}
    assert the_steps(replace(a_server(), maxconn=30), policy) == set()
    assert the_steps(a_server(), policy) == set()
    held = replace(a_server(admin=DRAIN, weight=100), maxconn=20)
    assert the_steps(held, policy) == {"set_maxconn", "hold"}
    (add, *_) = the_plan_for(None, an_endpoint(), policy).steps
    assert isinstance(add, Add)
    assert add.options[-1] == "maxconn 30"


# ---- what an operator did by hand


def test_only_what_does_not_serve_can_be_held() -> None:
    assert not lifecycle.held(a_server())
    assert not lifecycle.held(a_server(admin=DRAIN))
    assert lifecycle.held(a_server(admin=DRAIN, weight=1))


@pytest.mark.parametrize(
    "server",
    [
        a_server(admin=DRAIN, weight=100),
        a_server(admin=DRAIN, weight=5, check=Check.NONE),
        a_server(admin=MAINT, weight=100, paused=True),
        a_server(admin=MAINT, weight=100, check=Check.FAILED, paused=True),
        a_server(admin=MAINT, weight=100, check=Check.NONE),
    ],
)
def test_what_an_operator_put_aside_stays_there_while_it_is_wanted_and_goes_when_it_is_not(server: Server) -> None:
    plan = the_plan_for(server, an_endpoint(), a_policy())
    assert kinds(plan) == {"hold"}
    assert plan.converged
    assert plan.holds == (
        Hold(S, f"held by an operator: put into {server.admin} by hand; set it to ready to release it"),
    )
    assert "delete" in the_removal(server, a_policy())


def test_a_maintenance_of_an_operator_s_stays_one_where_the_source_wants_a_drain() -> None:
    server = a_server(admin=MAINT, weight=100, paused=True)
    assert the_steps(server, a_policy(), state=EndpointState.DRAIN) == {"hold"}
    assert the_steps(a_server(admin=DRAIN, weight=100), a_policy(), state=EndpointState.DRAIN) == set()


# ---- an agent

AGENT = a_policy(options=(*CHECKED, "agent-check", "agent-port 9"))


def with_agent(agent: Agent = Agent.ENABLED, **options: Any) -> Server:
    return a_server(options=AGENT.options, agent=agent, **options)


def test_an_agent_is_enabled_when_its_server_is_admitted_and_not_before() -> None:
    assert the_steps(None, AGENT) == {"add", "enable_health", "wait check"}
    waiting = with_agent(Agent.DISABLED, admin=MAINT, check=Check.PENDING)
    assert the_steps(waiting, AGENT) == {"wait check"}
    assert the_steps(replace(waiting, check=Check.PASSED), AGENT) == {"admit", "enable_agent"}
    assert the_steps(with_agent(Agent.DISABLED), AGENT) == {"enable_agent"}  # where that was interrupted


def test_a_server_with_an_agent_but_no_check_is_added_with_the_weight_that_percentages_are_of() -> None:
    policy = a_policy(options=("agent-check", "agent-port 9"))
    plan = the_plan_for(None, an_endpoint(), policy)
    assert [step.kind for step in plan.steps] == ["add", "admit", "enable_agent"]
    assert isinstance(plan.steps[0], Add)
    assert plan.steps[0].weight == 100
    interrupted = a_server(options=policy.options, admin=MAINT, check=Check.NONE, weight=100, agent=Agent.DISABLED)
    assert kinds(the_plan_for(interrupted, an_endpoint(), policy)) == {"admit", "enable_agent"}


@pytest.mark.parametrize("weight", [0, 50, 100, 200])
def test_the_weight_that_an_agent_gives_stays(weight: int) -> None:
    assert the_steps(with_agent(weight=weight), AGENT) == set()


@pytest.mark.parametrize("weight", [0, 50])
@pytest.mark.parametrize("admin", [DRAIN, MAINT])
def test_a_state_that_an_agent_gives_stays_and_is_told_as_the_agent_s(admin: AdminState, weight: int) -> None:
    plan = the_plan_for(with_agent(admin=admin, weight=weight), an_endpoint(), AGENT)
    assert kinds(plan) == {"hold"}
    assert plan.converged
    assert plan.holds == (
        Hold(S, f"put into {admin} by its agent, or by hand; it returns when either sets it to ready", WaitsFor.AGENT),
    )


def test_an_agent_is_disabled_before_a_drain_that_it_could_end() -> None:
    for plan in (
        the_plan_for(with_agent(), None, AGENT),
        the_plan_for(with_agent(), an_endpoint(state=EndpointState.DRAIN), AGENT),
    ):
        assert [step.kind for step in plan.steps] == ["disable_agent", "set_weight", "drain"]
    plan = the_plan_for(with_agent(weight=0), None, AGENT)
    assert [step.kind for step in plan.steps] == ["disable_agent", "drain"]
    own = with_agent(admin=DRAIN, weight=50, sessions=1)
    assert the_removal(own, AGENT) == {"disable_agent", "weight 0", "wait sessions"}
    assert the_steps(own, AGENT, state=EndpointState.DRAIN) == {"disable_agent", "weight 0"}
    assert the_removal(with_agent(admin=MAINT, weight=50), AGENT) == {"disable_agent", "weight 0", "delete"}


def test_an_endpoint_that_returns_gets_its_weight_and_its_agent_back() -> None:
    plan = the_plan_for(with_agent(Agent.DISABLED, admin=DRAIN), an_endpoint(), AGENT)
    assert [step.kind for step in plan.steps] == ["admit", "set_weight", "enable_agent"]


def test_another_weight_of_the_source_s_makes_another_server_because_percentages_are_of_the_first() -> None:
    plan = the_plan_for(with_agent(), an_endpoint(weight=7), AGENT)
    assert kinds(plan) == {"add", "enable_health", "wait check", "wait successor"}
    assert plan.waits[-1].reason.startswith("its weight, of which its agent gives percentages, is now 7; ")


def test_a_weight_of_0_of_the_source_s_is_given_in_place_and_no_agent_changes_it() -> None:
    assert the_steps_for(with_agent(), an_endpoint(weight=0), AGENT) == {"disable_agent", "weight 0"}
    assert the_steps_for(with_agent(Agent.DISABLED, weight=0), an_endpoint(weight=0), AGENT) == set()
    assert the_steps(with_agent(Agent.DISABLED, weight=0), AGENT) == {"weight 100", "enable_agent"}


# ---- remove


def test_a_server_that_is_not_wanted_drains_first() -> None:
    assert the_removal(a_server(), CLOSE) == {"weight 0", "drain", "wait sessions"}
    assert the_removal(a_server(weight=0), CLOSE) == {"drain", "wait sessions"}
    assert the_removal(a_server(operational=OperationalState.DOWN), CLOSE) == {"weight 0", "drain", "wait sessions"}


def test_a_server_that_no_session_is_left_on_is_deleted_before_its_time_is_over() -> None:
    assert the_removal(a_server(admin=DRAIN, sessions=0), CLOSE, drained_for=1) == {"disable", "delete"}


@pytest.mark.parametrize("policy", [CLOSE, WAIT])
def test_while_sessions_run_it_goes_on_draining(policy: Policy) -> None:
    assert the_removal(a_server(admin=DRAIN, sessions=2), policy, drained_for=29.9) == {"wait sessions"}


@pytest.mark.parametrize("policy", [CLOSE, WAIT])
@pytest.mark.parametrize("quiet_for", [0, 30])
def test_at_the_deadline_a_server_goes_into_maintenance_where_its_sessions_go_on(
    policy: Policy, quiet_for: float
) -> None:
    steps = the_removal(a_server(admin=DRAIN, sessions=2), policy, drained_for=30, quiet_for=quiet_for)
    assert steps == {"disable", "delete", "wait sessions"}


def test_in_maintenance_sessions_are_closed_when_the_last_one_had_its_time_too() -> None:
    server = a_server(admin=MAINT, paused=True, sessions=2)
    assert the_removal(server, CLOSE, quiet_for=29.9) == {"delete", "wait sessions"}
    assert the_removal(server, CLOSE, quiet_for=30) == {"close_sessions", "delete"}
    assert the_removal(server, WAIT, quiet_for=30) == {"delete", "wait sessions"}
    assert the_removal(replace(server, sessions=0), CLOSE, quiet_for=30) == {"delete"}


def test_sessions_that_nobody_could_count_are_taken_for_some() -> None:
    server = replace(a_server(admin=DRAIN), sessions=None)
    assert the_removal(server, CLOSE, drained_for=29) == {"wait sessions"}
    assert the_removal(server, CLOSE, drained_for=30) == {"disable", "delete", "wait sessions"}
    assert the_plan_for(server, None, CLOSE).waits[0].reason.endswith("draining, an unknown number of sessions left")


def test_a_server_in_maintenance_is_deleted_at_once() -> None:
    assert the_removal(a_server(admin=MAINT), CLOSE) == {"delete"}
    assert the_removal(a_server(admin=MAINT), CLOSE, quiet_for=29) == {"delete"}


def test_sessions_that_nobody_could_count_in_maintenance_are_taken_for_some() -> None:
    assert the_removal(a_server(admin=MAINT), CLOSE, quiet_for=30) == {"close_sessions", "delete"}
    assert the_removal(a_server(admin=MAINT), WAIT, quiet_for=30) == {"delete"}


def test_without_time_to_drain_sessions_are_closed_at_once() -> None:
    policy = a_policy(drain_timeout=0)
    assert the_removal(a_server(admin=DRAIN, sessions=2), policy) == {"disable", "delete", "wait sessions"}
    assert the_removal(a_server(admin=MAINT, sessions=2), policy) == {"close_sessions", "delete"}
