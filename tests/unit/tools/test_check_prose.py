"""What tools/check_prose.py finds, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.check_prose import IDIOMS, findings

EXAMPLES = (
    "a line that tells of it",
    "the operator is told",
    "it takes over a file",
    "what is there",
    "it is not there",
    "it lets go of a server",
    "the servers are as they are wanted",
    "as the source wants it",
    "it looks again",
    "HAProxy is looked at",
    "it takes in a value",
    "a server of ours",
    "pauses by lot",
    "the backend is in line",
    "mend the file",
    "what becomes of it",
    "waits in vain",
    "begins anew",
    "it stays as it is",
    "for want of a server",
    "several HAProxys",
)


def found(tmp_path: Path, text: str, *, name: str = "a.md") -> list[tuple[int, str]]:
    (tmp_path / name).write_text(text)
    return [(one.line, one.idiom) for one in findings(tmp_path / name)]


@pytest.mark.parametrize("sentence", EXAMPLES)
def test_each_idiom_is_found_with_what_to_write_instead(sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(f"Plain words.\n{sentence}\n")
    (finding,) = findings(tmp_path / "a.md")
    assert finding.line == 2
    assert finding.idiom in sentence
    assert finding.instead in IDIOMS.values()


def test_every_idiom_has_an_example() -> None:
    assert len(EXAMPLES) == len(IDIOMS)


def test_an_idiom_is_found_across_lines(tmp_path: Path) -> None:
    assert found(tmp_path, "An operator is\ntold.") == [(1, "is told")]
    assert found(tmp_path, "# it takes\n  # over\n", name="a.yaml") == [(1, "takes over")]
    assert found(tmp_path, "# it takes\n# over\n", name="a.py") == [(1, "takes over")]
    assert found(tmp_path, 'x = (\n    "it takes "\n    f"over {1}"\n)\n', name="a.py") == [(2, "takes over")]


def test_of_python_comments_docstrings_and_strings_are_read_and_code_is_not(tmp_path: Path) -> None:
    code = (
        '"""It takes over."""\n\nis_told = ["a" for line in line if "b" in line]  # by lot\nx = f"is told {is_told}"\n'
    )
    assert found(tmp_path, code, name="a.py") == [(1, "takes over"), (3, "by lot"), (4, "is told")]
    assert found(tmp_path, 'x = ["is", "told"]\n', name="a.py") == []


def test_plain_words_are_no_idioms(tmp_path: Path) -> None:
    assert (
        found(tmp_path, "It lets a server receive requests and takes 3 s; the overtaking line mentions recommended.")
        == []
    )
