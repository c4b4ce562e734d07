"""May so many serving servers leave now? One test for each row of the guard's table, and the numbers in between."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.model import AdminState, Check, Endpoint, EndpointState, OperationalState, Server
from dynsrv.planning import Limits, OnEmpty, Policy, RecentService, guard
from dynsrv.planning.guard import RemovalDecision, RemovalRequest
from dynsrv.steps import Drain, Plan, Refusal, Rule, WaitsFor
from tests.fakes.builders import CHECKED, a_policy, a_server, an_endpoint
from tests.unit.planning.plans import the_plan, waits_of

MAINT = AdminState.MAINT
Events = tuple[tuple[float, int], ...]
GUARDED = a_policy(limits=Limits())


def the_verdict(
    *,
    leaving: int,
    serving: int,
    limits: Limits | None = None,
    foreign: int = 0,
    coming: int = 0,
    failing: int = 0,
    empty: bool = False,
    peak: int | None = None,
    departed: int = 0,
    wanted: int | None = None,
    backup: bool = False,
    stopping: int = 0,
) -> RemovalDecision:
    situation = RemovalRequest(
        leaving=leaving,
        stopping=stopping,
        serving=serving,
        wanted=serving if wanted is None else wanted,
        foreign=foreign,
        coming=coming,
        failing=failing,
        empty=empty,
        backup=backup,
    )
    recent = RecentService(((0, serving if peak is None else peak),), ((0, departed),))
    return guard.evaluate(situation, recent=recent, now=0, limits=limits or Limits())


def servers(count: int, **options: object) -> list[Server]:
    return [a_server(an_endpoint(host), **options) for host in range(1, count + 1)]  # type: ignore[arg-type]


def drained(plan: Plan) -> list[str]:
    return [step.server for step in plan.steps if isinstance(step, Drain)]


# ---- an empty snapshot


def test_that_the_source_wants_nothing_at_all_is_not_believed() -> None:
    verdict = the_verdict(leaving=3, serving=3, empty=True)
    assert verdict.may_leave == 0
    assert verdict.refusal == Refusal(
        Rule.ON_EMPTY,
        "the source lists no servers: keeping the 3 that are serving (limits.on_empty: keep);"
        " if this is intended, set it to remove, or run dynsrv apply --force",
    )


def test_where_it_is_to_be_believed_all_may_go_whatever_the_other_limits() -> None:
    limits = Limits(on_empty=OnEmpty.REMOVE, min_ready=3, max_removed=0)
    assert the_verdict(leaving=3, serving=3, empty=True, limits=limits) == RemovalDecision(3)


def test_nothing_of_a_backend_goes_for_an_empty_snapshot_not_even_what_is_down() -> None:
    down = a_server(an_endpoint(2), operational=OperationalState.DOWN, check=Check.FAILED)
    waiting = a_server(an_endpoint(3), admin=MAINT, check=Check.PENDING)
    plan = the_plan(a_server(), down, waiting, policy=GUARDED)
    assert plan.steps == ()
    assert [refusal.rule for refusal in plan.refusals] == [Rule.ON_EMPTY]
    assert waits_of(plan) == [f"dyn-10.0.0.{host}:80 guard" for host in (1, 2, 3)]
    assert not plan.converged


def test_a_removal_that_has_begun_goes_on_though_the_snapshot_became_empty() -> None:
    plan = the_plan(a_server(admin=AdminState.DRAIN), policy=GUARDED)
    assert [step.kind for step in plan.steps] == ["disable", "delete"]


# ---- make before break


@pytest.mark.parametrize(
    ("serving", "peak", "may_leave"), [(4, 4, 0), (5, 4, 1), (6, 4, 2), (8, 4, 4), (9, 4, 4), (3, 4, 0)]
)
def test_while_new_servers_come_as_many_may_leave_as_new_ones_serve(serving: int, peak: int, may_leave: int) -> None:
    verdict = the_verdict(leaving=4, serving=serving, peak=peak, coming=2, limits=Limits(max_removed=0.0))
    assert verdict == RemovalDecision(may_leave, "keeps serving until new servers do: 2 not ready yet")


def test_replaced_servers_leave_one_by_one_as_their_replacements_serve() -> None:
    old = servers(3)
    new = [an_endpoint(host) for host in (11, 12, 13)]
    plan = the_plan(*old, wanted=tuple(new), policy=GUARDED)
    assert drained(plan) == []
    assert waits_of(plan)[-3:] == [f"dyn-10.0.0.{host}:80 successor" for host in (1, 2, 3)]
    one_serves = [a_server(new[0]), *(a_server(one, admin=MAINT, check=Check.PENDING) for one in new[1:])]
    assert drained(the_plan(*old, *one_serves, wanted=tuple(new), policy=GUARDED, peak=3)) == ["dyn-10.0.0.1:80"]
    all_serve = map(a_server, new)
    assert len(drained(the_plan(*old, *all_serve, wanted=tuple(new), policy=GUARDED, peak=3))) == 3


# ---- the limits


@pytest.mark.parametrize(
    ("leaving", "serving", "limits", "may_leave"),
    [
        (0, 4, Limits(), 0),
        (2, 4, Limits(), 2),
        (3, 4, Limits(), 2),
        (1, 3, Limits(), 1),
        (2, 3, Limits(), 1),
        (1, 1, Limits(), 0),
        (1, 1, Limits(min_ready=0), 0),
        (1, 1, Limits(min_ready=0, max_removed=1.0), 1),
        (4, 4, Limits(min_ready=0, max_removed=1.0), 4),
        (3, 4, Limits(min_ready=2, max_removed=1.0), 2),
        (2, 4, Limits(min_ready=2, max_removed=1.0), 2),
        (1, 9, Limits(max_removed=1), 1),
        (2, 9, Limits(max_removed=1), 1),
        (9, 10, Limits(min_ready=8), 2),
        (9, 10, Limits(min_ready=3), 5),
        (1, 9, Limits(max_removed=0), 0),
        (1, 9, Limits(max_removed=0.1), 0),
        (1, 10, Limits(max_removed=0.1), 1),
    ],
)
def test_as_many_may_leave_as_the_limits_allow(leaving: int, serving: int, limits: Limits, may_leave: int) -> None:
    verdict = the_verdict(leaving=leaving, serving=serving, limits=limits)
    assert verdict.may_leave == may_leave
    assert (verdict.refusal is None) == (may_leave == leaving)


def test_a_share_that_is_a_whole_number_is_that_number() -> None:
    assert the_verdict(leaving=29, serving=100, limits=Limits(max_removed=0.29)).may_leave == 29


def test_too_large_a_share_is_refused_with_the_numbers_and_what_to_do() -> None:
    refusal = the_verdict(leaving=3, serving=4).refusal
    assert refusal == Refusal(
        Rule.MAX_REMOVED,
        "3 of 4 serving servers would be removed: 2 now, 1 in 60 s at the earliest: at most 2 of 4 may be removed"
        " within 60 s (limits.max_removed: 50%); if this is intended, run dynsrv apply --force",
    )
    number = the_verdict(leaving=3, serving=4, limits=Limits(max_removed=1)).refusal
    assert number is not None
    assert "at most 1 of 4 may be removed within 60 s (limits.max_removed: 1)" in number.reason


def test_too_few_servers_are_refused_with_the_numbers_and_what_to_do() -> None:
    verdict = the_verdict(leaving=3, serving=4, foreign=0, limits=Limits(min_ready=2, max_removed=1.0))
    assert verdict.refusal == Refusal(
        Rule.MIN_READY,
        "3 of 4 serving servers would be removed: 2 now, 1 not: 1 would remain, fewer than limits.min_ready: 2;"
        " if this is intended, run dynsrv apply --force",
    )


def test_what_left_within_the_window_counts_so_that_many_small_steps_are_one_large_one() -> None:
    assert the_verdict(leaving=1, serving=3, peak=4, departed=1).may_leave == 1
    assert the_verdict(leaving=1, serving=2, peak=4, departed=2).may_leave == 0


def test_what_went_down_by_itself_does_not_keep_others_from_leaving() -> None:
    assert the_verdict(leaving=1, serving=2, peak=4, departed=0).may_leave == 1


def test_foreign_servers_count_for_the_least_that_must_serve() -> None:
    limits = Limits(min_ready=2, max_removed=1.0)
    assert the_verdict(leaving=1, serving=1, foreign=2, limits=limits).may_leave == 1
    assert the_verdict(leaving=1, serving=1, foreign=1, limits=limits).may_leave == 0


def test_servers_that_would_make_it_up_if_their_check_passed_are_waited_for() -> None:
    verdict = the_verdict(leaving=3, serving=4, failing=2)
    assert verdict == RemovalDecision(0, "keeps serving until new servers do: 2 failing their health check")
    assert the_verdict(leaving=3, serving=4, failing=0).refusal is not None


def test_a_server_that_haproxy_sees_down_may_always_go() -> None:
    down = [a_server(an_endpoint(host), operational=OperationalState.DOWN, check=Check.FAILED) for host in (1, 2, 3)]
    plan = the_plan(*down, wanted=(an_endpoint(9),), policy=GUARDED)
    assert drained(plan) == [server.name for server in down]


def test_a_plan_that_is_refused_still_adds() -> None:
    limits = Limits(max_removed=0.5)
    policy = a_policy(limits=limits, options=())
    plan = the_plan(*servers(4, options=()), wanted=(an_endpoint(9),), policy=policy, refused=frozenset())
    assert [step.kind for step in plan.steps][:1] == ["add"]
    assert drained(plan) == []  # not before it serves


def test_draining_by_the_source_s_wish_takes_servers_away_too() -> None:
    wanted = tuple(an_endpoint(host, state=EndpointState.DRAIN) for host in (1, 2, 3))
    plan = the_plan(*servers(3), wanted=wanted, policy=GUARDED)
    assert drained(plan) == ["dyn-10.0.0.1:80"]
    assert [refusal.rule for refusal in plan.refusals] == [Rule.MAX_REMOVED]
    assert [step.server for step in the_plan(*servers(3), wanted=wanted).steps if isinstance(step, Drain)] == [
        server.name for server in servers(3)
    ]


def test_a_weight_of_0_by_the_source_s_wish_takes_servers_away_too() -> None:
    wanted = tuple(an_endpoint(host, weight=0) for host in (1, 2, 3))
    plan = the_plan(*servers(3), wanted=wanted, policy=GUARDED)
    assert [step.server for step in plan.steps] == ["dyn-10.0.0.1:80"]
    assert [refusal.rule for refusal in plan.refusals] == [Rule.MAX_REMOVED]


def test_a_new_server_that_haproxy_refuses_counts_as_failing_and_not_as_coming() -> None:
    wanted = (an_endpoint(2), an_endpoint(3))
    old = [a_server(an_endpoint(1)), a_server(an_endpoint(2)), a_server(an_endpoint(4))]
    refused = frozenset({"dyn-10.0.0.3:80"})
    assert drained(the_plan(*old, wanted=wanted, policy=GUARDED)) == ["dyn-10.0.0.1:80"]  # two are wanted, two stay
    plan = the_plan(*old, wanted=wanted, policy=GUARDED, refused=refused)
    assert drained(plan) == []
    assert plan.waits[-1].reason.endswith("keeps serving until new servers do: 1 failing their health check")


@pytest.mark.parametrize(
    ("since_change", "leaves", "says"),
    [(30, ["dyn-10.0.0.1:80"], "1 not ready yet"), (31, [], "1 failing their health check")],
)
def test_a_first_check_that_is_never_over_counts_as_failing_after_half_a_minute(
    since_change: float, leaves: list[str], says: str
) -> None:
    coming = a_server(an_endpoint(3), admin=MAINT, check=Check.PENDING, since_change=since_change)
    plan = the_plan(*servers(2), coming, wanted=(an_endpoint(3),), policy=GUARDED)
    assert drained(plan) == leaves
    assert plan.waits[-1].reason.endswith(says)


def test_a_wanted_server_that_went_down_or_is_held_is_not_on_its_way() -> None:
    down = a_server(an_endpoint(3), operational=OperationalState.DOWN, check=Check.FAILED)
    held = a_server(an_endpoint(4), admin=MAINT, paused=True, weight=100)
    plan = the_plan(*servers(2), down, held, wanted=(an_endpoint(1), an_endpoint(3), an_endpoint(4)), policy=GUARDED)
    assert drained(plan) == ["dyn-10.0.0.2:80"]


# ---- who leaves first, and when the others


def test_what_the_source_says_is_stopping_leaves_first() -> None:
    wanted = (an_endpoint(1), an_endpoint(3, state=EndpointState.DRAIN), an_endpoint(4, state=EndpointState.DRAIN))
    plan = the_plan(*servers(5), wanted=wanted, policy=a_policy(limits=Limits(max_removed=3)))
    assert drained(plan) == ["dyn-10.0.0.3:80", "dyn-10.0.0.4:80", "dyn-10.0.0.2:80"]
    assert [wait.server for wait in plan.waits if wait.waits_for is WaitsFor.GUARD] == ["dyn-10.0.0.5:80"]
    plan = the_plan(*servers(5), wanted=wanted, policy=a_policy(limits=Limits(max_removed=1)))
    assert drained(plan) == ["dyn-10.0.0.3:80"]


def test_what_is_stopping_leaves_within_the_limits_though_new_servers_fail_their_check() -> None:
    assert the_verdict(leaving=3, serving=4, failing=2, stopping=1).may_leave == 1
    assert the_verdict(leaving=3, serving=4, failing=2, stopping=3).may_leave == 2


def test_the_same_servers_leave_first_whatever_the_order_in_which_haproxy_has_them() -> None:
    plans = [
        the_plan(*some, wanted=(an_endpoint(1),), policy=GUARDED) for some in (servers(4), list(reversed(servers(4))))
    ]
    assert [drained(plan) for plan in plans] == [["dyn-10.0.0.2:80", "dyn-10.0.0.3:80"]] * 2


def test_the_others_leave_when_the_window_has_passed_and_are_told_so() -> None:
    plan = the_plan(*servers(4), wanted=(an_endpoint(1),), policy=GUARDED)
    (wait,) = (wait for wait in plan.waits if wait.waits_for is WaitsFor.GUARD)
    assert wait.deadline == 60
    assert the_verdict(leaving=1, serving=2, peak=4, departed=2).deadline == 60


@pytest.mark.parametrize(
    ("served", "departed", "serving", "deadline"),
    [
        (((-50, 4),), ((-50, 2),), 2, 10),
        (((-50, 4), (-20, 3)), ((-50, 2),), 2, 10),
        (((-50, 4), (-20, 3)), ((-50, 1), (-20, 1)), 2, 40),
        (((-50, 8), (-20, 6)), ((-50, 2), (-20, 2)), 3, 40),  # one of four went down by itself
    ],
)
def test_more_may_leave_as_soon_as_enough_of_what_happened_is_older_than_the_window(
    served: Events, departed: Events, serving: int, deadline: float
) -> None:
    request = RemovalRequest(leaving=1, serving=serving, wanted=1)
    limits = Limits()
    verdict = guard.evaluate(request, recent=RecentService(served, departed), now=0, limits=limits)
    assert (verdict.may_leave, verdict.deadline) == (0, deadline)
    later = RecentService(
        tuple(event for event in served if event[0] > deadline - 60) or ((0, serving),),
        tuple(event for event in departed if event[0] > deadline - 60),
    )
    assert guard.evaluate(request, recent=later, now=deadline, limits=limits).may_leave == 1


def test_where_the_limits_never_allow_it_there_is_no_deadline() -> None:
    assert the_verdict(leaving=1, serving=4, limits=Limits(max_removed=0)).deadline is None
    assert the_verdict(leaving=1, serving=4, limits=Limits(max_removed=0.1)).deadline is None
    verdict = the_verdict(leaving=4, serving=4, limits=Limits(min_ready=3))
    assert (verdict.may_leave, verdict.deadline) == (1, None)


# ---- backup servers


def some_backups(*hosts: int) -> list[Server]:
    options = (*CHECKED, "backup")
    return [replace(a_server(an_endpoint(host), options=options), backup=True) for host in hosts]


def backup_endpoints(*hosts: int) -> tuple[Endpoint, ...]:
    return tuple(replace(an_endpoint(host), options=("backup",)) for host in hosts)


def test_backup_servers_do_not_stand_in_for_servers_that_go() -> None:
    wanted = backup_endpoints(3, 4)
    plan = the_plan(*servers(2), *some_backups(3, 4), wanted=wanted, policy=GUARDED)
    assert drained(plan) == ["dyn-10.0.0.1:80"]
    assert [refusal.rule for refusal in plan.refusals] == [Rule.MIN_READY]


def test_a_foreign_backup_server_does_not_make_up_the_least_that_must_serve() -> None:
    policy = a_policy(limits=Limits(max_removed=1.0, min_ready=1))
    sorry = replace(a_server(name="sorry"), backup=True)
    plan = the_plan(*servers(1), sorry, wanted=(an_endpoint(weight=0),), policy=policy)
    assert plan.steps == ()
    assert [refusal.rule for refusal in plan.refusals] == [Rule.MIN_READY]


def test_backup_servers_are_judged_among_themselves() -> None:
    wanted = (an_endpoint(1), an_endpoint(2), *backup_endpoints(3))
    assert drained(the_plan(*servers(2), *some_backups(3, 4), wanted=wanted, policy=GUARDED)) == ["dyn-10.0.0.4:80"]
    wanted = (an_endpoint(1), an_endpoint(2))
    plan = the_plan(*servers(2), *some_backups(3, 4, 5), wanted=wanted, policy=GUARDED)
    assert "3 of 3 serving backup servers would be removed" in plan.refusals[0].reason


def test_the_last_backup_server_may_go_while_others_serve_and_not_while_it_is_all_that_serves() -> None:
    assert the_verdict(leaving=1, serving=1, backup=True, foreign=1).may_leave == 1
    assert the_verdict(leaving=1, serving=1, backup=True, foreign=0).may_leave == 0
    assert the_verdict(leaving=1, serving=1, backup=True, foreign=1, limits=Limits(max_removed=0)).may_leave == 0
    assert the_verdict(leaving=1, serving=2, backup=True, foreign=0).may_leave == 1


def test_a_new_backup_server_does_not_hold_up_servers_that_go() -> None:
    coming = a_server(an_endpoint(9), admin=MAINT, check=Check.PENDING, options=(*CHECKED, "backup"))
    wanted = (an_endpoint(1), *backup_endpoints(9))
    assert drained(the_plan(*servers(2), coming, wanted=wanted, policy=GUARDED)) == ["dyn-10.0.0.2:80"]


# ---- whatever the numbers


@given(
    serving=st.integers(0, 20),
    leaving=st.integers(0, 20),
    foreign=st.integers(0, 3),
    coming=st.integers(0, 3),
    failing=st.integers(0, 3),
    peak=st.integers(0, 25),
    departed=st.integers(0, 25),
    limits=st.builds(Limits, max_removed=st.floats(0, 1) | st.integers(0, 5), min_ready=st.integers(0, 5)),
)
def test_what_may_leave_never_breaks_a_limit_and_one_more_would_where_it_is_refused(
    *, serving: int, leaving: int, foreign: int, coming: int, failing: int, peak: int, departed: int, limits: Limits
) -> None:
    leaving = min(leaving, serving)
    verdict = the_verdict(
        leaving=leaving,
        serving=serving,
        foreign=foreign,
        coming=coming,
        failing=failing,
        peak=peak,
        departed=departed,
        limits=limits,
    )
    assert 0 <= verdict.may_leave <= leaving
    before = min(peak, serving + departed)
    share = limits.max_removed if isinstance(limits.max_removed, int) else limits.max_removed * before

    def within_limits(left: int) -> bool:
        return left + foreign >= limits.min_ready and left >= before - share - 1e-9

    assert not verdict.may_leave or within_limits(serving - verdict.may_leave)
    if verdict.refusal is not None:
        assert not within_limits(serving - verdict.may_leave - 1)


def test_without_limits_everything_may_go() -> None:
    assert the_verdict(leaving=3, serving=3, limits=Policy().limits).refusal is not None
    assert the_verdict(leaving=3, serving=3, empty=True, limits=a_policy().limits) == RemovalDecision(3)
    assert the_verdict(leaving=3, serving=3, limits=a_policy().limits) == RemovalDecision(3)


def test_while_new_servers_come_no_more_are_kept_than_are_wanted() -> None:
    verdict = the_verdict(leaving=2, serving=7, coming=1, peak=8, wanted=6)
    assert verdict.may_leave == 1
    assert verdict.refusal is None
