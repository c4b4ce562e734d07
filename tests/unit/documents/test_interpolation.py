from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.documents import parse
from dynsrv.documents.interpolation import interpolate
from dynsrv.errors import ConfigurationError
from dynsrv.settings import load

ENVIRON = {"NAME": "lb1", "EMPTY": "", "TRICKY": "${NAME}"}


def interpolated(text: str) -> object:
    return interpolate(parse(text.encode(), name="x.yaml"), ENVIRON).data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${NAME}", "lb1"),
        ("a-${NAME}-${NAME}", "a-lb1-lb1"),
        ("x${EMPTY}", "x"),
        ("$NAME $ {NAME} $", "$NAME $ {NAME} $"),
        ("$${NAME}", "${NAME}"),
        ("$$${NAME}", "$${NAME}"),
        ("${TRICKY}", "${NAME}"),
    ],
)
def test_a_name_in_braces_is_taken_from_the_environment_once(text: str, value: str) -> None:
    assert interpolated(f"key: '{text}'") == {"key": value}


def test_only_text_values_are_interpolated_and_keys_stay() -> None:
    assert interpolated("'${NAME}': [1, true, null, {a: '${NAME}'}]") == {"${NAME}": [1, True, None, {"a": "lb1"}]}


def test_what_the_environment_brings_is_text_and_never_syntax() -> None:
    document = parse(b"a: ${X}", name="x.yaml")
    assert interpolate(document, {"X": "5\nb: 6"}).data == {"a": "5\nb: 6"}


def test_all_variables_that_are_not_set_are_told_with_line_and_path() -> None:
    with pytest.raises(ConfigurationError) as caught:
        interpolated("a:\n  - b: ${ONE}\n  - ${TWO}/${NAME}\nc: '${3}'\nd: ${open")
    assert str(caught.value).splitlines() == [
        "x.yaml: 4 problems",
        "x.yaml:2: a[0].b: the environment variable ONE is not set; set it",
        "x.yaml:3: a[1]: the environment variable TWO is not set; set it",
        'x.yaml:4: c: found "${3}", expected ${NAME}; write $${ for a plain ${',
        'x.yaml:5: d: found "${open", expected ${NAME}; write $${ for a plain ${',
    ]


def test_the_lines_stay_those_of_the_file() -> None:
    document = interpolate(parse(b"a: 1\nb:\n  c: ${NAME}", name="x.yaml"), ENVIRON)
    assert document.line_of(("b", "c")) == 3


@given(text=st.text())
def test_text_whose_braces_are_escaped_comes_back_as_it_was(text: str) -> None:
    document = parse(b"a: x", name="x.yaml")
    escaped = text.replace("${", "$${")
    document.data["a"] = escaped
    assert interpolate(document, {}).data == {"a": text}


@pytest.mark.parametrize("secret", ["hunter2-hunter2", 'a"b\\c d e f', "x" * 200, "tcp://u:geheim@h", "s3\ncret\n"])
@pytest.mark.parametrize("value", ["${PW}", "tcp://${PW}", "${PW}${PW}"])
@pytest.mark.parametrize("key", ["address", "master", "name"])
def test_no_message_shows_what_a_variable_stands_for(tmp_path: Path, secret: str, value: str, key: str) -> None:
    path = tmp_path / "dynsrv.yaml"
    source = "{name: be_app, source: {kind: file, path: s.yaml}, zone: 1}"
    path.write_text(
        f"proxies: [{{address: /run/a.sock, {key}: '{value}'}}]\nbackends: [{source}]\n".replace(
            "address: /run/a.sock, address", "address"
        )
    )
    with pytest.raises(ConfigurationError) as caught:
        load(path, {"PW": secret})
    for form in (secret, json.dumps(secret)[1:-1], secret[:40]):
        assert form not in str(caught.value)


def test_a_message_shows_the_text_of_the_file_instead(tmp_path: Path) -> None:
    path = tmp_path / "dynsrv.yaml"
    path.write_text("proxies: [{address: '${PW}'}]\nbackends: [{name: be_app, source: {kind: file, path: s.yaml}}]\n")
    with pytest.raises(ConfigurationError, match=r'proxies\[0\]\.address: found "\$\{PW\}", expected'):
        load(path, {"PW": "http://secret"})
