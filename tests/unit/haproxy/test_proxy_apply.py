from __future__ import annotations

import asyncio

import pytest

from dynsrv.errors import ProxyChanged, ProxyUnreachable
from dynsrv.haproxy.batching import BatchSizer
from dynsrv.steps import (
    Add,
    Admit,
    CloseSessions,
    Delete,
    Disable,
    Drain,
    EnableHealth,
    Outcome,
    SetMaxconn,
    SetWeight,
    Step,
)
from tests.fakes.behind import Behind
from tests.fakes.haproxy import FakeServer
from tests.fakes.streams import Cut, Hang

VERSIONS = ("2.5.1", "2.6.12-1", "3.0.11-1", "3.2.26-1", "3.4.7-1")
DONE, REFUSED, UNKNOWN = Outcome.DONE, Outcome.REFUSED, Outcome.UNKNOWN


def an_add(server: str = "a", *, id: int = 7, options: tuple[str, ...] = ("check", "inter 2s")) -> Add:
    return Add(server, id, "10.0.0.1", 80, 5, options, "why")


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_step_is_one_command(version: str) -> None:
    behind = Behind(version)
    steps: list[Step] = [
        an_add(),
        EnableHealth("a", "why"),
        SetMaxconn("a", 30, "why"),
        Admit("a", "why"),
        SetWeight("a", 9, "why"),
        Drain("a", "why"),
        Disable("a", "why"),
        CloseSessions("a", "why"),
        Delete("a", "why"),
    ]
    outcomes = await behind.outcomes(*steps)
    assert outcomes[0] == (DONE, "New server registered.", False)
    assert outcomes[1:-1] == [(DONE, "", False)] * (len(steps) - 2)
    assert outcomes[-1] == (DONE, "Server deleted.", False)
    assert behind.haproxy.changes == [
        "add server be_app/a 10.0.0.1:80 id 7 weight 5 check inter 2s",
        "enable health be_app/a",
        "set maxconn server be_app/a 30",
        "enable server be_app/a",
        "set server be_app/a weight 9",
        "set server be_app/a state drain",
        "set server be_app/a state maint",
        "shutdown sessions server be_app/a",
        "del server be_app/a",
    ]


async def test_what_was_applied_is_what_is_observed() -> None:
    behind = Behind()
    await behind.outcomes(an_add(), EnableHealth("a", "why"))
    behind.haproxy.run_checks()
    await behind.outcomes(Admit("a", "why"))
    (server,) = (await behind.observed()).servers
    assert (server.name, server.id, server.weight, server.serving) == ("a", 7, 5, True)


async def test_one_refused_step_does_not_keep_the_others_from_being_sent() -> None:
    behind = Behind(servers=[FakeServer("s1", id=1)])
    assert await behind.outcomes(an_add("s1"), an_add("b", id=1), an_add("c"), Admit("c", "why")) == [
        (REFUSED, "Already exists a server with the same name in backend.", False),
        (REFUSED, "'id' : custom id 1 already used at (null):0 ('server s1').", False),
        (DONE, "New server registered.", False),
        (DONE, "", False),
    ]


@pytest.mark.parametrize("option", ["sni a<<b", " ".join(["sni"] * 64)])
async def test_one_step_that_cannot_be_written_does_not_keep_the_others_from_being_sent(option: str) -> None:
    behind = Behind()
    applied = await behind.proxy.apply(await behind.observed(), [an_add("a", options=(option,)), an_add("b", id=8)])
    assert applied.error is None
    assert [one.outcome for one in applied.results] == [REFUSED, DONE]


async def test_that_a_server_is_still_in_use_is_expected() -> None:
    behind = Behind(servers=[FakeServer("s1", admin=1, sessions=1)])
    said = "Server still has connections attached to it, cannot remove it."
    assert await behind.outcomes(Delete("s1", "why")) == [(REFUSED, said, True)]


