"""Which steps lead from the observed servers to the desired ones: the rows of the table, the order, names and ids."""

from __future__ import annotations

from itertools import islice

import pytest

from dynsrv.model import AdminState, Check, EndpointState, Server
from dynsrv.planning import Admission, Policy, naming
from dynsrv.steps import Add, Plan, WaitsFor
from tests.fakes.builders import CHECKED, a_policy, a_server, an_endpoint, in_short
from tests.unit.planning.plans import steps_of, the_plan, waits_of

DRAIN, MAINT = AdminState.DRAIN, AdminState.MAINT
IMMEDIATELY = a_policy(admission=Admission.IMMEDIATELY)
OLD = ("check", "inter 9s")
S = "dyn-10.0.0.1:80"


# ---- the table


def test_nothing_wanted_and_nothing_there_is_converged() -> None:
    assert the_plan() == Plan()
    assert the_plan().converged


def test_an_endpoint_without_a_server_is_added_with_all_that_it_needs() -> None:
    add, enable = the_plan(wanted=(an_endpoint(weight=7),)).steps
    assert add == Add(
        server=S,
        id=next(naming.ids(an_endpoint(), CHECKED)),
        address="10.0.0.1",
        port=80,
        weight=7,
        options=CHECKED,
        reason="listed by the source",
    )
    assert in_short(enable) == f"enable_health {S}"


def test_an_endpoint_whose_server_serves_as_wanted_is_converged() -> None:
    assert the_plan(a_server(), wanted=(an_endpoint(),)).converged


def test_an_endpoint_whose_server_has_other_options_gets_a_successor_while_the_server_serves_on() -> None:
    plan = the_plan(a_server(options=OLD), wanted=(an_endpoint(),))
    server_id = next(naming.ids(an_endpoint(), CHECKED))
    assert steps_of(plan) == [f"add {S}-{server_id:x}", f"enable_health {S}-{server_id:x}"]
    assert waits_of(plan) == [f"{S}-{server_id:x} check", f"{S} successor"]
    stick = "clients that stick to {} move to other servers"
    assert plan.steps[0].reason == f"replaces a server whose options changed: {stick.format('that one')}"
    why = f"its options changed: {stick.format('it')}; keeps serving until its replacement does"
    assert plan.waits[1].reason == why


def test_when_the_successor_serves_its_predecessor_is_removed() -> None:
    plan = the_plan(a_server(options=OLD), a_server(name=f"{S}-f"), wanted=(an_endpoint(),))
    assert steps_of(plan) == [f"drain {S}"]
    assert plan.steps[-1].reason == "its options changed: clients that stick to it move to other servers"


def test_an_endpoint_to_be_drained_keeps_the_server_that_it_has_whatever_its_options() -> None:
    drained = an_endpoint(state=EndpointState.DRAIN)
    assert steps_of(the_plan(a_server(options=OLD), wanted=(drained,))) == [f"drain {S}"]
    assert the_plan(a_server(options=OLD, admin=DRAIN), wanted=(drained,)).converged


def test_a_server_without_an_endpoint_is_removed() -> None:
    assert steps_of(the_plan(a_server())) == [f"drain {S}"]
    assert steps_of(the_plan(a_server(admin=DRAIN))) == [f"disable {S}", f"delete {S}"]


def test_an_address_on_another_port_is_another_endpoint() -> None:
    plan = the_plan(a_server(), wanted=(an_endpoint(port=81),), policy=IMMEDIATELY)
    assert steps_of(plan) == ["add dyn-10.0.0.1:81", "enable_health dyn-10.0.0.1:81", "admit dyn-10.0.0.1:81"]
    assert waits_of(plan) == [f"{S} successor"]


