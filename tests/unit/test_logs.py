"""Every line has a stable code and one sentence, which the documentation knows; what libraries say looks the same."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import structlog

from dynsrv import logs
from dynsrv.logs import Event, get_logger

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "docs" / "operations.md"
SOURCE = ROOT / "src" / "dynsrv"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_a_warning_of_a_library_is_a_line_like_all_others(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="info", form="json")
    try:
        raise ValueError("no role")
    except ValueError:
        logging.getLogger("botocore.credentials").warning("cannot %s", "renew", exc_info=True)
    logging.getLogger("botocore").info("nothing that matters")
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"]) == (Event.LIBRARY_WARNING.code, "warning")
    assert (told["library"], told["what"]) == ("botocore.credentials", "cannot renew")
    assert "ValueError: no role" in told["exception"]


def test_below_its_level_a_warning_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="error", form="text")
    logging.getLogger("botocore").warning("something")
    assert capsys.readouterr().err == ""


def test_as_json_a_line_has_the_code_and_the_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="info", form="json")
    get_logger().info(Event.SERVER_ENABLED, server="dyn-app-1")
    told = json.loads(capsys.readouterr().err)
    del told["timestamp"]
    assert told == {"event": "server_enabled", "message": "server enabled", "level": "info", "server": "dyn-app-1"}


def test_as_text_a_line_has_the_sentence_alone(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="info", form="text")
    get_logger().info(Event.SERVER_ENABLED, server="dyn-app-1")
    line = capsys.readouterr().err
    assert re.search(r"server enabled +server=dyn-app-1$", line)
    assert "server_enabled" not in line


def test_no_sentence_is_part_of_another_so_that_a_search_finds_one_event() -> None:
    for event in Event:
        assert [one for one in Event if event in one] == [event]


def test_the_documentation_has_a_row_for_each_event_with_its_sentence() -> None:
    section = OPERATIONS.read_text().partition("## The audit file")[0]
    (head, *rows) = re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE)
    assert head == ("event", "`message`")
    assert rows == [(event.code, event) for event in Event]


def test_every_event_is_logged_somewhere() -> None:
    source = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    assert [event for event in Event if not re.search(rf"\bEvent\.{event.name}\b", source)] == []


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_has_no_escape_sequences_that_a_terminal_would_follow(
    capsys: pytest.CaptureFixture[str], form: Literal["text", "json"]
) -> None:
    logs.configure(level="info", form=form)
    get_logger().warning(Event.SOURCE_DATA_IGNORED, what="\x1b[2J\udc80\r")
    line = capsys.readouterr().err
    assert line.rstrip("\n").isprintable()
    assert line.encode()
