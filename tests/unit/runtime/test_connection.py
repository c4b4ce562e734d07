from __future__ import annotations

import asyncio

import pytest

from dynsrv.runtime import Broke, Command, Event, Ok, Replied, UnixAddress, commands, errors
from dynsrv.runtime.connecting import connect
from dynsrv.runtime.connection import Connection
from tests.fakes.haproxy import FakeHAProxy
from tests.fakes.streams import Cut, Fault, Hang, Reset, Wire

ADDRESS = UnixAddress("/run/haproxy/admin.sock")
ADD = commands.add_server("be_app", "a", "10.0.0.1", 80, id=7, weight=1)
ENABLE = commands.enable_server("be_app", "a")
DELETE = commands.delete_server("be_app", "a")
BATCH: list[Command[object]] = [ADD, ENABLE, DELETE, commands.servers_state("be_app")]


class Line:
    """A connection, and what is behind it."""

    def __init__(self, version: str = "3.2.26-1") -> None:
        self.haproxy = FakeHAProxy(version)
        self.wire = Wire(self.haproxy)
        self.events: list[Event] = []

    async def connection(self, fault: Fault | None = None) -> Connection:
        """Connect, and let *fault* befall what comes after the greeting."""
        connection = await connect(ADDRESS, timeout=1.0, hook=self.events.append, opener=self.wire)
        self.wire.connections[-1].spoil(fault)
        self.events.clear()
        return connection


async def test_replies_come_in_the_order_of_the_commands() -> None:
    connection = await Line().connection()
    added, enabled, refused, state = await connection.exchange(BATCH, timeout=5)
    assert [added, enabled] == [Ok(None), Ok(None)]
    assert isinstance(refused, errors.NotInMaintenance)
    assert isinstance(state, Ok)
    assert connection.reusable


