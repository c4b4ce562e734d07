"""The tables of docs/ are written from the code."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from dynsrv.documents.values import Count, Duration, Section
from tools import generate_docs
from tools.generate_docs import keys, with_tables

TEXT = "Before.\n\n<!-- table: one -->\n| old |\n<!-- end of table -->\n\nAfter.\n"


class Inner(Section):
    """An inner section."""

    size: Count = Field(default=1, description="How large it is.")


class Outer(Section):
    """A section."""

    name: str = Field(description="What it is called.")
    wait: Duration | None = Field(default=None, description="How long it waits.")
    inner: Inner = Field(default=Inner(), description="What is in it.")


def test_a_section_has_a_row_for_each_key_and_for_those_of_the_sections_in_it() -> None:
    assert keys(Outer).splitlines()[2:] == [
        "| `name` | string | required | What it is called. |",
        "| `wait` | duration |  | How long it waits. |",
        "| `inner` | mapping |  | What is in it. |",
        "| `inner.size` | number from 0 | `1` | How large it is. |",
    ]


def test_a_section_with_a_table_of_its_own_is_one_row() -> None:
    assert "inner.size" not in keys(Outer, whole={"inner"})


def test_a_table_is_put_in_its_place_and_all_else_stays() -> None:
    assert with_tables(TEXT, {"one": "| new |\n"}, name="docs/x.md") == TEXT.replace("old", "new")


@pytest.mark.parametrize("tables", [{}, {"other": ""}, {"one": "", "other": ""}])
def test_a_table_without_a_place_or_a_place_without_a_table_is_an_error(tables: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match=r"^docs/x\.md: expected a place for each of these tables: "):
        with_tables(TEXT, tables, name="docs/x.md")


def test_a_table_that_is_not_up_to_date_fails_the_check_and_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "x.md").write_text(TEXT)
    monkeypatch.setattr(generate_docs, "DOCS", tmp_path)
    monkeypatch.setattr(generate_docs, "all_tables", lambda: {"x.md": {"one": "| new |\n"}})
    monkeypatch.setattr("sys.argv", ["generate_docs", "--check"])
    with pytest.raises(SystemExit, match=r"x\.md: a table is not up to date; run make docs$"):
        generate_docs.main()
    assert (tmp_path / "x.md").read_text() == TEXT
    monkeypatch.setattr("sys.argv", ["generate_docs"])
    generate_docs.main()
    monkeypatch.setattr("sys.argv", ["generate_docs", "--check"])
    generate_docs.main()