def test_a_live_server_s_address_is_never_changed_a_name_that_moves_is_a_new_server() -> None:
    moved = an_endpoint(2, name="web")
    plan = the_plan(a_server(an_endpoint(1, name="web")), wanted=(moved,), policy=IMMEDIATELY)
    server_id = next(naming.ids(moved, CHECKED))
    assert steps_of(plan) == [f"{kind} dyn-web-{server_id:x}" for kind in ("add", "enable_health", "admit")]
    assert waits_of(plan) == ["dyn-web successor"]


def test_another_name_for_the_same_address_changes_nothing() -> None:
    assert the_plan(a_server(), wanted=(an_endpoint(name="web"),)).converged


# ---- order


def test_what_adds_goes_before_what_takes_away_and_equal_steps_stand_together() -> None:
    plan = the_plan(
        a_server(an_endpoint(1), admin=DRAIN, sessions=1),
        a_server(an_endpoint(2)),
        a_server(an_endpoint(3), admin=MAINT),
        a_server(an_endpoint(4), weight=5),
        a_server(an_endpoint(5), admin=MAINT),
        wanted=(an_endpoint(3), an_endpoint(4), an_endpoint(7), an_endpoint(6)),
        drains={S: -30.0},
        last_sessions={"dyn-10.0.0.5:80": -30.0},
        policy=IMMEDIATELY,
        peak=0,
    )
    assert [step for step in steps_of(plan) if not step.startswith("set_weight")] == [
        "add dyn-10.0.0.6:80",
        "add dyn-10.0.0.7:80",
        "enable_health dyn-10.0.0.6:80",
        "enable_health dyn-10.0.0.7:80",
        "admit dyn-10.0.0.6:80",
        "admit dyn-10.0.0.7:80",
        "admit dyn-10.0.0.3:80",
        "drain dyn-10.0.0.2:80",
        "disable dyn-10.0.0.1:80",
        "close_sessions dyn-10.0.0.5:80",
        "delete dyn-10.0.0.1:80",
        "delete dyn-10.0.0.5:80",
    ]
    assert {step.server for step in plan.steps if step.kind == "set_weight"} == {"dyn-10.0.0.2:80", "dyn-10.0.0.4:80"}


def test_a_drain_is_marked_as_ours_before_it_begins_lest_it_be_taken_for_an_operator_s() -> None:
    assert [step.kind for step in the_plan(a_server()).steps] == ["set_weight", "drain"]


@pytest.mark.parametrize(
    ("server", "policy"),
    [
        (a_server(admin=DRAIN), a_policy()),
        (a_server(admin=MAINT, paused=True), a_policy()),
        (a_server(admin=MAINT, check=Check.NONE, options=()), a_policy(options=())),
        (None, a_policy(options=())),
    ],
)
def test_a_server_is_admitted_before_it_gets_its_weight_lest_it_be_taken_for_an_operator_s(
    server: Server | None, policy: Policy
) -> None:
    plan = the_plan(*([server] if server else []), wanted=(an_endpoint(),), policy=policy)
    assert [step.kind for step in plan.steps][-2:] == ["admit", "set_weight"]


def test_deletions_come_in_the_order_in_which_haproxy_has_the_servers() -> None:
    hosts = [5, 1, 4, 2, 3]
    plan = the_plan(*(a_server(an_endpoint(host), admin=MAINT) for host in hosts))
    assert steps_of(plan) == [f"delete dyn-10.0.0.{host}:80" for host in hosts]


# ---- what is not ours


def test_a_server_without_the_prefix_is_never_touched() -> None:
    for admin in AdminState:
        assert the_plan(a_server(name="web1", admin=admin, weight=5)).converged


def test_an_endpoint_where_a_foreign_server_is_gets_a_server_of_its_own() -> None:
    plan = the_plan(a_server(name="web1"), wanted=(an_endpoint(),), policy=IMMEDIATELY)
    assert [step.kind for step in plan.steps] == ["add", "enable_health", "admit"]
    assert {step.server for step in plan.steps} == {S}


