from __future__ import annotations

import pytest

from dynsrv.documents import parse
from dynsrv.documents.messages import config_error, format_path, show

TREE = parse(
    b"""backends:
  - name: be_app
    server: {inter: 2s}
  - name: be_api
""",
    name="x.yaml",
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        (True, "true"),
        (5, "5"),
        (1.5, "1.5"),
        ("5", '"5"'),
        ("café", '"café"'),
        ("a\nb\x1b", '"a\\nb\\u001b"'),
        ("x" * 100, f'"{"x" * 79}…"'),
        ([1], "a list"),
        ({}, "a mapping"),
    ],
)
def test_what_was_found_is_shown_on_one_line(value: object, text: str) -> None:
    assert show(value) == text


def test_a_path_is_written_as_people_write_it() -> None:
    assert format_path(("backends", 0, "server", "inter")) == "backends[0].server.inter"
    assert format_path((3, "labels", "a b\n")) == '[3].labels."a b\\n"'


def test_all_problems_are_reported_at_once_one_per_line_in_the_order_of_the_file() -> None:
    problems = [(("backends", 1, "name"), "second"), (("backends", 0, "name"), "first"), ((), "of the whole")]
    assert str(config_error(TREE, problems)).splitlines() == [
        "x.yaml: 3 problems",
        "x.yaml: of the whole",
        "x.yaml:2: backends[0].name: first",
        "x.yaml:4: backends[1].name: second",
    ]


def test_of_many_problems_the_first_twenty_are_reported() -> None:
    lines = str(config_error(parse(b"[]", name="x.yaml"), [((index,), "bad") for index in range(30_000)])).splitlines()
    assert len(lines) == 22
    assert lines[-1] == "x.yaml: and 29980 more"
