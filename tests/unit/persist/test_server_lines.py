from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.model import AdminState, Agent, Check, EndpointState, OperationalState, Server
from dynsrv.persist.section import OtherServers
from dynsrv.persist.server_lines import ServerLine, still_held
from tests.fakes.builders import a_policy, a_server, an_endpoint, the_targets
from tests.unit.persist.seeing import a_line, lines, names, seen

ONE, TWO, THREE = (an_endpoint(host) for host in (1, 2, 3))


def test_a_server_that_serves_is_written_just_as_it_is_live() -> None:
    server = a_server(ONE, id=70000, weight=30)
    target = next(iter(the_targets(ONE).values()))
    assert lines(seen(a_server(ONE, weight=30), wanted=[ONE])) == [
        f"server dyn-10.0.0.1:80 10.0.0.1:80 id {target.id} weight 30 check inter 2s"
    ]
    assert lines(seen(server, wanted=[ONE])) == ["server dyn-10.0.0.1:80 10.0.0.1:80 id 70000 weight 30 check inter 2s"]


def test_the_weight_of_a_server_with_an_agent_is_the_one_that_its_agent_gives_a_share_of() -> None:
    server = a_server(ONE, weight=50, agent=Agent.ENABLED, initial_weight=100)
    assert " weight 100 " in lines(seen(server, wanted=[ONE]))[0]


def test_the_order_is_that_of_the_names() -> None:
    servers = [a_server(one) for one in (TWO, THREE, ONE)]
    assert names(seen(*servers, wanted=[ONE, TWO, THREE])) == ["dyn-10.0.0.1:80", "dyn-10.0.0.2:80", "dyn-10.0.0.3:80"]


def test_an_ipv6_address_is_in_brackets() -> None:
    six = replace(a_server(ONE, name="dyn-six"), address="::1")
    assert lines(seen(six)) == [f"server dyn-six [::1]:80 id {six.id} weight 100 check inter 2s"]


@pytest.mark.parametrize(
    "server",
    [
        a_server(TWO, admin=AdminState.DRAIN),
        a_server(TWO, admin=AdminState.MAINT, paused=True),
        a_server(TWO, admin=AdminState.MAINT, check=Check.DISABLED),
        a_server(TWO, admin=AdminState.MAINT, check=Check.PENDING),
        a_server(TWO, admin=AdminState.MAINT, check=Check.FAILED),
        a_server(TWO, operational=OperationalState.DOWN, check=Check.FAILED),
        a_server(TWO, operational=OperationalState.STOPPING),
        a_server(TWO, weight=0),
    ],
    ids=lambda one: f"{one.admin}-{one.operational}-{one.check}-{one.weight}",
)
def test_a_server_that_gets_no_requests_has_no_line(server: Server) -> None:
    assert names(seen(a_server(ONE), server, wanted=[ONE, TWO])) == ["dyn-10.0.0.1:80"]


def test_a_server_that_is_about_to_leave_has_no_line_though_it_serves() -> None:
    both = [a_server(ONE), a_server(TWO)]
    assert names(seen(*both, wanted=[ONE], leaving=["dyn-10.0.0.2:80"])) == ["dyn-10.0.0.1:80"]


def test_a_server_that_the_guard_keeps_has_a_line_though_the_source_does_not_want_it() -> None:
    assert names(seen(a_server(ONE), a_server(TWO), wanted=[ONE])) == ["dyn-10.0.0.1:80", "dyn-10.0.0.2:80"]


@pytest.mark.parametrize("admin", [AdminState.DRAIN, AdminState.MAINT])
def test_a_server_that_an_operator_holds_is_written_disabled(admin: AdminState) -> None:
    held = a_server(TWO, admin=admin, weight=100, paused=True)
    assert names(seen(a_server(ONE), held, wanted=[ONE, TWO])) == ["dyn-10.0.0.1:80", "(dyn-10.0.0.2:80)"]
    assert " weight 100 disabled check " in lines(seen(a_server(ONE), held, wanted=[ONE, TWO]))[1]


