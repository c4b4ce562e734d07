from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.runtime.protocol import Framing
from tests.fakes.haproxy import FakeBackend, FakeHAProxy, FakeServer

LINES = ("show info", "add server be_app/a 10.0.0.1:80 id 7", "enable server be_app/a", "del server be_app/x", "foo")


def a_stream(version: str = "3.2.26-1", lines: tuple[str, ...] = LINES) -> tuple[bytes, list[str]]:
    """What HAProxy sends for *lines* on an interactive connection, and the replies that it consists of."""
    haproxy = FakeHAProxy(version, backends=[FakeBackend(servers=[FakeServer("s1")])])
    replies = [haproxy.answer(line) for line in lines]
    return "".join(f"{reply}\n> " for reply in replies).encode(), [reply.rstrip("\n") for reply in replies]


def replies_of(pieces: list[bytes]) -> list[str]:
    framing = Framing()
    return [reply for piece in pieces for reply in framing.feed(piece)]


@pytest.mark.parametrize("version", ["2.6.12", "3.0.11", "3.2.26", "3.4.7"])
def test_a_reply_is_whole_wherever_the_network_cuts_it(version: str) -> None:
    stream, replies = a_stream(version)
    for cut in range(len(stream) + 1):
        assert replies_of([stream[:cut], stream[cut:]]) == replies


def test_replies_that_come_byte_by_byte_are_the_same_replies() -> None:
    stream, replies = a_stream()
    assert replies_of([stream[at : at + 1] for at in range(len(stream))]) == replies


@given(data=st.data())
def test_however_many_pieces_a_stream_comes_in_its_replies_are_the_same(data: st.DataObject) -> None:
    replies = data.draw(st.lists(st.text(st.characters(codec="utf-8")).filter(lambda text: "\n> " not in text)))
    replies = [reply.rstrip("\n") for reply in replies]
    stream = "".join(f"{reply}\n\n> " if reply else "\n> " for reply in replies).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert replies_of(pieces) == replies


def test_a_reply_is_handed_over_as_soon_as_it_is_complete() -> None:
    framing = Framing()
    assert framing.feed(b"one\n\n>") == []
    assert framing.feed(b" two\n") == ["one"]
    assert framing.feed(b"> ") == ["two"]


def test_an_empty_reply_is_a_prompt_alone() -> None:
    assert replies_of([b"\n> \n> \n> "]) == ["", "", ""]


def test_a_sentence_without_a_line_feed_at_its_end_is_a_whole_reply_as_2_6_sends_it() -> None:
    assert replies_of([b"Server deleted.\n> "]) == ["Server deleted."]


def test_empty_lines_inside_of_a_reply_belong_to_it() -> None:
    assert replies_of([b"a\n\nb\n\n> "]) == ["a\n\nb"]


def test_a_prompt_sign_inside_of_a_line_ends_nothing() -> None:
    assert replies_of([b"a > b\n>c\n\n> "]) == ["a > b\n>c"]


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert replies_of([b"a\xffb\n> "]) == ["a\ufffdb"]


def test_a_character_that_is_cut_in_the_middle_is_whole_again() -> None:
    assert replies_of([b"caf\xc3", b"\xa9\n> "]) == ["café"]


def test_what_has_come_of_the_next_reply_can_be_looked_at() -> None:
    framing = Framing()
    framing.feed(b"one\n> The command is too big")
    assert framing.partial == "The command is too big"
    framing.feed(b"\n> ")
    assert framing.partial == ""
