from __future__ import annotations

import pytest

from dynsrv.model import AdminState, Agent, Check, OperationalState, Process
from dynsrv.runtime import UnixAddress
from tests.fakes.behind import Behind
from tests.fakes.haproxy import FakeServer

VERSIONS = ("2.5.1", "2.6.12-1", "3.0.11-1", "3.2.26-1", "3.4.7-1")


async def test_the_process_that_answers_is_told() -> None:
    behind = Behind("3.2.26-1")
    assert await behind.proxy.identify() == Process(pid=101, started=1_700_000_000, version="3.2.26-1")
    assert (await behind.observed()).process.pid == 101
    assert behind.proxy.address == UnixAddress("/run/haproxy/admin.sock")


@pytest.mark.parametrize("level", ["user", "operator", "admin"])
async def test_the_level_of_the_socket_is_told(level: str) -> None:
    assert await Behind(level=level).proxy.level() == level


@pytest.mark.parametrize("version", VERSIONS)
async def test_servers_come_in_haproxy_s_order_with_what_it_says_of_them(version: str) -> None:
    server = FakeServer("web", address="10.0.0.9", port=81, id=9, weight=3, check_state=6, check_result=3)
    behind = Behind(version, servers=[server, FakeServer("other")])
    behind.haproxy.advance(5)
    backend = await behind.observed()
    assert [one.name for one in backend.servers] == ["web", "other"]
    first = backend.servers[0]
    assert (first.id, first.address, first.port, first.weight, first.since_change) == (9, "10.0.0.9", 81, 3, 5)
    assert (first.admin, first.operational, first.check) == (AdminState.READY, OperationalState.UP, Check.PASSED)


@pytest.mark.parametrize(
    ("bits", "admin"),
    [
        (0x00, AdminState.READY),
        (0x01, AdminState.MAINT),
        (0x02, AdminState.READY),
        (0x03, AdminState.MAINT),
        (0x20, AdminState.READY),
        (0x04, AdminState.READY),
        (0x05, AdminState.MAINT),
        (0x08, AdminState.DRAIN),
        (0x0A, AdminState.DRAIN),
        (0x10, AdminState.READY),
        (0x09, AdminState.MAINT),
        (0x40, AdminState.READY),
    ],
)
async def test_the_bits_of_the_administrative_state_are_read(bits: int, admin: AdminState) -> None:
    (server,) = (await Behind(servers=[FakeServer("s", admin=bits)]).observed()).servers
    assert server.admin is admin


@pytest.mark.parametrize(
    ("bits", "operational"),
    [(0x00, "up"), (0x02, "down"), (0x20, "down"), (0x10, "stopping"), (0x12, "down"), (0x04, "up")],
)
async def test_what_a_server_inherits_from_the_one_that_it_tracks_is_no_state_that_anybody_gave_it(
    bits: int, operational: str
) -> None:
    (server,) = (await Behind(servers=[FakeServer("s", admin=bits)]).observed()).servers
    assert (server.admin, server.operational) == (AdminState.READY, OperationalState(operational))


@pytest.mark.parametrize(
    ("state", "result", "check", "paused"),
    [
        (0, 0, Check.NONE, False),
        (2, 0, Check.DISABLED, False),
        (2, 3, Check.DISABLED, False),
        (6, 0, Check.PENDING, False),
        (6, 1, Check.PENDING, False),
        (7, 0, Check.PENDING, False),
        (6, 2, Check.FAILED, False),
        (6, 3, Check.PASSED, False),
        (6, 4, Check.PASSED, False),
        (14, 3, Check.PASSED, True),
        (14, 2, Check.FAILED, True),
        (8, 0, Check.NONE, True),
        (16, 0, Check.NONE, False),
    ],
)
async def test_the_state_and_the_result_of_the_check_are_read(
    state: int, result: int, check: Check, *, paused: bool
) -> None:
    (server,) = (await Behind(servers=[FakeServer("s", check_state=state, check_result=result)]).observed()).servers
    assert (server.check, server.check_paused) == (check, paused)


@pytest.mark.parametrize(
    ("state", "agent"),
    [(0, Agent.NONE), (18, Agent.DISABLED), (22, Agent.ENABLED), (23, Agent.ENABLED), (16, Agent.NONE)],
)
async def test_the_state_of_the_agent_is_read(state: int, agent: Agent) -> None:
    (server,) = (await Behind(servers=[FakeServer("s", agent_state=state, initial_weight=7)]).observed()).servers
    assert (server.agent, server.initial_weight) == (agent, 7)


@pytest.mark.parametrize(("number", "state"), list(enumerate(["down", "starting", "up", "stopping"])))
async def test_the_operational_state_is_read(number: int, state: str) -> None:
    (server,) = (await Behind(servers=[FakeServer("s", operational=number)]).observed()).servers
    assert server.operational is OperationalState(state)