def test_a_held_server_that_the_source_does_not_want_has_no_line() -> None:
    held = a_server(TWO, admin=AdminState.MAINT, weight=100, paused=True)
    assert names(seen(a_server(ONE), held, wanted=[ONE])) == ["dyn-10.0.0.1:80"]


def test_a_server_that_is_not_of_dynsrv_has_no_line() -> None:
    assert names(seen(a_server(ONE), a_server(TWO, name="s1"), wanted=[ONE])) == ["dyn-10.0.0.1:80"]


# if none serves


def test_where_no_server_serves_all_that_are_wanted_are_written() -> None:
    down = a_server(ONE, operational=OperationalState.DOWN, check=Check.FAILED)
    new = a_server(TWO, admin=AdminState.MAINT, check=Check.PENDING)
    weightless, drained = an_endpoint(4, weight=0), an_endpoint(5, state=EndpointState.DRAIN)
    assert names(seen(down, new, wanted=[ONE, TWO, THREE, weightless, drained])) == [
        "dyn-10.0.0.1:80",
        "dyn-10.0.0.2:80",
        "dyn-10.0.0.3:80",
    ]


def test_a_hold_stays_one_where_no_other_server_serves() -> None:
    held = a_server(ONE, admin=AdminState.MAINT, weight=100, paused=True)
    assert names(seen(held, wanted=[ONE])) == ["(dyn-10.0.0.1:80)"]
    assert names(seen(held, wanted=[ONE, TWO])) == ["(dyn-10.0.0.1:80)", "dyn-10.0.0.2:80"]


def test_a_server_that_was_never_added_gets_the_name_the_id_and_the_weight_that_it_would_be_added_with() -> None:
    endpoint = an_endpoint(1, name="web-1", weight=7)
    policy = a_policy(maxconn=50)
    target = next(iter(the_targets(endpoint, policy=policy).values()))
    assert lines(seen(wanted=[endpoint], policy=policy)) == [
        f"server dyn-web-1 10.0.0.1:80 id {target.id} weight 7 maxconn 50 check inter 2s"
    ]


def test_a_server_without_a_check_that_waits_with_weight_0_is_written_with_its_own_weight() -> None:
    policy = a_policy(options=())
    new = a_server(ONE, options=(), admin=AdminState.MAINT, check=Check.NONE)
    assert " weight 100" in lines(seen(new, wanted=[ONE], policy=policy))[0]


def test_names_and_ids_that_others_of_the_section_have_are_not_given_twice() -> None:
    target = next(iter(the_targets(ONE).values()))
    second_id = list(zip(range(2), target.ids(), strict=False))[1][1]
    others = OtherServers(names=frozenset({"dyn-10.0.0.1:80"}), ids=frozenset({target.id}))
    assert lines(seen(wanted=[ONE]), others=others) == [
        f"server dyn-10.0.0.1:80-{second_id:x} 10.0.0.1:80 id {second_id} weight 100 check inter 2s"
    ]


def test_nothing_is_written_where_nothing_serves_and_nothing_is_wanted() -> None:
    assert lines(seen(a_server(ONE), leaving=["dyn-10.0.0.1:80"])) == []


# options


def test_a_server_added_with_other_options_keeps_those_that_were_written() -> None:
    old = a_server(ONE, options=("check", "inter 9s"))
    before = a_line(f"server dyn-10.0.0.1:80 10.0.0.1:80 id {old.id} weight 100 check inter 9s")
    assert lines(seen(old, wanted=[ONE]), written={before.name: before})[0].endswith(" check inter 9s")
    unknown = before._replace(id=5)  # another server had the name
    assert lines(seen(old, wanted=[ONE]), written={before.name: unknown})[0].endswith(" check inter 2s")


def test_a_server_that_is_not_wanted_any_more_keeps_the_options_that_were_written() -> None:
    old = a_server(TWO, options=("check", "inter 9s"))
    before = a_line(f"server dyn-10.0.0.2:80 10.0.0.2:80 id {old.id} weight 1 check inter 9s")
    assert lines(seen(old), written={before.name: before}) == [
        f"server dyn-10.0.0.2:80 10.0.0.2:80 id {old.id} weight 100 check inter 9s"
    ]


# servers of others


