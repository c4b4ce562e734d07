from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from dynsrv.runtime import Client, Event, Ok, Replied, commands, errors
from tests.fakes.streams import Cut, Hang, Reset
from tests.fakes.talk import Talk

ADD = commands.add_server("be_app", "a", "10.0.0.1", 80, id=7, weight=1)
ENABLE = commands.enable_server("be_app", "a")
DELETE = commands.delete_server("be_app", "a")
INFO = "show info"


@pytest.fixture
async def talk() -> AsyncIterator[Talk]:
    talk = Talk()
    async with talk.client:
        yield talk
    await asyncio.sleep(0)
    assert talk.wire.open == []


async def test_one_command_returns_what_it_returns(talk: Talk) -> None:
    assert await talk.client.run(commands.cli_level()) == "admin"
    assert [server.name for server in await talk.client.run(commands.servers_state("be_app"))] == ["s1"]


async def test_one_refused_command_raises_the_refusal(talk: Talk) -> None:
    with pytest.raises(errors.NoSuchServer, match=r"`del server be_app/a`: No such server\."):
        await talk.client.run(DELETE)


async def test_a_refusal_does_not_stop_the_batch(talk: Talk) -> None:
    batch = await talk.client.batch([DELETE, ADD, ADD, ENABLE, DELETE])
    assert [type(reply) for reply in batch.replies] == [
        errors.NoSuchServer,
        Ok,
        errors.IdTaken,
        Ok,
        errors.NotInMaintenance,
    ]
    assert talk.haproxy.traffic("a")


async def test_a_batch_of_thousands_is_one_batch_of_one_process(talk: Talk) -> None:
    additions = [
        commands.add_server("be_app", f"n{number}", "10.0.0.1", 80, id=number, weight=1) for number in range(10, 3000)
    ]
    batch = await talk.client.batch(additions)
    assert batch.replies == [Ok(None)] * len(additions)
    assert batch.process.pid == talk.haproxy.process.pid


async def test_a_batch_of_nothing_tells_the_process(talk: Talk) -> None:
    batch = await talk.client.batch([])
    assert (batch.replies, batch.process.pid) == ([], talk.haproxy.process.pid)


async def test_who_answers_is_asked_before_and_after_every_batch(talk: Talk) -> None:
    await talk.client.run(ADD)
    assert talk.wire.connections[0].received == ["prompt", INFO, INFO, ADD.line, INFO]


async def test_connections_are_used_again(talk: Talk) -> None:
    for _ in range(3):
        await talk.process()
    assert len(talk.wire.connections) == 1


async def test_2_5_is_told_on_each_connection_that_it_may() -> None:
    talk = Talk("2.5.0")
    talk.wire.piece = 1000
    async with talk.client:
        additions = [
            commands.add_server("be_app", f"n{number}", "10.0.0.1", 80, id=number, weight=1) for number in (5, 6, 7)
        ]
        await asyncio.gather(*(talk.client.run(addition) for addition in additions))
        assert [connection.received[2] for connection in talk.wire.connections] == ["experimental-mode on"] * 3


# ---- what may have run


@pytest.mark.parametrize("fault", [Cut(1), Reset(1), Hang(1)])
async def test_a_batch_that_was_sent_is_never_sent_again(talk: Talk, fault: Cut | Reset | Hang) -> None:
    await talk.process()
    talk.before(ADD.line, lambda: talk.spoil(fault))
    with pytest.raises((errors.ConnectionLost, errors.ReplyTimeout)):
        await talk.client.run(ADD)
    assert talk.haproxy.changes == [ADD.line]
    assert talk.wire.open == []


async def test_a_batch_without_the_word_of_its_process_at_the_end_is_unknown(talk: Talk) -> None:
    talk.before(ADD.line, lambda: talk.spoil(Cut(len("New server registered.\n\n> "))))
    with pytest.raises(errors.ConnectionLost, match="before the reply to `show info`"):
        await talk.client.run(ADD)


async def test_a_cancelled_batch_leaves_no_usable_connection_behind(talk: Talk) -> None:
    talk.before(ADD.line, lambda: talk.spoil(Hang()))
    running = asyncio.create_task(talk.client.run(ADD))
    await asyncio.sleep(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert talk.wire.open == []
    await talk.client.run(ENABLE)


# ---- the rest


async def test_no_connection_is_an_error_that_is_safe_to_try_again(talk: Talk) -> None:
    talk.wire.refusals = [ConnectionRefusedError(111, "Connection refused")]
    with pytest.raises(errors.NotSent):
        await talk.client.run(ADD)
    await talk.client.run(ADD)


async def test_no_more_connections_than_allowed_are_open() -> None:
    talk = Talk(connections=2)
    talk.wire.piece = 1000
    async with talk.client:
        await asyncio.gather(*(talk.process() for _ in range(10)))
        assert len(talk.wire.connections) == 2


async def test_an_unused_connection_is_closed_after_the_idle_time() -> None:
    talk = Talk(idle_timeout=3)
    async with talk.client:
        await talk.process()
        await asyncio.sleep(2.9)
        assert len(talk.wire.open) == 1
        await asyncio.sleep(0.2)
        assert talk.wire.open == []


async def test_time_outs_are_those_of_the_client() -> None:
    talk = Talk(reply_timeout=7, connect_timeout=3, pool_timeout=4, connections=1)
    async with talk.client:
        talk.before(ADD.line, lambda: talk.spoil(Hang()))
        adding = asyncio.create_task(talk.client.run(ADD))
        await asyncio.sleep(1)
        with pytest.raises(errors.PoolTimeout, match="all 1 connections were in use for 4 s"):
            await talk.process()
        with pytest.raises(errors.ReplyTimeout, match="within 7 s"):
            await adding
        talk.wire.faults = [Hang()]
        with pytest.raises(errors.ConnectTimeout, match="within 3 s"):
            await talk.process()


async def test_a_hook_hears_of_every_run_of_replies() -> None:
    heard: list[Event] = []
    talk = Talk(hook=heard.append)
    async with talk.client:
        await talk.client.run(ADD)
    commands_heard = [event.command for event in heard if isinstance(event, Replied)]
    assert commands_heard == ["prompt", INFO, INFO, "add server", INFO]


def test_a_client_says_where_it_leads() -> None:
    assert repr(Client("tcp://[::1]:9999")) == "<Client tcp://[::1]:9999>"
    client = Client("/run/haproxy/admin.sock")
    assert repr(Client(client.address)) == "<Client unix:///run/haproxy/admin.sock>"
