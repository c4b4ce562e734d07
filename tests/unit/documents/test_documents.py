from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.documents import Document, KeyPath, parse
from dynsrv.errors import ConfigurationError

CORRECT = "correct the syntax, or write the file as a whole (to a new file, then rename)"

TREE = """\
# a comment
backends:
  - name: be_app
    server: {inter: 2s}

  - name: be_api
    server:
      fall: 3
"""


def a_document(text: str, *, name: str = "x.yaml") -> Document:
    return parse(text.encode(), name=name)


def the_error_of(text: str | bytes, *, name: str = "x.yaml") -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), name=name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: 1\nb: [x, 2]", {"a": 1, "b": ["x", 2]}),
        ("a: -7\nb: 1.5\nc: true\nd: null\ne: ~\nf:", {"a": -7, "b": 1.5, "c": True, "d": None, "e": None, "f": None}),
        ("a: '1'\nb: \"true\"\nc: !!str 5", {"a": "1", "b": "true", "c": "5"}),
        ("a: 30s\nb: 10.0.0.1\nc: -x\nd: 12:30", {"a": "30s", "b": "10.0.0.1", "c": "-x", "d": "12:30"}),
        ("1: x", {"1": "x"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("", None),
        ("# nothing but a comment", None),
        ("---\n", None),
        ('{"a": [1, "x", null]}', {"a": [1, "x", None]}),
        ("\n\t[\n\t1,\n\t2]", [1, 2]),
        ("[{address: 10.0.0.1, port: 80}]", [{"address": "10.0.0.1", "port": 80}]),
        ("\ufeffa: 1", {"a": 1}),
    ],
)
def test_a_document_is_yaml_or_json(text: str, data: object) -> None:
    assert a_document(text).data == data


@pytest.mark.parametrize("word", ["yes", "No", "on", "OFF", "y", "2024-01-01", "0x1F", "1_000", ".inf", "9" * 40])
def test_only_what_yaml_1_2_calls_a_number_or_a_boolean_is_one(word: str) -> None:
    assert a_document(f"name: {word}").data == {"name": word}


def test_a_number_with_a_leading_zero_is_decimal() -> None:
    assert a_document("port: 0080").data == {"port": 80}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=st.lists(JSON_VALUES, max_size=4) | st.dictionaries(st.text(), JSON_VALUES, max_size=4))
def test_what_json_wrote_is_read_back(value: Any) -> None:
    assert parse(json.dumps(value).encode(), name="x").data == value


