"""The status is shown again and again: in place where that can be, elsewhere only what is new."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from dynsrv.cli import output
from dynsrv.cli.output import LiveStatus
from dynsrv.errors import ProxyUnreachable
from dynsrv.reconcile.view import BackendView
from tests.fakes.builders import a_policy

CLEAR = "\x1b[H\x1b[J"
NOON = datetime(2026, 1, 31, 12, 0, 7, tzinfo=UTC)


def a_look(*, error: str = "gone", backend: str = "be_app") -> BackendView:
    return BackendView(backend, "lb1", a_policy(), error=ProxyUnreachable(error))


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed elsewhere than on a terminal."""
    out = io.StringIO()
    monkeypatch.setattr(output, "_console", Console(file=out, highlight=False, soft_wrap=True))
    return out


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed on a terminal of 8 rows of 40 characters."""
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, color_system="standard", width=40, height=8, highlight=False, soft_wrap=True
    )
    monkeypatch.setattr(output, "_console", console)
    return out


def a_watching() -> LiveStatus:
    return LiveStatus(interval=2.0, now=lambda: NOON)


def test_elsewhere_a_block_is_printed_each_time_that_something_changed(printed: io.StringIO) -> None:
    watching = a_watching()
    for error in ("gone", "gone", "hangs", "hangs", "gone"):
        watching.show([a_look(error=error)])
    block = "2026-01-31T12:00:07+00:00\nbe_app on lb1\n  {}\n\n"
    assert printed.getvalue() == block.format("gone") + block.format("hangs") + block.format("gone")


def test_on_a_terminal_it_is_drawn_in_place_each_time(screen: io.StringIO) -> None:
    watching = a_watching()
    for _ in range(2):
        watching.show([a_look()])
    _, first, second = screen.getvalue().split(CLEAR)
    assert first == second
    assert first.splitlines()[0] == "12:00:07, every 2 s; Ctrl-C to stop"
    assert "be_app on lb1" in first
    assert "\x1b[31m  gone" in first  # in red


def test_a_dumb_terminal_is_none(monkeypatch: pytest.MonkeyPatch, screen: io.StringIO) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(output, "_console", Console(file=screen, force_terminal=True))
    a_watching().show([a_look()])
    assert CLEAR not in screen.getvalue()


def rows_taken(text: str) -> int:
    lines = [line.replace("\x1b[1m", "").replace("\x1b[31m", "").replace("\x1b[0m", "") for line in text.splitlines()]
    return sum(max(1, -(-len(line) // 40)) for line in lines)


@pytest.mark.parametrize("backends", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("length", [4, 39, 50, 200, 500])
def test_the_top_stays_on_the_screen_whatever_the_length(screen: io.StringIO, backends: int, length: int) -> None:
    a_watching().show([a_look(error="x" * length, backend=f"be_{number}") for number in range(backends)])
    text = screen.getvalue().removeprefix(CLEAR)
    assert rows_taken(text) <= 7  # and the cursor's
    lines = text.splitlines()
    assert lines[0].startswith("12:00:07")
    whole = 1 + 2 * backends
    if lines[-1].startswith("..."):
        assert lines[-1] == f"... and {whole - len(lines) + 1} more lines"
    else:
        assert len(lines) == whole
