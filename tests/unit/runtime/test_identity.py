"""Which process is talked to: never a dying one, never another than the one that is meant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from dynsrv.runtime import Command, Ok, commands, errors
from tests.fakes.streams import Cut, Fault, Hang, Reset
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


async def test_nothing_is_sent_to_another_process_than_the_one_that_is_meant(talk: Talk) -> None:
    observed = await talk.process()
    talk.haproxy.reload()
    with pytest.raises(errors.OtherProcess, match=r"expected process 101, but process 102 answered"):
        await talk.client.batch([ADD], process=observed)
    assert talk.haproxy.changes == []


async def test_the_same_pid_started_at_another_time_is_another_process_as_in_a_container(talk: Talk) -> None:
    observed = await talk.process()
    talk.haproxy.process.started += 1
    with pytest.raises(errors.OtherProcess):
        await talk.client.batch([ADD], process=observed)
    assert talk.haproxy.changes == []


async def test_the_process_that_is_meant_gets_the_batch(talk: Talk) -> None:
    observed = await talk.process()
    assert (await talk.client.batch([ADD], process=observed)).replies == [Ok(None)]


async def test_a_pooled_connection_to_an_old_worker_is_replaced_before_anything_is_sent(talk: Talk) -> None:
    await talk.process()
    talk.haproxy.reload()
    batch = await talk.client.batch([ADD])
    assert batch.process.pid == talk.haproxy.process.pid
    assert talk.haproxy.traffic("a") is False
    assert talk.haproxy.server("a").id == 7
    assert [connection.received.count(ADD.line) for connection in talk.wire.connections] == [0, 1]


@pytest.mark.parametrize("fault", [Cut(0), Cut(1), Reset(0), Reset(1), Hang(0), Hang(3)])
async def test_a_pooled_connection_that_died_is_replaced_and_nothing_is_sent_twice(talk: Talk, fault: Fault) -> None:
    await talk.process()
    talk.spoil(fault)
    await talk.client.run(ADD)
    assert talk.haproxy.changes == [ADD.line]
    assert len(talk.wire.open) == 1


@pytest.mark.parametrize("fault", [Cut(0), Cut(1), Reset(0), Hang(0)])
async def test_when_its_replacement_dies_too_it_is_safe_to_try_again(talk: Talk, fault: Fault) -> None:
    await talk.process()
    talk.spoil(Cut(1))
    # the first is on the pooled connection, the second greets the new one
    talk.before(INFO, lambda: talk.spoil(fault, connection=1), time=3)
    with pytest.raises(errors.OtherProcess, match="the connection broke before anything was sent: "):
        await talk.client.run(ADD)
    assert talk.haproxy.changes == []
    assert talk.wire.open == []


async def test_when_its_replacement_begins_to_stop_nothing_is_sent(talk: Talk) -> None:
    await talk.process()
    talk.spoil(Cut(1))
    talk.before(INFO, talk.haproxy.stop, time=3)
    with pytest.raises(errors.OtherProcess, match="process 101 is stopping"):
        await talk.client.run(ADD)
    assert talk.haproxy.changes == []
    assert talk.wire.open == []


async def test_a_pooled_connection_to_a_process_below_the_level_is_no_reason_to_connect_again(talk: Talk) -> None:
    talk.haproxy.level = "operator"
    with pytest.raises(errors.PermissionDenied):
        await talk.client.run(ADD)
    with pytest.raises(errors.PermissionDenied):
        await talk.client.run(ADD)
    assert len(talk.wire.connections) == 1


async def test_what_answers_without_saying_who_it_is_gets_nothing(talk: Talk) -> None:
    await talk.process()
    talk.spoil(Hang())
    talk.before(INFO, lambda: talk.wire.connections[0].say("Permission denied\n\n> "))
    with pytest.raises(errors.PermissionDenied, match="`show info`"):
        await talk.client.run(ADD)
    assert talk.haproxy.changes == []


async def test_during_a_reload_it_connects_until_the_new_process_takes_the_connection(talk: Talk) -> None:
    old = talk.haproxy.process
    talk.haproxy.reload()
    talk.wire.processes = [old] * 5
    assert (await talk.process()).pid == talk.haproxy.process.pid
    assert len(talk.wire.connections) == 6
    assert len(talk.wire.open) == 1


async def test_where_only_a_stopping_process_answers_nothing_is_sent(talk: Talk) -> None:
    talk.haproxy.stop()
    with pytest.raises(errors.OtherProcess, match="only a stopping process answers"):
        await talk.client.run(ADD)
    assert talk.haproxy.changes == []
    assert talk.wire.open == []


@pytest.mark.parametrize("command", [ADD, commands.servers_state("be_app")])
async def test_what_a_process_answered_that_is_stopping_afterwards_does_not_count(
    talk: Talk, command: Command[object]
) -> None:
    old = await talk.process()
    talk.before(command.line, talk.haproxy.reload)
    with pytest.raises(errors.DyingProcess, match=f"HAProxy process {old.pid} is stopping") as caught:
        await talk.client.batch([command])
    assert isinstance(caught.value, errors.OutcomeUnknown)
    assert caught.value.pid == old.pid
    assert talk.wire.open == []


async def test_a_disabled_proxy_tells_that_the_process_is_an_old_worker(talk: Talk) -> None:
    old = talk.haproxy.process
    enable = commands.enable_server("be_app", "s1")
    talk.before(enable.line, talk.haproxy.stop)
    talk.before(INFO, lambda: setattr(old, "stopping", False), time=3)  # it does not say so itself
    with pytest.raises(errors.DyingProcess):
        await talk.client.run(enable)
    assert talk.wire.open == []
