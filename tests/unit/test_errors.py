"""Whatever an error has in it can be printed on a terminal, written as UTF-8, and shows no token."""

from __future__ import annotations

import pytest

from dynsrv.documents import parse
from dynsrv.documents.messages import listed
from dynsrv.errors import ConfigurationError, SourceError
from dynsrv.sources.servers_document import snapshot_of


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\udc80", "\\udc80"),
        ("a\rb\x07", "a\\rb\\x07"),
        ("\u202eevil", "\\u202eevil"),
        ("two\nlines", "two\nlines"),
        ("größe …", "größe …"),
        ("http://c:8500/?token=hunter2&x=1", "http://c:8500/?token=…&x=1"),
        ("http://c:8500/?x=1&TOKEN=hunter2 (301)", "http://c:8500/?x=1&TOKEN=… (301)"),
    ],
)
def test_an_error_is_printable(raw: str, shown: str) -> None:
    error = SourceError("invalid", raw)
    assert str(error) == shown
    assert str(error).encode()
    assert str(ConfigurationError("s.yaml", raw)) == f"s.yaml: {shown}"


@pytest.mark.parametrize("key", ["\\ud800", "\\u001b[2J"])
def test_odd_keys_of_a_servers_file_are_escaped(key: str) -> None:
    for text in (
        f'{{"servers": {{"{key}": []}}}}',
        f'{{"servers": [{{"{key}": 1}}]}}',
        f'{{"servers": [], "{key}": 1}}',
    ):
        with pytest.raises(ConfigurationError) as caught:
            snapshot_of(parse(text.encode(), name="s.json"), backend="be_app")
        assert all(line.isprintable() for line in str(caught.value).splitlines())
        assert str(caught.value).encode()


def test_a_list_in_a_message_is_bounded() -> None:
    assert listed(f"be_{number}" for number in range(3)) == "be_0, be_1, be_2"
    assert listed(f"be_{number}" for number in range(1000)).endswith("be_9 and 990 more")
    assert len(listed(["x" * 10_000] * 1000)) < 1000
    servers = ", ".join(f'"be_{number}": []' for number in range(1000))
    with pytest.raises(ConfigurationError) as caught:
        snapshot_of(parse(f'{{"servers": {{{servers}}}}}'.encode(), name="s.json"), backend="be_app")
    assert len(str(caught.value)) < 400