def test_an_adopted_server_that_the_section_names_elsewhere_gets_no_second_line() -> None:
    adopted = a_server(ONE, name="s1", id=1)
    policy = a_policy(adopt_all=True)
    others = OtherServers(names=frozenset({"s1"}), addresses=frozenset({"10.0.0.1:80"}))
    assert names(seen(adopted, a_server(TWO), wanted=[ONE, TWO], policy=policy), others=others) == ["dyn-10.0.0.2:80"]
    assert names(seen(wanted=[ONE, TWO], policy=policy), others=others) == ["dyn-10.0.0.2:80"]


def test_an_adopted_server_of_which_the_section_knows_nothing_is_written_under_its_name() -> None:
    adopted = a_server(ONE, name="s1", id=1)
    assert lines(seen(adopted, wanted=[ONE], policy=a_policy(adopt_all=True))) == [
        "server s1 10.0.0.1:80 id 1 weight 100 check inter 2s"
    ]


# several proxies


def test_what_serves_on_any_proxy_is_written_once() -> None:
    one, two = seen(a_server(ONE), wanted=[ONE, TWO]), seen(a_server(TWO), a_server(ONE), wanted=[ONE, TWO])
    assert names(one, two) == ["dyn-10.0.0.1:80", "dyn-10.0.0.2:80"]


def test_what_leaves_on_one_proxy_is_not_written_for_the_other() -> None:
    both = [a_server(ONE), a_server(TWO)]
    assert names(seen(*both, wanted=[ONE, TWO]), seen(*both, wanted=[ONE], leaving=["dyn-10.0.0.2:80"])) == [
        "dyn-10.0.0.1:80"
    ]


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_held_on_one_proxy_is_disabled_for_all(turned: bool) -> None:  # noqa: FBT001
    held = a_server(ONE, admin=AdminState.MAINT, weight=100, paused=True)
    both = [seen(held, a_server(TWO), wanted=[ONE, TWO]), seen(a_server(ONE), a_server(TWO), wanted=[ONE, TWO])]
    assert names(*(reversed(both) if turned else both)) == ["(dyn-10.0.0.1:80)", "dyn-10.0.0.2:80"]


def test_a_proxy_that_serves_keeps_another_from_having_all_that_are_wanted_written() -> None:
    new = a_server(TWO, admin=AdminState.MAINT, check=Check.FAILED)
    assert names(seen(a_server(ONE), new, wanted=[ONE, TWO]), seen(wanted=[ONE, TWO])) == ["dyn-10.0.0.1:80"]


# reading lines


WORDS = st.from_regex(r"[a-z][a-z0-9-]{0,10}( [a-z0-9(),.]{1,8})?", fullmatch=True)


@given(
    st.builds(
        ServerLine,
        name=st.from_regex(r"[A-Za-z0-9_:.-]{1,20}", fullmatch=True),
        id=st.integers(1, 2**28),
        address=st.sampled_from(["10.0.0.1:80", "[::1]:8080"]),
        weight=st.integers(0, 256),
        maxconn=st.integers(0, 10**6),
        options=st.lists(WORDS.filter(lambda word: not word.startswith(("maxconn", "disabled"))), max_size=5).map(
            " ".join
        ),
        disabled=st.booleans(),
    )
)
def test_a_line_is_read_as_it_was_written(line: ServerLine) -> None:
    assert ServerLine.read(str(line)) == line


@pytest.mark.parametrize(
    "text", ["server s1 10.0.0.1:80", "balance roundrobin", "server s1 10.0.0.1:80 weight 1 id 5", "# server x"]
)
def test_a_line_that_somebody_else_wrote_is_told_apart(text: str) -> None:
    assert ServerLine.read(text) is None


def test_a_hold_that_is_written_stays_one_for_who_has_not_seen_haproxy() -> None:
    held = a_line("server dyn-1 10.0.0.1:80 id 70000 weight 100 disabled check")
    new = held._replace(disabled=False, weight=50)
    assert still_held([new], {"dyn-1": held}) == [new._replace(disabled=True)]
    assert still_held([new._replace(id=70001)], {"dyn-1": held}) == [new._replace(id=70001)]
    assert still_held([new], {}) == [new]
