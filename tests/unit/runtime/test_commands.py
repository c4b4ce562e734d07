from __future__ import annotations

import string
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.runtime import Command, Ok, commands
from dynsrv.runtime.commands import State, quote
from dynsrv.runtime.errors import InvalidArgument, UnknownReply
from tests.fakes.haproxy_words import commands_of

BAD_NAMES = ["", "a b", "a;b", "a/b", "a\nb", "a\\b", "a#b", "a'b", 'a"b', "a@b", "é", "\u0661", "a\0", "s1\n"]


def an_addition(
    *,
    backend: str = "be_app",
    server: str = "s",
    address: str = "10.0.0.1",
    port: int = 80,
    id: int = 7,
    weight: int = 1,
    keywords: tuple[str, ...] = (),
) -> Command[None]:
    return commands.add_server(backend, server, address, port, id=id, weight=weight, keywords=keywords)


@pytest.mark.parametrize(
    ("command", "line", "name"),
    [
        (an_addition(), "add server be_app/s 10.0.0.1:80 id 7 weight 1", "add server"),
        (an_addition(address="::1"), "add server be_app/s [::1]:80 id 7 weight 1", "add server"),
        (an_addition(address="0:0::0:1"), "add server be_app/s [::1]:80 id 7 weight 1", "add server"),
        (
            an_addition(keywords=("check", "inter", "2s", "sni", "str(a;b c)")),
            "add server be_app/s 10.0.0.1:80 id 7 weight 1 check inter 2s sni str(a\\;b\\ c)",
            "add server",
        ),
        (commands.probe_backend("be_app"), "add server be_app/probe", "add server"),
        (commands.delete_server("b", "s"), "del server b/s", "del server"),
        (commands.enable_health("b", "s"), "enable health b/s", "enable health"),
        (commands.enable_agent("b", "s"), "enable agent b/s", "enable agent"),
        (commands.disable_agent("b", "s"), "disable agent b/s", "disable agent"),
        (commands.enable_server("b", "s"), "enable server b/s", "enable server"),
        (commands.set_state("b", "s", State.READY), "set server b/s state ready", "set server state"),
        (commands.set_state("b", "s", State.DRAIN), "set server b/s state drain", "set server state"),
        (commands.set_state("b", "s", State.MAINT), "set server b/s state maint", "set server state"),
        (commands.set_weight("b", "s", 256), "set server b/s weight 256", "set server weight"),
        (commands.set_maxconn("b", "s", 0), "set maxconn server b/s 0", "set maxconn server"),
        (commands.shutdown_sessions("b", "s"), "shutdown sessions server b/s", "shutdown sessions server"),
        (commands.wait_removable("b", "s", seconds=1.5), "wait 1500 srv-removable b/s", "wait srv-removable"),
        (commands.info(), "show info", "show info"),
        (commands.servers_state("b"), "show servers state b", "show servers state"),
        (commands.backend_stat("b"), "show stat b 2 -1", "show stat"),
        (commands.servers_stat(3), "show stat 3 4 -1", "show stat"),
        (commands.servers_stat(3, 70_000), "show stat 3 4 70000", "show stat"),
        (commands.cli_level(), "show cli level", "show cli level"),
        (commands.prompt(), "prompt", "prompt"),
        (commands.experimental_mode(), "experimental-mode on", "experimental-mode"),
    ],
)
def test_a_command_is_one_line(command: Command[object], line: str, name: str) -> None:
    assert command.line == line
    assert command.name == name


@given(words=st.lists(st.text(st.characters(codec="ascii"), max_size=6), max_size=5))
def test_whatever_words_are_accepted_haproxy_reads_exactly_these_and_one_command(words: list[str]) -> None:
    try:
        command = an_addition(keywords=tuple(words))
    except InvalidArgument:
        assert any(not word or not word.isprintable() or "<<" in word for word in words)
        return
    assert commands_of(command.line) == [["add", "server", "be_app/s", "10.0.0.1:80", "id", "7", "weight", "1", *words]]


@given(word=st.text(string.printable, min_size=1) | st.text(r" ;\<", min_size=1))
def test_a_quoted_word_stands_for_itself_wherever_it_stands(word: str) -> None:
    try:
        quoted = quote(word)
    except InvalidArgument:
        return
    assert commands_of(quoted) == [[word]]
    assert commands_of(f"a {quoted} b") == [["a", word, "b"]]
    assert commands_of(f"{quoted};b") == [[word], ["b"]]


@pytest.mark.parametrize("word", ["", "a\nb", "\t", "\x7f", "\0", "é", "\u2028", "<<", "<<%EOF%", "a<<", "\r"])
def test_a_word_that_cannot_be_quoted_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="printable ASCII, not empty, without `<<`"):
        quote(word)


