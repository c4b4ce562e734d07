"""What holds of every plan, whatever is there and whatever is wanted."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from dynsrv.model import AdminState, Check, Endpoint, EndpointState, OperationalState, Server
from dynsrv.planning import naming
from dynsrv.steps import Add
from tests.fakes.builders import CHECKED, a_server, an_endpoint
from tests.unit.planning.plans import the_plan

servers = st.builds(
    a_server,
    st.integers(1, 4).map(an_endpoint),
    name=st.sampled_from(["dyn-a", "dyn-b", "dyn-10.0.0.1:80", "dyn-10.0.0.2:80", "web1"]),
    id=st.integers(1, 9) | st.integers(1, 4).map(lambda host: next(naming.ids(an_endpoint(host), CHECKED))),
    admin=st.sampled_from(AdminState),
    operational=st.sampled_from(OperationalState),
    check=st.sampled_from(Check),
    paused=st.booleans(),
    weight=st.sampled_from([5, 100]),
    sessions=st.none() | st.integers(0, 2),
    since_change=st.sampled_from([0.0, 60.0]),
)
backends = st.lists(servers, max_size=5, unique_by=(lambda server: server.name, lambda server: server.id))
wanted = st.lists(
    st.builds(an_endpoint, st.integers(1, 4), state=st.sampled_from(EndpointState)),
    max_size=4,
    unique_by=lambda endpoint: endpoint.address,
)


@given(observed=backends, wanted=wanted, seed=st.integers())
def test_a_plan_is_the_same_whatever_the_order_of_the_endpoints(
    observed: list[Server], wanted: list[Endpoint], seed: int
) -> None:
    plan = the_plan(*observed, wanted=tuple(wanted))
    random.Random(seed).shuffle(wanted)
    again = the_plan(*observed, wanted=tuple(wanted))
    assert [step for step in again.steps if isinstance(step, Add)] == [
        step for step in plan.steps if isinstance(step, Add)
    ]
    assert set(again.steps) == set(plan.steps)
    assert set(again.waits) == set(plan.waits)


@given(observed=backends, wanted=wanted)
def test_whatever_is_there_no_name_and_no_id_is_asked_for_twice_and_nothing_foreign_is_touched(
    observed: list[Server], wanted: list[Endpoint]
) -> None:
    plan = the_plan(*observed, wanted=tuple(wanted))
    adds = [step for step in plan.steps if isinstance(step, Add)]
    names = [server.name for server in observed] + [add.server for add in adds]
    ids = [server.id for server in observed] + [add.id for add in adds]
    assert len(set(names)) == len(names)
    assert len(set(ids)) == len(ids)
    assert all(step.server.startswith("dyn-") for step in (*plan.steps, *plan.waits))
    assert len({(step.kind, step.server) for step in plan.steps}) == len(plan.steps)