def test_another_prefix_makes_other_servers_ours() -> None:
    policy = a_policy(prefix="web")
    assert steps_of(the_plan(a_server(name="web1"), a_server(name=S), policy=policy)) == ["drain web1"]


def test_with_all_servers_adopted_what_the_source_does_not_want_goes_whatever_its_name() -> None:
    policy = a_policy(adopt_all=True)
    assert steps_of(the_plan(a_server(name="web1"), policy=policy)) == ["drain web1"]


def test_an_adopted_server_is_kept_with_the_options_of_the_configuration_file() -> None:
    policy = a_policy(adopt_all=True)
    adopted = a_server(name="web1", id=1)
    assert the_plan(adopted, wanted=(an_endpoint(),), policy=policy).converged
    assert steps_of(the_plan(a_server(name="web1", id=1, weight=5), wanted=(an_endpoint(),), policy=policy)) == [
        "set_weight web1"
    ]


# ---- names and ids


def test_an_id_that_a_foreign_server_has_is_not_taken_twice() -> None:
    first, second = islice(naming.ids(an_endpoint(), CHECKED), 2)
    (add, _) = the_plan(a_server(an_endpoint(9), name="web1", id=first), wanted=(an_endpoint(),)).steps
    assert isinstance(add, Add)
    assert add.id == second


def test_a_server_that_had_to_take_its_second_or_eighth_id_is_known_by_it() -> None:
    for server_id in islice(naming.ids(an_endpoint(), CHECKED), 8):
        assert the_plan(a_server(id=server_id), wanted=(an_endpoint(),)).converged


def test_a_name_that_is_taken_gets_the_id_behind_it() -> None:
    server_id = next(naming.ids(an_endpoint(), CHECKED))
    foreign = a_server(an_endpoint(9), name="dyn-web", id=5)
    other = a_server(an_endpoint(8), name=f"dyn-web-{server_id:x}", id=6)
    web = an_endpoint(name="web")
    plan = the_plan(foreign, wanted=(web, an_endpoint(9)), policy=IMMEDIATELY)
    assert steps_of(plan)[0] == f"add dyn-web-{server_id:x}"
    plan = the_plan(foreign, other, wanted=(web, an_endpoint(8), an_endpoint(9)), policy=IMMEDIATELY)
    assert f"add dyn-web-{server_id:x}-2" in steps_of(plan)


def test_two_endpoints_of_one_name_are_two_servers_with_names_of_their_own() -> None:
    plan = the_plan(wanted=(an_endpoint(2, name="web"), an_endpoint(1, name="web")), policy=IMMEDIATELY)
    adds = [step for step in plan.steps if isinstance(step, Add)]
    assert [(add.address, add.server) for add in adds] == [
        ("10.0.0.1", "dyn-web"),
        ("10.0.0.2", f"dyn-web-{adds[1].id:x}"),
    ]


# ---- weights and drains


def test_an_endpoint_s_weight_comes_before_the_backend_s() -> None:
    assert the_plan(a_server(weight=100), wanted=(an_endpoint(weight=100),), policy=a_policy(weight=3)).converged
    plan = the_plan(a_server(weight=100), wanted=(an_endpoint(weight=0),))
    assert plan.steps[0].reason == "weight is 100, desired 0"


def test_a_drain_of_which_nobody_knows_when_it_began_begins_now() -> None:
    draining = a_server(admin=DRAIN, sessions=1)
    assert the_plan(draining, now=1000.0).waits[0].deadline == 30
    assert the_plan(draining, now=1000.0, drains={S: 990.0}).waits[0].deadline == 20


def test_a_plan_that_only_waits_is_not_converged() -> None:
    plan = the_plan(a_server(admin=MAINT, check=Check.PENDING), wanted=(an_endpoint(),))
    assert plan.steps == ()
    assert waits_of(plan) == [f"{S} {WaitsFor.CHECK}"]
    assert not plan.converged