NAMED: list[Callable[[str], Command[object]]] = [
    lambda name: an_addition(backend=name),
    lambda name: an_addition(server=name),
    commands.probe_backend,
    lambda name: commands.delete_server(name, "s"),
    lambda name: commands.delete_server("b", name),
    lambda name: commands.enable_health("b", name),
    lambda name: commands.enable_agent("b", name),
    lambda name: commands.disable_agent("b", name),
    lambda name: commands.enable_server("b", name),
    lambda name: commands.set_state("b", name, State.READY),
    lambda name: commands.set_weight("b", name, 1),
    lambda name: commands.set_maxconn("b", name, 1),
    lambda name: commands.shutdown_sessions("b", name),
    lambda name: commands.wait_removable("b", name, seconds=1),
    commands.servers_state,
    commands.backend_stat,
]


@pytest.mark.parametrize("command", NAMED)
def test_no_name_can_end_a_command_or_begin_another(command: Callable[[str], Command[object]]) -> None:
    command("a:b.c-d_E9")
    for name in BAD_NAMES:
        with pytest.raises(InvalidArgument, match=r"letters, digits and _ : \. - only"):
            command(name)


ADDRESSES = st.ip_addresses().map(str)
ZONES = st.text("a0; ]\n#\\", min_size=1, max_size=6)


@given(address=ADDRESSES | st.text("0123456789abcdef.:[]", max_size=20))
def test_an_address_is_one_word_of_one_command(address: str) -> None:
    try:
        command = an_addition(address=address)
    except InvalidArgument:
        return
    ((*_, place, _id, _7, _weight, _1),) = commands_of(command.line)
    assert ip_address(place.removesuffix(":80").strip("[]")) == ip_address(address)


@given(address=ADDRESSES, zone=ZONES)
def test_no_zone_of_an_address_can_end_a_command_or_begin_another(address: str, zone: str) -> None:
    try:
        command = an_addition(address=f"{address}%{zone}")
    except InvalidArgument:
        return
    assert len(commands_of(command.line)) == 1
    assert len(commands_of(command.line)[0]) == 8


@pytest.mark.parametrize(
    "address", ["", "localhost", "256.1.1.1", "10.0.0.1:80", "[::1]", "10.0.0.0/8", "*", "10.0.0.01", "/run/s", "::1;"]
)
def test_what_is_no_address_is_refused_because_haproxy_would_take_it(address: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^address: found .*, expected an IPv4 or IPv6 address$"):
        an_addition(address=address)


@pytest.mark.parametrize("address", ["10.0.0.1", "::1"])
@pytest.mark.parametrize("port", [-1, 0, 65_536])
def test_a_port_that_is_none_is_refused(address: str, port: int) -> None:
    with pytest.raises(InvalidArgument, match=rf"^port: found {port}, expected 1 to 65535$"):
        an_addition(address=address, port=port)


@pytest.mark.parametrize("weight", [-1, 257])
def test_a_weight_beyond_256_is_refused(weight: int) -> None:
    with pytest.raises(InvalidArgument, match=rf"^weight: found {weight}, expected 0 to 256$"):
        an_addition(weight=weight)
    with pytest.raises(InvalidArgument, match=rf"^weight: found {weight}, expected 0 to 256$"):
        commands.set_weight("b", "s", weight)


@pytest.mark.parametrize("maxconn", [-1, 2**31])
def test_a_maxconn_that_haproxy_does_not_take_is_refused(maxconn: int) -> None:
    with pytest.raises(InvalidArgument, match=rf"^maxconn: found {maxconn}, expected 0 to 2147483647$"):
        commands.set_maxconn("b", "s", maxconn)


@pytest.mark.parametrize("id", [0, 268_435_457])
def test_an_id_that_consistent_hashing_would_fold_is_refused(id: int) -> None:
    with pytest.raises(InvalidArgument, match=rf"^id: found {id}, expected 1 to 268435456$"):
        an_addition(id=id)


@pytest.mark.parametrize("seconds", [0, -1, 0.0001, 2**31])
def test_a_delay_that_haproxy_does_not_take_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidArgument, match=r"^milliseconds: "):
        commands.wait_removable("b", "s", seconds=seconds)


def test_a_wait_may_take_as_long_as_it_says() -> None:
    assert commands.wait_removable("b", "s", seconds=1.5).expected_seconds == 1.5
    assert commands.info().expected_seconds == 0


def test_more_words_than_haproxy_reads_are_refused_because_it_drops_the_rest() -> None:
    an_addition(keywords=("a",) * 50)
    with pytest.raises(InvalidArgument, match=r"at most 64 words and 16000 characters \(\d+ and \d+ here\)"):
        an_addition(keywords=("a",) * 60)


def test_a_line_beyond_haproxy_s_buffer_is_refused() -> None:
    an_addition(keywords=("a" * 15_000,))
    with pytest.raises(InvalidArgument, match="at most 64 words and 16000 characters"):
        an_addition(keywords=("a" * 16_000,))


def test_no_command_has_more_words_than_haproxy_reads() -> None:
    for count in range(60):
        try:
            command = an_addition(keywords=("a",) * count)
        except InvalidArgument:
            break
        assert len(commands_of(command.line)[0]) <= 64


@pytest.mark.parametrize("level", ["user", "operator", "admin"])
def test_the_level_of_the_connection_is_one_of_three(level: str) -> None:
    assert commands.cli_level().classify(level) == Ok(level)


def test_another_word_is_no_level() -> None:
    assert isinstance(commands.cli_level().classify("root"), UnknownReply)
