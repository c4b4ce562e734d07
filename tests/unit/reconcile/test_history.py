from __future__ import annotations

from dataclasses import replace

import pytest

from dynsrv.model import AdminState, OperationalState, Server
from dynsrv.planning import Limits, Policy, RecentService
from dynsrv.reconcile.history import History
from dynsrv.steps import Add, Admit, Applied, Drain, Outcome, Plan, SetWeight, Step, StepResult, Wait, WaitsFor
from tests.fakes.builders import a_backend, a_policy, a_process, a_server, an_endpoint

S = "dyn-10.0.0.1:80"
ADD = Add(S, 7, "10.0.0.1", 80, 100, (), "why")


def a_history(policy: Policy | None = None) -> History:
    return History(policy or a_policy(limits=Limits(window=60)))


def servers(*hosts: int, admin: AdminState = AdminState.READY) -> list[Server]:
    return [a_server(an_endpoint(host), admin=admin) for host in hosts]


def done(*steps: Step) -> Applied:
    return Applied(tuple(StepResult(step, Outcome.DONE) for step in steps))


def record(history: History, observed: list[Server], *steps: Step, now: float = 0) -> None:
    history.record(Plan(steps=steps), done(*steps), a_backend(*observed), now=now)


def test_a_drain_is_remembered_from_when_it_was_first_seen() -> None:
    history = a_history()
    draining = a_backend(*servers(1, admin=AdminState.DRAIN))
    assert history.observe(draining, now=10).drains == {S: 10}
    assert history.observe(draining, now=15).drains == {S: 10}


def test_a_drain_that_ended_is_forgotten_and_begins_anew() -> None:
    history = a_history()
    history.observe(a_backend(*servers(1, admin=AdminState.DRAIN)), now=10)
    assert history.observe(a_backend(*servers(1)), now=15).drains == {}
    assert history.observe(a_backend(*servers(1, admin=AdminState.DRAIN)), now=20).drains == {S: 20}


def peak(recent: RecentService) -> int:
    return max((number for _, number in recent.served), default=0)


def departed(recent: RecentService) -> int:
    return sum(number for _, number in recent.departed)


def the_last_session(history: History, server: Server, *, now: float) -> float:
    return history.observe(a_backend(server), now=now).last_sessions[S]


def test_a_session_that_begins_in_drain_is_seen_by_the_number_of_all() -> None:
    history = a_history()
    (draining,) = servers(1, admin=AdminState.DRAIN)
    found = [
        the_last_session(history, replace(draining, sessions_total=total), now=now)
        for now, total in ((10, 5), (11, 5), (12, 6), (13, 6))
    ]
    assert found == [10, 10, 12, 12]
    maintenance = replace(draining, admin=AdminState.MAINT, sessions_total=6)
    assert the_last_session(history, maintenance, now=14) == 12
    late = replace(maintenance, sessions_total=7)  # it began after the last look at the drain
    assert the_last_session(history, late, now=14.1) == 14.1
    assert the_last_session(history, late, now=20) == 14.1


def test_of_a_server_that_is_found_in_maintenance_no_session_is_younger_than_that() -> None:
    (server,) = servers(1, admin=AdminState.MAINT)
    for seconds, began in ((0, 100), (1, 100), (31, 70)):  # whole seconds, of which up to one has not passed
        assert the_last_session(a_history(), replace(server, since_change=seconds), now=100) == began


def test_when_a_server_serves_again_its_sessions_are_forgotten() -> None:
    history = a_history()
    the_last_session(history, servers(1, admin=AdminState.DRAIN)[0], now=0)
    assert history.observe(a_backend(*servers(1)), now=1).last_sessions == {}
    assert the_last_session(history, servers(1, admin=AdminState.DRAIN)[0], now=2) == 2


def test_a_foreign_server_s_drain_is_nothing_to_remember() -> None:
    foreign = a_server(name="web1", admin=AdminState.DRAIN)
    assert a_history().observe(a_backend(foreign), now=10).drains == {}


def test_what_serves_now_is_the_peak_where_nothing_else_is_known() -> None:
    down = a_server(an_endpoint(3), operational=OperationalState.DOWN)
    assert peak(a_history().observe(a_backend(*servers(1, 2), down, a_server(name="web1")), now=0).active) == 2