async def test_that_a_server_to_be_removed_is_gone_already_is_expected_and_that_a_wanted_one_is_is_not() -> None:
    behind = Behind()
    said = "No such server."
    steps: list[Step] = [Drain("x", "why"), Disable("x", "why"), CloseSessions("x", "why"), Delete("x", "why")]
    assert await behind.outcomes(*steps) == [(REFUSED, said, True)] * 4
    wanted: list[Step] = [
        Admit("x", "why"),
        SetWeight("x", 1, "why"),
        SetMaxconn("x", 1, "why"),
        EnableHealth("x", "why"),
    ]
    assert await behind.outcomes(*wanted) == [(REFUSED, said, False)] * 4


async def test_that_a_server_whose_addition_was_refused_is_not_there_is_told_once() -> None:
    behind = Behind()
    outcomes = await behind.outcomes(an_add(options=("nonsense",)), EnableHealth("a", "why"), Admit("a", "why"))
    assert [(outcome, expected) for outcome, _, expected in outcomes] == [
        (REFUSED, False),
        (REFUSED, True),
        (REFUSED, True),
    ]


async def test_an_answer_that_nobody_knows_is_an_unknown_outcome() -> None:
    behind = Behind()
    backend = await behind.observed()
    info = behind.haproxy.answer("show info")

    def say(line: str) -> None:
        if line.startswith("enable server"):
            behind.wire.connections[0].spoil(Hang())
            behind.wire.connections[0].say(f"Ask again\n tomorrow.\n\n> {info}\n> ")

    behind.wire.before_line = say
    (result,) = (await behind.proxy.apply(backend, [Admit("a", "why")])).results
    assert (result.outcome, result.detail, result.expected) == (UNKNOWN, "Ask again tomorrow.", False)


# ---- another process, and none at all


async def test_nothing_is_sent_to_another_process_than_the_one_that_was_observed() -> None:
    behind = Behind()
    backend = await behind.observed()
    behind.haproxy.reload()
    applied = await behind.proxy.apply(backend, [an_add()])
    assert applied.results == ()
    assert isinstance(applied.error, ProxyChanged)
    assert str(applied.error).startswith(
        "lb1: unix:///run/haproxy/admin.sock: expected process 101, but process 102 answered"
    )
    assert behind.haproxy.changes == []


async def test_what_a_process_said_that_was_reloaded_meanwhile_does_not_count() -> None:
    behind = Behind()
    backend = await behind.observed()
    behind.wire.before_line = lambda line: behind.haproxy.reload() if "n2 " in line else None
    applied = await behind.proxy.apply(backend, [an_add("n1", id=1), an_add("n2", id=2)])
    assert applied.results == ()
    assert isinstance(applied.error, ProxyChanged)


async def test_a_reload_between_two_questions_of_one_observation_is_told() -> None:
    behind = Behind(servers=[FakeServer("a", admin=8)])
    await behind.observed()
    behind.wire.before_line = lambda line: behind.haproxy.reload() if line.startswith("show stat") else None
    with pytest.raises(ProxyChanged):
        await behind.observed()


async def test_a_haproxy_that_is_gone_is_told_with_the_proxy_s_name() -> None:
    behind = Behind()
    behind.wire.refusals = [ConnectionRefusedError(111, "Connection refused")]
    with pytest.raises(ProxyUnreachable, match=r"^lb1: unix:///run/haproxy/admin\.sock: connection refused"):
        await behind.observed()


async def test_a_haproxy_that_does_not_answer_is_told() -> None:
    behind = Behind()
    backend = await behind.observed()
    behind.wire.before_line = lambda line: behind.wire.connections[0].spoil(Hang()) if "add" in line else None
    applied = await behind.proxy.apply(backend, [an_add()])
    assert isinstance(applied.error, ProxyUnreachable)
    assert "no reply to `add server be_app/a" in str(applied.error)