@pytest.mark.parametrize("version", ["2.5.0", "2.6.12", "3.0.11", "3.4.7"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_replies_are_the_same_in_whatever_pieces_they_come(version: str, size: int) -> None:
    line = Line(version)
    line.wire.piece = size
    connection = await line.connection()
    replies = await connection.exchange(BATCH, timeout=5)
    assert [type(reply) for reply in replies] == [Ok, Ok, errors.NotInMaintenance, Ok]
    assert connection.reusable


async def test_all_commands_are_sent_before_the_first_reply_is_read() -> None:
    line = Line()
    connection = await line.connection(Hang())
    with pytest.raises(errors.ReplyTimeout):
        await connection.exchange(BATCH, timeout=5)
    assert line.haproxy.changes == [command.line for command in BATCH[:3]]


@pytest.mark.parametrize("fault", [Cut, Reset, Hang])
async def test_wherever_a_connection_breaks_no_reply_is_made_up(fault: type[Cut | Reset | Hang]) -> None:
    whole = len("New server registered.\n\n> ") + len("\n> ")
    for after in range(whole):
        line = Line()
        connection = await line.connection(fault(after))
        with pytest.raises(errors.OutcomeUnknown):
            await connection.exchange([ADD, ENABLE], timeout=5)
        assert not connection.reusable
        assert line.wire.open == []


async def test_a_lost_connection_tells_how_far_it_got() -> None:
    line = Line()
    connection = await line.connection(Cut(len("New server registered.\n\n> ") + 1))
    with pytest.raises(errors.ConnectionLost) as caught:
        await connection.exchange([ADD, ENABLE], timeout=5)
    assert (caught.value.replies, caught.value.commands, caught.value.command) == (1, 2, ENABLE.line)
    assert str(caught.value) == (
        "unix:///run/haproxy/admin.sock: connection ended before the reply to `enable server be_app/a` did:"
        " HAProxy closed it (1 of 2 replies had arrived)"
    )


async def test_what_haproxy_said_last_is_told() -> None:
    connection = await Line().connection(Cut(len("New server")))
    with pytest.raises(errors.ConnectionLost, match="HAProxy closed it after 'New server'"):
        await connection.exchange([ADD], timeout=5)


async def test_a_reset_is_told_in_the_words_of_the_system() -> None:
    connection = await Line().connection(Reset(1))
    with pytest.raises(errors.ConnectionLost, match="Connection reset by peer"):
        await connection.exchange([ADD], timeout=5)


async def test_a_reply_that_does_not_come_is_a_timeout_that_names_the_command() -> None:
    line = Line()
    connection = await line.connection(Hang(len("New server registered.\n\n> ") + 1))
    began = asyncio.get_running_loop().time()
    with pytest.raises(errors.ReplyTimeout) as caught:
        await connection.exchange([ADD, ENABLE], timeout=5)
    assert asyncio.get_running_loop().time() - began == pytest.approx(5)
    assert (caught.value.replies, caught.value.commands, caught.value.timeout) == (1, 2, 5)
    assert str(caught.value).endswith(f"no reply to `{ENABLE.line}` within 5 s (1 of 2 replies had arrived)")
    assert line.events[-1] == Broke("ReplyTimeout")


async def test_a_batch_that_goes_on_is_never_cut_however_long_it_takes() -> None:
    line = Line()
    connection = await line.connection(Hang())
    server = line.wire.connections[-1]

    async def answer_slowly() -> None:
        for _ in range(10):
            await asyncio.sleep(4)
            server.say("\n> ")

    async with asyncio.TaskGroup() as tasks:
        slowly = tasks.create_task(answer_slowly())
        replies = await connection.exchange([ENABLE] * 10, timeout=5)
        await slowly
    assert replies == [Ok(None)] * 10


async def test_a_single_reply_that_goes_on_for_ever_is_given_up_in_the_end() -> None:
    line = Line()
    connection = await line.connection(Hang())
    server = line.wire.connections[-1]
    began = asyncio.get_running_loop().time()

    async def answer_for_ever() -> None:
        while not server.is_closing():
            server.say("x")
            await asyncio.sleep(4)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer_for_ever())
        with pytest.raises(errors.ReplyTimeout, match="within 60 s"):
            await connection.exchange([ENABLE], timeout=5)
    assert asyncio.get_running_loop().time() - began == pytest.approx(60, abs=4)
    assert not connection.reusable


@pytest.mark.parametrize("piece", [None, 1000])
async def test_a_reply_that_is_too_large_closes_the_connection_and_names_the_command(piece: int | None) -> None:
    line = Line()
    connection = await connect(ADDRESS, timeout=1, hook=line.events.append, opener=line.wire, max_bytes=10_000)
    server = line.wire.connections[-1]
    line.wire.piece = piece
    assert await connection.exchange([ENABLE], timeout=5)
    server.spoil(Hang())
    server.say("\n> " + "x" * 9_998)
    with pytest.raises(errors.ReplyTooLarge) as caught:
        await connection.exchange([ENABLE, DELETE], timeout=5)
    sentence = f"the reply to `{ENABLE.line}` had not ended after 10000 bytes (0 of 2 replies had come)"
    assert str(caught.value).endswith(sentence)
    assert line.events[-1] == Broke("ReplyTooLarge")
    assert server.is_closing()


async def test_what_came_of_earlier_exchanges_does_not_count() -> None:
    line = Line()
    connection = await connect(ADDRESS, timeout=1, opener=line.wire, max_bytes=1000)
    for _ in range(20):
        assert isinstance((await connection.exchange([commands.info()], timeout=5))[0], Ok)


async def test_a_command_that_waits_by_design_gets_the_time_that_it_takes() -> None:
    connection = await Line().connection(Hang())
    began = asyncio.get_running_loop().time()
    with pytest.raises(errors.ReplyTimeout, match="within 35 s"):
        await connection.exchange([commands.wait_removable("be_app", "a", seconds=30)], timeout=5)
    assert asyncio.get_running_loop().time() - began == pytest.approx(35)


async def test_a_cancelled_exchange_breaks_the_connection() -> None:
    connection = await Line().connection(Hang())
    exchange = asyncio.create_task(connection.exchange([ADD], timeout=5))
    await asyncio.sleep(1)
    exchange.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange
    assert not connection.reusable


async def test_more_replies_than_commands_break_the_connection() -> None:
    line = Line()
    connection = await line.connection(Hang())
    line.wire.connections[-1].say("a\n> b\n> ")
    with pytest.raises(errors.ConnectionLost, match="received more replies than commands"):
        await connection.exchange([ENABLE], timeout=5)
    assert not connection.reusable


async def test_a_connection_that_haproxy_closed_meanwhile_is_not_reusable() -> None:
    line = Line()
    connection = await line.connection()
    line.wire.connections[-1].end()
    assert not connection.reusable


async def test_a_connection_that_was_closed_is_not_reusable() -> None:
    line = Line()
    connection = await line.connection()
    connection.close()
    assert not connection.reusable
    assert line.wire.open == []


async def test_what_nobody_asked_for_breaks_the_connection() -> None:
    line = Line()
    connection = await line.connection(Hang())
    line.wire.connections[-1].say("\n> half a reply")
    assert await connection.exchange([ENABLE], timeout=5) == [Ok(None)]
    assert not connection.reusable


async def test_a_run_of_equal_commands_is_measured_as_one() -> None:
    line = Line()
    connection = await line.connection()
    await connection.exchange([ADD, ENABLE, ENABLE, DELETE, ENABLE], timeout=5)
    measured = [(event.command, event.replies) for event in line.events if isinstance(event, Replied)]
    assert measured == [("add server", 1), ("enable server", 2), ("del server", 1), ("enable server", 1)]
    assert all(event.seconds >= 0 for event in line.events if isinstance(event, Replied))


async def test_nothing_is_measured_where_nobody_listens() -> None:
    wire = Wire(FakeHAProxy())
    connection = await connect(ADDRESS, timeout=1, opener=wire)
    assert await connection.exchange([ADD], timeout=5) == [Ok(None)]


async def test_a_connection_says_where_it_leads_and_what_is_owed() -> None:
    connection = await Line().connection(Hang())
    assert repr(connection) == "<Connection unix:///run/haproxy/admin.sock owed=0>"
    with pytest.raises(errors.ReplyTimeout):
        await connection.exchange([ADD, ENABLE], timeout=5)
    assert repr(connection) == "<Connection unix:///run/haproxy/admin.sock owed=2>"
