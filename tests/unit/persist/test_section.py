from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dynsrv.persist.section import Configuration, OtherServers, SectionError

MARKED = b"""\
global
    stats socket /run/haproxy/admin.sock level admin

defaults
    mode http

backend be_other
    server s1 10.0.0.9:80
    # dynsrv begin
    # dynsrv end

backend be_app
\tbalance roundrobin
\t# dynsrv begin
\tserver old 10.0.0.1:80 id 70000 weight 100
\t# dynsrv end
\tserver backup "10.0.0.2:80" backup id 7 # the last

listen stats
    bind :9000
"""


def problem_of(content: bytes, backend: str = "be_app") -> SectionError:
    with pytest.raises(SectionError) as caught:
        Configuration(content).with_servers({backend: []})
    return caught.value


def test_what_is_between_the_marks_is_replaced_and_every_other_byte_is_kept() -> None:
    result = Configuration(MARKED).with_servers({"be_app": ["server a 10.0.0.3:80", "server b 10.0.0.4:80"]})
    assert result == MARKED.replace(
        b"\tserver old 10.0.0.1:80 id 70000 weight 100\n", b"\tserver a 10.0.0.3:80\n\tserver b 10.0.0.4:80\n"
    )


def test_several_backends_of_one_file_are_written_at_once() -> None:
    result = Configuration(MARKED).with_servers({"be_app": [], "be_other": ["server a 10.0.0.3:80"]})
    assert Configuration(result).servers("be_app") == []
    assert Configuration(result).servers("be_other") == ["server a 10.0.0.3:80"]
    assert Configuration(result).with_servers({"be_app": ["server old 10.0.0.1:80 id 70000 weight 100"]}) == (
        Configuration(MARKED).with_servers({"be_other": ["server a 10.0.0.3:80"]})
    )


def test_the_lines_between_the_marks_are_read_without_their_indentation() -> None:
    assert Configuration(MARKED).servers("be_app") == ["server old 10.0.0.1:80 id 70000 weight 100"]


def test_the_servers_outside_of_the_marks_are_known_by_name_address_and_id() -> None:
    others = Configuration(MARKED).others("be_app")
    assert others == OtherServers(frozenset({"backup"}), frozenset({"10.0.0.2:80"}), frozenset({7}))


@pytest.mark.parametrize(
    "head", [b"listen be_app", b'backend "be_app"', b"  backend be_app from d # x", b"backend\tbe_app"]
)
def test_a_section_is_found_however_its_head_is_written(head: bytes) -> None:
    content = MARKED.replace(b"backend be_app", head)
    assert Configuration(content).servers("be_app") == ["server old 10.0.0.1:80 id 70000 weight 100"]


def test_line_ends_of_windows_are_kept() -> None:
    content = MARKED.replace(b"\n", b"\r\n")
    result = Configuration(content).with_servers({"be_app": ["server a 10.0.0.3:80"]})
    assert b"\r\n\tserver a 10.0.0.3:80\r\n\t# dynsrv end\r\n" in result
    assert b"\n" not in result.replace(b"\r\n", b"")


def test_a_mark_that_ends_the_file_without_a_line_end_is_kept_as_it_is() -> None:
    content = b"backend be_app\n# dynsrv begin\n# dynsrv end"
    assert Configuration(content).with_servers({"be_app": ["server a 10.0.0.3:80"]}) == (
        b"backend be_app\n# dynsrv begin\nserver a 10.0.0.3:80\n# dynsrv end"
    )


def test_a_comment_that_only_speaks_of_the_marks_is_none() -> None:
    content = MARKED.replace(
        b"\tbalance", b"\t# between # dynsrv begin and # dynsrv end\n\tbalance # dynsrv begin\n\tx"
    )
    assert Configuration(content).servers("be_app") == ["server old 10.0.0.1:80 id 70000 weight 100"]


def test_a_backend_without_a_section_is_refused() -> None:
    problem = problem_of(MARKED, "be_none")
    assert problem.reason == "section"
    assert str(problem) == "it has no section `backend be_none` or `listen be_none`"


def test_a_frontend_of_the_backends_name_is_not_its_section() -> None:
    assert problem_of(MARKED.replace(b"backend be_app", b"frontend be_app")).reason == "section"


def test_two_sections_of_one_name_are_refused_with_their_lines() -> None:
    problem = problem_of(MARKED + b"backend be_app\n")
    assert problem.reason == "section"
    assert str(problem) == "be_app has 2 sections, on lines 12 and 21; leave one"


def test_a_section_without_marks_is_refused_with_the_command_that_adds_them() -> None:
    problem = problem_of(MARKED.replace(b"\t# dynsrv begin\n", b"").replace(b"\t# dynsrv end\n", b""))
    assert problem.reason == "marks"
    assert "write them, or have `dynsrv render --mark be_app` do it" in str(problem)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"\t# dynsrv begin\n", "begin on line 14"),
        (b"\t# dynsrv end\n", "end on line 14"),
        (b"\t# dynsrv end\n\t# dynsrv begin\n", "end on line 14, begin on line 15"),
        (
            b"\t# dynsrv begin\n\t# dynsrv end\n\t# dynsrv begin\n",
            "begin on line 14, end on line 15, begin on line 16",
        ),
        # what the end would be of is another section's: nothing of that may be lost
        (b"\t# dynsrv begin\nbackend be_between\n\t# dynsrv end\n", "begin on line 14"),
    ],
)
def test_marks_that_are_not_one_pair_are_refused_with_their_lines(text: bytes, told: str) -> None:
    whole = b"\t# dynsrv begin\n\tserver old 10.0.0.1:80 id 70000 weight 100\n\t# dynsrv end\n"
    problem = problem_of(MARKED.replace(whole, text))
    assert problem.reason == "marks"
    assert f"these marks: {told}; leave one" in str(problem)


