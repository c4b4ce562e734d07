"""What docs/ says by hand about the web is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dynsrv.errors import ConfigurationError
from dynsrv.web.api import MAX_SUBSCRIBERS, WRITE_TIMEOUT
from dynsrv.web.event_stream import HEARTBEAT
from dynsrv.web.server import tls_context

DOCS = Path(__file__).parents[3] / "docs"
API = (DOCS / "api.md").read_text()


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
