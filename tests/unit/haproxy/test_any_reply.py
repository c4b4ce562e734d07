"""Whatever HAProxy replies, it is a value, a refusal or an unknown reply of that command, and never another error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynsrv.errors import ProxyUnreachable
from dynsrv.haproxy.rows import servers_reader
from dynsrv.model import MAX_WEIGHT, Server
from dynsrv.runtime import Command, Ok, ServerStat, ServerState, commands
from dynsrv.runtime.errors import Refused, UnknownReply
from tests.fakes.behind import Behind
from tests.fakes.haproxy import FakeBackend, FakeHAProxy, FakeServer
from tests.fakes.streams import Hang

BIG = 2**64
ODD = ["-1", "4", "5", "256", "257", "65536", "1e3", "1_0", "+1", "0x10", "\u0663", "\u00b2", "", "-", "NaN", "None"]
ODD += [
    str(BIG),
    "9" * 5000,
    "\x00",
    '"',
    "'",
    ",",
    "\n",
    "\r",
    "\ufffd",
    "# ",
    "a b",
    "Permission denied",
    "x" * 140_000,
]
COMMANDS: list[Callable[[], Command[Any]]] = [
    commands.info,
    commands.cli_level,
    lambda: commands.servers_state("be_app"),
    *[lambda: commands.servers_state_cached("be_app", servers_reader())] * 3,  # where most is read
    lambda: commands.servers_stat(3),
    lambda: commands.backend_stat(3),
    lambda: commands.delete_server("be_app", "a"),
    lambda: commands.probe_backend("be_app"),
]


def the_dump(command: Command[Any]) -> str:
    """What HAProxy replies to *command* about three servers."""
    servers = [
        FakeServer("a", check_state=6, check_result=3, id=5),
        FakeServer("b", "::1", 8080, id=70_000, weight=256, admin=8, maxconn=7, agent_state=22),
        FakeServer("c", "lb.example", id=7, admin=1, operational=0, check_state=14, check_result=2),
    ]
    haproxy = FakeHAProxy(backends=[FakeBackend(servers=servers, cookie="SRV")])
    haproxy.advance(2)
    return haproxy.answer(command.line).rstrip("\n")


@st.composite
def spoiled(draw: st.DrawFn, text: str) -> str:
    """Some cells of a dump replaced by what does not belong there, text cut out or put in, or no dump at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.text(max_size=50))
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.integers(0, 3)):
            lines = text.split("\n")
            number = len(lines) - 1 - draw(st.integers(0, len(lines) - 1))  # mostly one of the last: a server's
            separator = "," if "," in lines[number] else " "
            cells = lines[number].split(separator)
            cells[draw(st.integers(0, len(cells) - 1))] = draw(st.integers(-2, 9).map(str) | st.sampled_from(ODD))
            lines[number] = separator.join(cells)
            text = "\n".join(lines)
        else:
            begin, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
            text = text[:begin] + draw(st.sampled_from(["", *ODD]) | st.text(max_size=9)) + text[end:]
    return text


def is_sound(value: object) -> bool:
    """Whether a value that was read is one that HAProxy may mean."""
    match value:
        case Server():
            return 0 <= value.weight <= MAX_WEIGHT and 0 <= value.port <= 65535 and value.since_change >= 0
        case ServerState():
            return all(number >= 0 for number in value if isinstance(number, int))
        case ServerStat():
            return min(value.id, value.sessions, value.queued, value.maxconn, value.total) >= 0
        case tuple():
            return all(is_sound(one) for one in value)
        case _:
            return True


@given(data=st.data(), make=st.sampled_from(COMMANDS))
@settings(deadline=None, max_examples=500)
def test_whatever_haproxy_replies_it_is_a_value_or_an_error_of_that_command(
    data: st.DataObject, make: Callable[[], Command[Any]]
) -> None:
    command = make()
    text = data.draw(spoiled(the_dump(command)))
    reply = command.classify(text)
    assert isinstance(reply, Ok | Refused | UnknownReply)
    if isinstance(reply, Ok):
        assert is_sound(reply.value)
    else:
        assert len(str(reply)) < 1000


@given(text=st.text())
@example(text="1\n# srv_op_state")
def test_a_reader_that_was_told_nonsense_reads_the_next_dump_as_if_it_had_not_been(text: str) -> None:
    reader = servers_reader()
    command = commands.servers_state_cached("be_app", reader)
    whole = the_dump(command)
    before = command.classify(whole)
    command.classify(text)
    command.classify(whole[: len(whole) // 2] + text)
    assert command.classify(whole) == before


@pytest.mark.parametrize(
    ("column", "number", "problem"),
    [
        ("srv_op_state", 4, "server a: srv_op_state: found 4, expected 0 to 3"),
        ("srv_op_state", -1, "server a: srv_op_state: found '-1', expected a number"),
        ("srv_check_result", 5, "server a: srv_check_result: found 5, expected 0 to 4"),
        ("srv_uweight", 257, "server a: srv_uweight: found 257, expected 0 to 256"),
        ("srv_port", 65536, "server a: srv_port: found 65536, expected 0 to 65535"),
    ],
)
async def test_a_number_that_haproxy_does_not_have_is_an_error_of_that_backend_that_names_it(
    column: str, number: int, problem: str
) -> None:
    behind = Behind(servers=[FakeServer("a")])
    await behind.observed()
    info = behind.haproxy.answer("show info")
    _, header, line = behind.haproxy.answer("show servers state be_app").rstrip("\n").split("\n")
    cells = line.split(" ")
    cells[header[2:].split(" ").index(column)] = str(number)
    wire = behind.wire.connections[0]

    def say(asked: str) -> None:
        if asked.startswith("show servers state"):
            wire.spoil(Hang())
            wire.say(f"1\n{header}\n{' '.join(cells)}\n\n> {info}\n> ")

    behind.wire.before_line = say
    with pytest.raises(ProxyUnreachable) as caught:
        await behind.observed()
    assert str(caught.value) == f"lb1: `show servers state be_app`: the reply cannot be read: {problem}"


def test_a_change_by_a_thread_of_haproxys_whose_clock_is_ahead_is_of_now() -> None:
    haproxy = FakeHAProxy(backends=[FakeBackend("be", [FakeServer("a")])])
    dump = haproxy.answer("show servers state be")
    assert " 2 0 1 1 0 1 " in dump
    (row,) = commands.servers_state("be").read(dump.replace(" 2 0 1 1 0 1 ", " 2 0 1 1 -1 1 ").rstrip("\n"))
    assert row.since_change == 0
