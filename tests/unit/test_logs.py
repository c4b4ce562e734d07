"""What libraries have to say is told as all else is."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from dynsrv import logs


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
    assert (told["event"], told["level"]) == ("a library warns", "warning")
    assert (told["library"], told["what"]) == ("botocore.credentials", "cannot renew")
    assert "ValueError: no role" in told["exception"]


def test_below_its_level_a_warning_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="error", form="text")
    logging.getLogger("botocore").warning("something")
    assert capsys.readouterr().err == ""