def test_an_anchor_can_be_merged_and_what_stands_beside_it_wins() -> None:
    document = a_document("a: &a {inter: 2s, fall: 3}\nb: {<<: *a, fall: 5}\nc: {<<: [*a, {rise: 1}]}\nd: *a")
    assert document.data["b"] == {"inter": "2s", "fall": 5}
    assert document.data["c"] == {"inter": "2s", "fall": 3, "rise": 1}
    assert document.data["d"] == {"inter": "2s", "fall": 3}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: 1\nb: 2\na: 3", 'x.yaml:3: the key "a" is already on line 1; remove one of the two'),
        ('{"a": 1,\n "b": {"c": 1,\n "c": 2}}', 'x.yaml:3: the key "c" is already on line 2; remove one of the two'),
        ("a: 1\n---\nb: 2", "x.yaml:2: a second document begins here; keep one document in the file"),
        ("a: !env X", "x.yaml:1: the tag !env is not taken; write the plain value"),
        ("a: !!set {}", "x.yaml:1: the tag tag:yaml.org,2002:set is not taken; write the plain value"),
        ("a:\n\t- 1", "x.yaml:2: not valid YAML: a tab at the beginning of a line; indent with spaces"),
        ("a: @x", "x.yaml:1: not valid YAML: text that begins with @; put it in quotes"),
        ("a:\n  {b: ${B}}", "x.yaml:2: not valid YAML: inside of [ ] or { } a ${NAME} needs quotes"),
        ("a: b: c", f"x.yaml:1: not valid YAML: mapping values are not allowed in this context; {CORRECT}"),
        ("a: *b", "x.yaml:1: the alias *b has no anchor &b before it; add one"),
        ("a: &a [*a]", "x.yaml:1: the alias *a has no anchor &a before it; add one"),
        ("a: 1\n<<: 3", "x.yaml:2: << merges mappings, found 3; name the anchor of a mapping"),
        ("? [a]\n: 1", "x.yaml:1: a list, a mapping or an alias as a key; write the key as text"),
        ("a: 1\nb: \x07", "x.yaml:2: a control character; remove it"),
        (b"a: 1\nb: \xff", "x.yaml:2: not UTF-8 text; save the file as UTF-8"),
        ("[" * 100_000, "x.yaml:1: nested deeper than 100 levels; no file of dynsrv needs that"),
        ("- " * 101 + "x", "x.yaml:1: nested deeper than 100 levels; no file of dynsrv needs that"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_line(text: str | bytes, error: str) -> None:
    assert the_error_of(text) == error


@pytest.mark.parametrize("text", ["servers:\n  - {address: 10.0.0.1,\n", "[\n[1, 2", "a: 1\nb: 'x"])
def test_a_half_written_yaml_file_is_refused_as_one_that_ends_too_early(text: str) -> None:
    assert the_error_of(text) == f"x.yaml:2: not valid YAML: the file ends too early; {CORRECT}"


def test_a_half_written_json_file_is_refused_in_the_words_of_json() -> None:
    error = the_error_of('[\n{"targets": ["10.0.0.1:80"', name="x.json")
    assert error == f"x.json:2: not valid JSON: Expecting ',' delimiter; {CORRECT}"


@given(content=st.binary(max_size=200) | st.text(alphabet="[]{}:,&*!|>'\"%@`-? \n\tab<1", max_size=60).map(str.encode))
def test_any_bytes_give_a_document_or_an_error_of_one_line(content: bytes) -> None:
    problem = ""
    try:
        parse(content, name="x")
    except ConfigurationError as error:
        problem = str(error)
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 2),
        (("backends",), 2),
        (("backends", 0), 3),
        (("backends", 0, "name"), 3),
        (("backends", 0, "server", "inter"), 4),
        (("backends", 1, "server", "fall"), 8),
        (("backends", 1, "server", "missing"), 7),
        (("backends", 1, "missing", "deeper"), 6),
        (("backends", 7), 2),
        (("backends", 0, "name", "text has no keys"), 3),
        (("nothing",), 2),
    ],
)
def test_the_line_of_a_path_is_that_of_its_key_or_of_the_nearest_parent(path: KeyPath, line: int) -> None:
    assert a_document(TREE).line_of(path) == line


def test_json_has_no_lines() -> None:
    document = a_document('{"a":\n{"b": 1}}')
    assert document.line_of(("a", "b")) is None
    assert document.where(("a", "b")) == "x.yaml"


def test_a_key_of_a_merged_mapping_has_the_line_of_the_mapping_that_merges_it() -> None:
    assert a_document("a: &a {b: 1}\nc:\n  <<: *a\n").line_of(("c", "b")) == 2


def laughs(levels: int) -> str:
    """Return a document of a few hundred bytes whose aliases stand for nine to the power of *levels* texts."""
    lists = (f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, levels + 1))
    return "a0: &a0 text\n" + "".join(lists)


def test_aliases_that_stand_for_billions_of_values_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^x.yaml:6: the aliases up to here repeat \d+ values, too many"):
        a_document(laughs(12))


def test_merges_of_one_large_mapping_into_many_are_refused() -> None:
    large = ", ".join(f"k{number}: {number}" for number in range(1000))
    merges = "".join(f"- {{<<: *large, n: {number}}}\n" for number in range(5000))
    with pytest.raises(ConfigurationError, match="the aliases up to here repeat"):
        a_document(f"- &large {{{large}}}\n{merges}")


def test_defaults_can_be_merged_into_thousands_of_servers() -> None:
    defaults = "defaults: &defaults {weight: 1, maxconn: 10, state: ready, options: [check, inter 1s, fall 3]}\n"
    servers = "".join(f"- {{<<: *defaults, address: 10.0.0.1, port: {number}}}\n" for number in range(5000))
    document = a_document(f"{defaults}servers:\n{servers}")
    assert [server["port"] for server in document.data["servers"]] == list(range(5000))
    assert all(server["weight"] == 1 for server in document.data["servers"])