def test_the_peak_is_the_most_that_served_within_the_window() -> None:
    history = a_history()
    for now, hosts in ((0, [1, 2]), (20, [1, 2, 3]), (40, [1])):
        history.observe(a_backend(*servers(*hosts)), now=now)
        record(history, servers(*hosts), now=now)
    assert peak(history.observe(a_backend(*servers(1)), now=41).active) == 3
    assert peak(history.observe(a_backend(*servers(1)), now=79.9).active) == 3
    assert peak(history.observe(a_backend(*servers(1)), now=80).active) == 1


def test_what_served_unchanged_for_long_is_in_the_peak_when_it_goes() -> None:
    for passes in (True, False):  # HAProxy is not asked for longer than the window, or was asked and was the same
        history = a_history()
        history.observe(a_backend(*servers(1, 2, 3, 4)), now=0)
        record(history, servers(1, 2, 3, 4))
        if passes:
            history.unchanged(now=1000)
        history.observe(a_backend(*servers(1, 2, 3, 4)), now=1010)
        record(history, servers(1, 2, 3, 4), Drain(S, "why"), now=1010)
        recent = history.observe(a_backend(*servers(2, 3, 4)), now=1011).active
        assert recent.before(3) == 4
        assert history.observe(a_backend(*servers(2, 3, 4)), now=1070).active.before(3) == 3


def test_what_began_to_serve_since_the_last_look_is_in_the_peak() -> None:
    history = a_history()
    history.observe(a_backend(), now=0)
    record(history, [], ADD)
    assert peak(history.observe(a_backend(*servers(1, 2)), now=1).active) == 2


def test_servers_that_wait_for_their_successors_are_not_in_the_peak_beside_them() -> None:
    history = a_history()
    old = servers(1, 2)
    history.observe(a_backend(*old), now=0)
    waits = tuple(Wait(server.name, WaitsFor.SUCCESSOR, "why") for server in old)
    history.record(Plan(waits=waits), Applied(), a_backend(*old), now=0)
    assert peak(history.observe(a_backend(*old, *servers(3, 4)), now=1).active) == 2


def test_servers_that_wait_for_the_configuration_file_count_as_if_they_had_left() -> None:
    history = a_history()
    old, new = servers(1, 2), servers(3, 4)
    history.observe(a_backend(*old), now=0)
    history.record(
        Plan(waits=tuple(Wait(one.name, WaitsFor.SUCCESSOR, "why") for one in old)), Applied(), a_backend(*old), now=0
    )
    for now in (1, 2, 3):
        history.observe(a_backend(*old, *new), now=now)
        waits = tuple(Wait(one.name, WaitsFor.CONFIG_FILE, "why") for one in old)
        history.record(Plan(waits=waits), Applied(), a_backend(*old, *new), now=now)
    memory = history.observe(a_backend(*old, *new), now=4)
    assert peak(memory.active) == 2
    assert not memory.active.departed


def test_servers_that_are_drained_count_as_departed_and_in_the_peak_within_the_window() -> None:
    history = a_history()
    history.observe(a_backend(*servers(1, 2, 3)), now=0)
    record(history, servers(1, 2, 3), SetWeight(S, 0, "why"), Drain(S, "why"))
    memory = history.observe(a_backend(*servers(2, 3)), now=1)
    assert (peak(memory.active), departed(memory.active)) == (3, 1)
    assert departed(history.observe(a_backend(*servers(2, 3)), now=61).active) == 0


def test_backup_servers_are_counted_apart() -> None:
    history = a_history()
    active, *backups = servers(1, 2, 3)
    observed = [active, *(replace(one, backup=True) for one in backups)]
    memory = history.observe(a_backend(*observed), now=0)
    assert (peak(memory.active), peak(memory.backup)) == (1, 2)
    record(history, observed, Drain("dyn-10.0.0.2:80", "why"))
    memory = history.observe(a_backend(*observed[::2]), now=1)
    assert (departed(memory.active), departed(memory.backup)) == (0, 1)


def test_a_drain_of_what_did_not_serve_or_that_haproxy_refused_is_no_departure() -> None:
    history = a_history()
    waiting = servers(1, admin=AdminState.MAINT)
    history.observe(a_backend(*waiting), now=0)
    record(history, waiting, Drain(S, "why"))
    refused = Applied((StepResult(Drain(S, "why"), Outcome.REFUSED),))
    history.record(Plan(), refused, a_backend(*servers(1)), now=0)
    assert departed(history.observe(a_backend(), now=1).active) == 0