@pytest.mark.parametrize(
    ("address", "read"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("fe80:0:0::1", "fe80::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("/run/app.sock", None),
        ("lb.example", None),
    ],
)
async def test_an_address_has_one_spelling_and_may_be_missing(address: str, read: str | None) -> None:
    (server,) = (await Behind(servers=[FakeServer("s", address=address)]).observed()).servers
    assert server.address == read


@pytest.mark.parametrize("address", ["::", "ff02::1"])
async def test_a_foreign_server_at_an_address_that_no_host_has_is_no_error(address: str) -> None:
    (server,) = (await Behind(servers=[FakeServer("s", address=address)]).observed()).servers
    assert server.name == "s"


async def test_sessions_are_asked_for_only_where_servers_drain() -> None:
    servers = [FakeServer("a", admin=8, sessions=2, queued=1), FakeServer("b", sessions=5), FakeServer("c", admin=8)]
    behind = Behind(servers=servers)
    backend = await behind.observed()
    assert [server.sessions for server in backend.servers] == [3, None, 0]
    await behind.observed()
    assert [line for line in behind.haproxy.journal if line.startswith("show stat")][-3:] == [
        "show stat 3 2 -1",
        "show stat 3 4 1",
        "show stat 3 4 3",
    ]


@pytest.mark.parametrize(
    ("begins", "seconds", "at_least"), [(0.9, 0.2, 0), (0.9, 1.0, 0), (0.0, 1.9, 0), (0.5, 2.5, 2)]
)
async def test_a_drain_is_never_taken_for_older_than_it_is(begins: float, seconds: float, at_least: float) -> None:
    behind = Behind("2.6.12-1", servers=[FakeServer("a")])
    behind.haproxy.advance(begins)
    behind.haproxy.answer("set server be_app/a state drain")
    behind.haproxy.advance(seconds)
    (server,) = (await behind.observed()).servers
    assert server.drained_for == at_least


async def test_of_many_draining_servers_all_statistics_are_asked_for_at_once() -> None:
    behind = Behind(servers=[FakeServer(f"s{number}", admin=8, sessions=number) for number in range(51)])
    assert [server.sessions for server in (await behind.observed()).servers] == list(range(51))
    assert [line for line in behind.haproxy.journal if line.startswith("show stat 3 4")] == ["show stat 3 4 -1"]


def asked_of_servers(behind: Behind) -> list[str]:
    """What was asked of the statistics of servers since the last time."""
    lines = [line for line in behind.haproxy.journal if line.startswith("show stat 3 4")]
    behind.haproxy.journal.clear()
    return lines


async def test_backup_servers_are_told_as_such_and_asked_for_once_in_each_process() -> None:
    behind = Behind(servers=[FakeServer("a"), FakeServer("b", backup=True)])
    for asked in (["show stat 3 4 1", "show stat 3 4 2"], []):
        assert [server.backup for server in (await behind.observed()).servers] == [False, True]
        assert asked_of_servers(behind) == asked
    behind.haproxy.reload()
    await behind.observed()
    assert asked_of_servers(behind) == ["show stat 3 4 1", "show stat 3 4 2"]


async def test_where_no_backup_server_could_get_requests_nobody_is_asked_which_are() -> None:
    behind = Behind(servers=[FakeServer("a"), FakeServer("b", backup=True, operational=0), FakeServer("c", weight=0)])
    await behind.observed()
    assert asked_of_servers(behind) == []


async def test_a_server_that_takes_the_name_of_another_is_asked_for_anew() -> None:
    behind = Behind(servers=[FakeServer("a"), FakeServer("b", backup=True)])
    await behind.observed()
    behind.haproxy.backend().servers[0] = FakeServer("a", id=7, backup=True)
    assert [server.backup for server in (await behind.observed()).servers] == [True, True]


async def test_what_is_remembered_of_a_server_does_not_make_it_another_value() -> None:
    behind = Behind(servers=[FakeServer("a"), FakeServer("b", backup=True, maxconn=3)])
    before = (await behind.observed(with_maxconn=True)).servers
    again = (await behind.observed()).servers
    assert all(one is other for one, other in zip(before, again, strict=True))
    assert [server.maxconn for server in again] == [0, 3]


async def test_maxconn_is_told_where_it_is_asked_for() -> None:
    behind = Behind(servers=[FakeServer("a", maxconn=30, sessions=2), FakeServer("b")])
    servers = (await behind.observed(with_maxconn=True)).servers
    assert [(server.maxconn, server.sessions) for server in servers] == [(30, None), (0, None)]


async def test_a_backend_without_servers_has_no_statistics_to_ask_for() -> None:
    behind = Behind()
    assert (await behind.observed(with_maxconn=True)).servers == ()
    assert not any(line.startswith("show stat 3 4") for line in behind.haproxy.journal)


@pytest.mark.parametrize(
    ("algorithm", "level", "told"),
    [
        ("leastconn", "admin", "leastconn"),
        ("leastconn", "operator", "leastconn"),
        ("leastconn", "user", None),
        ("random", "admin", None),
    ],
)
async def test_the_algorithm_is_told_where_haproxy_tells_it(algorithm: str, level: str, told: str | None) -> None:
    assert await Behind(algorithm=algorithm, level=level).proxy.algorithm("be_app") == told


@pytest.mark.parametrize(("level", "told"), [("admin", "SRV"), ("user", None)])
async def test_the_cookie_is_told_where_haproxy_tells_it(level: str, told: str | None) -> None:
    assert await Behind(cookie="SRV", level=level).proxy.cookie("be_app") == told
    assert await Behind(level=level).proxy.cookie("be_app") is None
