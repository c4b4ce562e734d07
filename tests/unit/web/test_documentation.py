"""docs/api.md and the description of the API tell of the same things."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dynsrv.errors import ConfigurationError
from dynsrv.web.api import MAX_SUBSCRIBERS, WRITE_TIMEOUT
from dynsrv.web.event_stream import HEARTBEAT
from dynsrv.web.openapi import document
from dynsrv.web.server import tls_context

DOCS = Path(__file__).parents[3] / "docs"
API = (DOCS / "api.md").read_text()


def the_rows(heading: str, column: int = 0) -> list[str]:
    section = API.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [row[column].strip("| ") for row in rows[1:]]


def test_every_path_is_documented() -> None:
    reading = {path for path, operations in document()["paths"].items() if "get" in operations}
    writing = {
        path.removeprefix("/api/v1/") for path, operations in document()["paths"].items() if "post" in operations
    }
    assert {row.strip("`") for row in the_rows("Reading")} == reading
    assert {row.strip("`") for row in the_rows("Changing something")} == writing


def test_every_key_of_a_body_is_documented() -> None:
    for path, operations in document()["paths"].items():
        if "post" in operations:
            ref = operations["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            schema = document()["components"]["schemas"][ref.rpartition("/")[2]]
            told = the_rows("Changing something", 2)[
                [row.strip("`") for row in the_rows("Changing something")].index(path.removeprefix("/api/v1/"))
            ]
            for key in schema["properties"].keys() - {"proxy"}:
                assert f"`{key}`" in told


def test_every_status_is_documented() -> None:
    statuses = {
        status
        for operations in document()["paths"].values()
        for operation in operations.values()
        for status in operation["responses"]
    }
    assert set(the_rows("Errors")) == statuses


def test_the_numbers_are_those_of_the_code() -> None:
    text = API.replace("\n  ", " ")
    assert f"After {HEARTBEAT:g} s without an event" in text
    assert f"reads nothing for {WRITE_TIMEOUT:g} s is disconnected" in text
    assert f"Up to {MAX_SUBSCRIBERS} clients may subscribe" in text


def test_every_sentence_about_a_certificate_in_the_documentation_is_a_true_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sentences = re.findall(r"\| `(web\.tls[^`]*: [^`]*)` \|", (DOCS / "configuration.md").read_text())
    assert len(sentences) == 2
    monkeypatch.chdir(tmp_path)
    told = []
    for content in (None, "hello"):
        if content is not None:
            Path("web.pem").write_text(content)
        with pytest.raises(ConfigurationError) as caught:
            tls_context(Path("web.pem"), None)
        told.append(str(caught.value).replace("web.pem", "/etc/dynsrv/web.pem"))
    assert told == sentences