def test_marks_are_added_behind_the_last_line_of_the_section() -> None:
    content = b"backend be_app\n    balance roundrobin\n\n    # of the next\nbackend be_next\n"
    marked = Configuration(content).with_marks("be_app")
    assert marked == (
        b"backend be_app\n    balance roundrobin\n    # dynsrv begin\n    # dynsrv end\n"
        b"\n    # of the next\nbackend be_next\n"
    )
    assert Configuration(marked).with_marks("be_app") == marked
    assert (
        Configuration(marked).with_marks("be_next").endswith(b"backend be_next\n    # dynsrv begin\n    # dynsrv end\n")
    )


def test_marks_are_added_to_a_file_whose_last_line_has_no_end() -> None:
    assert Configuration(b"backend be_app\n  mode tcp").with_marks("be_app") == (
        b"backend be_app\n  mode tcp\n  # dynsrv begin\n  # dynsrv end\n"
    )


def test_marks_that_are_not_one_pair_are_not_added_to() -> None:
    with pytest.raises(SectionError):
        Configuration(b"backend be_app\n# dynsrv begin\n").with_marks("be_app")


def test_what_applies_to_a_section_is_found_in_it_and_in_its_defaults() -> None:
    content = b"""\
defaults base
    default-server inter 1s
defaults first from base
    default-server check # all
defaults last
    default-server fall 2
backend be_app
    default-server rise 2 slowstart 1s
    # default-server maxconn 1
backend be_named from first
"""
    configuration = Configuration(content)
    assert [(one.line, one.words) for one in configuration.directives("be_app", "default-server")] == [
        (6, ("default-server", "fall", "2")),
        (8, ("default-server", "rise", "2", "slowstart", "1s")),
    ]
    assert [one.line for one in configuration.directives("be_named", "default-server")] == [2, 4]


LINES = st.sampled_from(
    [
        b"\n",
        b"# comment\n",
        b"    # dynsrv begin\n",
        b"\t# dynsrv end\n",
        b"#dynsrv begin\r\n",
        b"global\n",
        b"defaults\r\n",
        b"defaults d from e\n",
        b"frontend be_app\n",
        b"backend be_app\n",
        b"backend be_other # x\n",
        b"listen be_third\n",
        b"    server s1 10.0.0.1:80 id 5 check\n",
        b"    server\n",
        b'  "balance" roundrobin\n',
        b"\xff\xfe\n",
        b"\x00backend be_app\n",
    ]
)
CONTENT = st.one_of(
    st.lists(LINES, max_size=25).map(b"".join),
    st.binary(max_size=200),
    st.lists(LINES, max_size=9).map(b"".join).map(lambda t: t[:-1]),
)
SERVERS = st.lists(st.from_regex(r"server [a-z]{1,8} 10\.0\.0\.[0-9]:80", fullmatch=True), max_size=4, unique=True)


def split_at_marks(content: bytes) -> tuple[bytes, bytes] | None:
    """Return what is before and behind the lines of be_app, as a slow reader finds it; None: there is no one place."""
    heads = (b"global", b"defaults", b"frontend", b"backend", b"listen")
    section, sections, begins, ends, offset = None, 0, [], [], 0
    for line in content.split(b"\n"):
        words = line.replace(b'"', b"").split()
        if words and words[0] in heads:
            section = words[1:2] == [b"be_app"] and words[0] in {b"backend", b"listen"}
            sections += section
        if section and line.strip(b" \t\r") in {b"# dynsrv begin", b"#dynsrv begin"}:
            begins.append(offset + len(line) + 1)
        if section and line.strip(b" \t\r") == b"# dynsrv end":
            ends.append(offset)
        offset += len(line) + 1
    if sections == 1 and len(begins) == len(ends) == 1 and begins[0] <= ends[0]:
        return content[: begins[0]], content[ends[0] :]
    return None


@given(CONTENT, SERVERS)
def test_nothing_but_what_is_between_the_marks_ever_changes(content: bytes, servers: list[str]) -> None:
    assume(b"\x0b" not in content and b"\x0c" not in content)
    found = split_at_marks(content)
    try:
        result = Configuration(content).with_servers({"be_app": servers})
    except SectionError:
        assert found is None
        return
    assert found is not None
    before, behind = found
    assert result.startswith(before)
    assert result.endswith(behind)
    between = result[len(before) : len(result) - len(behind)]
    assert [line.strip().decode() for line in between.splitlines()] == servers
    assert Configuration(result).servers("be_app") == servers
    assert Configuration(result).with_servers({"be_app": servers}) == result  # nothing is written twice


@given(CONTENT)
def test_marks_are_added_without_touching_a_byte(content: bytes) -> None:
    try:
        marked = Configuration(content).with_marks("be_app")
    except SectionError:
        return
    if marked == content:
        return
    assert Configuration(marked).servers("be_app") == []
    # what was added is in one place: it may also have ended the last line
    added = len(marked) - len(content)
    at = next(index for index in range(len(content) + 1) if marked[:index] + marked[index + added :] == content)
    assert marked[at : at + added].split() == [b"#", b"dynsrv", b"begin", b"#", b"dynsrv", b"end"]