def test_servers_that_haproxy_would_not_add_are_remembered_until_the_next_try() -> None:
    history = a_history()
    refused = Applied((StepResult(ADD, Outcome.REFUSED), StepResult(Drain("dyn-x", "why"), Outcome.REFUSED)))
    history.observe(a_backend(), now=0)
    history.record(Plan(steps=(ADD,)), refused, a_backend(), now=0)
    assert history.observe(a_backend(), now=1).refused == {S}
    record(history, [], ADD)
    assert history.observe(a_backend(), now=2).refused == frozenset()


# ---- a reload

OLD, NEW = a_process(pid=1), a_process(pid=2)


def test_what_served_before_a_reload_is_trusted_after_it() -> None:
    history = a_history()
    down = a_server(an_endpoint(2), operational=OperationalState.DOWN)
    assert history.observe(a_backend(*servers(1), down, process=OLD), now=0).trusted == frozenset()
    assert history.observe(a_backend(process=NEW), now=60).trusted == {servers(1)[0].id}


def test_what_served_too_long_ago_is_not() -> None:
    history = a_history()
    history.observe(a_backend(*servers(1), process=OLD), now=0)
    assert history.observe(a_backend(process=NEW), now=60.1).trusted == frozenset()


def test_the_same_pid_started_again_is_another_process() -> None:
    history = a_history()
    history.observe(a_backend(*servers(1), process=a_process(started=1)), now=0)
    assert history.observe(a_backend(process=a_process(started=2)), now=1).trusted == {servers(1)[0].id}


def test_the_trust_lasts_until_all_are_added_again() -> None:
    history = a_history()
    history.observe(a_backend(*servers(1), process=OLD), now=0)
    history.observe(a_backend(process=NEW), now=1)
    history.record(Plan(steps=(ADD,)), Applied(), a_backend(process=NEW), now=1)
    assert history.observe(a_backend(process=NEW), now=2).trusted
    record(history, servers(1), now=3)
    assert history.observe(a_backend(process=NEW), now=4).trusted == frozenset()


def test_two_reloads_in_a_row_leave_nothing_to_trust() -> None:
    history = a_history()
    history.observe(a_backend(*servers(1), process=OLD), now=0)
    history.observe(a_backend(process=NEW), now=1)
    assert history.observe(a_backend(process=a_process(pid=3)), now=2).trusted == frozenset()


@pytest.mark.parametrize("adopt_all", [False, True])
def test_with_all_servers_adopted_there_is_no_foreign_one(*, adopt_all: bool) -> None:
    history = a_history(Policy(adopt_all=adopt_all))
    assert peak(history.observe(a_backend(a_server(name="web1")), now=0).active) == int(adopt_all)


def test_a_drain_whose_age_haproxy_tells_began_when_it_says_also_after_a_restart_of_dynsrv() -> None:
    told = replace(a_server(an_endpoint(1), admin=AdminState.DRAIN), drained_for=20.0)
    untold = a_server(an_endpoint(2), admin=AdminState.DRAIN)
    memory = a_history().observe(a_backend(told, untold), now=100)
    assert memory.drains == {told.name: 80, untold.name: 100}


def test_what_was_admitted_just_before_another_process_is_trusted_though_nobody_saw_it_serve() -> None:
    history = a_history()
    new = servers(1, admin=AdminState.MAINT)
    history.observe(a_backend(*new), now=0)
    record(history, new, Admit(S, "its check passed"))
    assert history.observe(a_backend(process=a_process(pid=7)), now=1).trusted == {new[0].id}


def test_what_was_added_and_admitted_in_one_pass_is_trusted_by_the_next_process_too() -> None:
    history = a_history()
    history.observe(a_backend(), now=0)
    record(history, [], ADD, Admit(S, "it served before"))
    assert history.observe(a_backend(process=a_process(pid=7)), now=1).trusted == {ADD.id}


def test_what_was_drained_just_before_another_process_is_not_trusted() -> None:
    history = a_history()
    history.observe(a_backend(*servers(1, 2)), now=0)
    record(history, servers(1, 2), SetWeight(S, 0, "why"), Drain(S, "why"))
    assert history.observe(a_backend(process=a_process(pid=7)), now=1).trusted == {servers(2)[0].id}