async def test_what_is_no_table_is_told() -> None:
    behind = Behind(servers=[FakeServer("a b")])
    with pytest.raises(ProxyUnreachable, match="show servers state"):
        await behind.observed()


# ---- the pace


async def test_many_steps_are_sent_in_batches_that_leave_traffic_its_turn() -> None:
    behind = Behind()
    backend = await behind.observed()
    steps = [an_add(f"n{number}", id=number) for number in range(1, 1001)]
    assert {one.outcome for one in (await behind.proxy.apply(backend, steps)).results} == {DONE}
    lines = behind.wire.connections[0].received
    first = lines.index("add server be_app/n1 10.0.0.1:80 id 1 weight 5 check inter 2s")
    assert lines[first + 16] == "show info"


async def test_a_batch_is_of_one_kind_of_step() -> None:
    behind = Behind()
    backend = await behind.observed()
    steps: list[Step] = [an_add("n1", id=1), an_add("n2", id=2), Admit("n1", "why"), Admit("n2", "why")]
    assert {one.outcome for one in (await behind.proxy.apply(backend, steps)).results} == {DONE}
    sent = [line.partition(" ")[0] for line in behind.wire.connections[0].received]
    assert "".join(sent).endswith("showshowaddaddshowshowenableenableshow")


async def test_what_was_done_before_an_error_is_told() -> None:
    behind = Behind()
    backend = await behind.observed()
    steps = [an_add(f"n{number}", id=number) for number in range(1, 31)]
    behind.wire.before_line = lambda line: behind.wire.connections[0].spoil(Cut(1)) if "n17 " in line else None
    applied = await behind.proxy.apply(backend, steps)
    assert [one.step for one in applied.results] == steps[:16]
    assert {one.outcome for one in applied.results} == {DONE}
    assert isinstance(applied.error, ProxyUnreachable)


class Paced:
    """The pace of one kind of step in one backend."""

    def __init__(self) -> None:
        self.pace = BatchSizer()

    @property
    def size(self) -> int:
        return self.pace.size("be_app", "add")

    def observe(self, seconds: float, *, commands: int) -> int:
        """Return how many commands go at once after a batch that took *seconds*."""
        self.pace.observe(seconds, backend="be_app", kind="add", commands=commands)
        return self.size


def test_a_batch_is_as_large_as_haproxy_answers_in_five_milliseconds() -> None:
    paced = Paced()
    assert paced.size == 16
    assert paced.observe(0.016, commands=16) == 5
    assert paced.observe(0.005, commands=5) == 5


def test_neither_a_batch_that_was_held_up_nor_one_that_seemed_quick_counts_alone() -> None:
    paced = Paced()
    assert paced.observe(0.0016, commands=16) == 50
    assert paced.observe(0.005, commands=50) == 50
    assert paced.observe(0.5, commands=50) == 50
    assert paced.observe(0.005, commands=50) == 50
    assert paced.observe(0.0, commands=50) == 50
    assert paced.observe(0.5, commands=50) == 50
    assert paced.observe(0.5, commands=50) == 1


def test_a_batch_grows_at_most_fourfold_and_has_a_greatest_size() -> None:
    paced = Paced()
    sizes = [paced.observe(0, commands=paced.size) for _ in range(6)]
    assert sizes == [64, 256, 1024, 4096, 4096, 4096]


def test_each_kind_of_step_and_each_backend_has_a_pace_of_its_own() -> None:
    paced = Paced()
    paced.observe(0.016, commands=16)
    assert (paced.pace.size("be_app", "admit"), paced.pace.size("be_other", "add")) == (16, 16)


async def test_two_backends_may_be_observed_at_the_same_time() -> None:
    behind = Behind(servers=[FakeServer("a", admin=8)])
    behind.wire.piece = 100
    backends = await asyncio.gather(*(behind.observed() for _ in range(10)))
    assert len(set(backends)) == 1
