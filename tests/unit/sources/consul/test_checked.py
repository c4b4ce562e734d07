"""What does the status of an answer mean? Another agent may do better, or the configuration is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.errors import SourceError
from dynsrv.sources.consul.agents import checked
from dynsrv.sources.consul.source import ConsulSource
from dynsrv.sources.consul.transport import AgentFailed, Response

AGENT = "http://127.0.0.1:8500"
FILTER = b'Failed to create boolean expression evaluator: 1:3 (2): no match found, expected: "!=", "=="'
NAMESPACE = b'Bad request: Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature'
RIGHTS = "; the token does not allow this"

# Each: a status and a body, those of Consul 1.8 where it says so; the class, the reason, and the sentence.
ERRORS = [
    (400, NAMESPACE, SourceError, "request", f"rejected the request (400): {NAMESPACE.decode()}"),
    (401, b"ACL support disabled", SourceError, "acl", f"denied access: ACL support disabled{RIGHTS}"),
    (403, b"ACL not found", SourceError, "acl", "denied access: ACL not found; Consul does not know the token"),
    (403, b"Permission denied", SourceError, "acl", f"denied access: Permission denied{RIGHTS}"),
    (404, b"404 page not found\n", SourceError, "request", "rejected the request (404): 404 page not found"),
    (405, b"method GET not allowed", SourceError, "request", "rejected the request (405): method GET not allowed"),
    (
        429,
        b"Your IP is issuing too many concurrent connections",
        AgentFailed,
        "overloaded",
        "receives too many requests",
    ),
    (500, b"No path to datacenter", SourceError, "request", "rejected the request: No path to datacenter"),
    (500, FILTER, SourceError, "request", f"rejected the request: {FILTER.decode()}"),
    (500, b"No cluster leader", AgentFailed, "leader", "cannot reach the leader of the Consul servers (500)"),
    (
        500,
        b"rpc error getting client: failed to get conn: rpc error: Raft leader not found in server lookup mapping",
        AgentFailed,
        "leader",
        "cannot reach the leader",
    ),
    (500, b"No known Consul servers", AgentFailed, "leader", "cannot reach the leader"),
    (500, b"rpc error making call: EOF", AgentFailed, "leader", "cannot reach the leader"),
    (500, b"", AgentFailed, "server", "failed (500): no message"),
    (502, b"<html>\n<h1>Bad Gateway</h1>", AgentFailed, "server", "failed (502): <html>"),
    (503, b"no leader here", AgentFailed, "server", "failed (503): no leader here"),
    (504, b"  \r\n upstream timed out\r\n", AgentFailed, "server", "failed (504): upstream timed out"),
    (301, b"Moved", AgentFailed, "invalid", "redirects to https://login.example (301); is that Consul's"),
    (304, b"", AgentFailed, "invalid", "redirects to https://login.example (304); is that Consul's"),
    (204, b"", SourceError, "request", "rejected the request (204): no message"),
]


def the_error_of(status: int, body: bytes) -> SourceError:
    with pytest.raises(SourceError) as caught:
        checked(Response(status, body, location="https://login.example"), AGENT)
    return caught.value


def test_a_good_answer_is_taken_as_it_is() -> None:
    reply = Response(200, b"No cluster leader", index=5)
    assert checked(reply, AGENT) is reply


@pytest.mark.parametrize(("status", "body", "kind", "reason", "sentence"), ERRORS)
def test_a_status_says_whether_another_agent_may_do_better(
    *, status: int, body: bytes, kind: type[SourceError], reason: str, sentence: str
) -> None:
    error = the_error_of(status, body)
    assert (type(error), error.reason) == (kind, reason)
    assert str(error).startswith(f"{AGENT} {sentence}")


def test_every_reason_is_documented() -> None:
    documentation = (Path(__file__).parents[4] / "docs" / "consul.md").read_text()
    section = documentation.partition("## When Consul fails")[2].partition("\n## ")[0]
    reasons = set(re.findall(r"^\| `(\w+)` \| ", section.partition("|---|")[2], flags=re.MULTILINE))
    promised = (ConsulSource.watch.__doc__ or "").partition("Its reason is ")[2].partition("\n\n")[0]
    assert reasons == set(re.findall(r"\w+", promised)) - {"or"}
    assert reasons >= {reason for _, _, _, reason, _ in ERRORS}


def test_of_what_consul_said_the_first_line_is_told_and_not_more_of_it_than_a_log_wants() -> None:
    assert str(the_error_of(502, b"one\ntwo")).endswith(": one")
    assert len(str(the_error_of(502, b"x" * 10_000_000))) < 400


@given(status=st.integers(201, 599), body=st.binary() | st.text().map(str.encode))
def test_whatever_the_body_is_the_error_can_be_printed_on_one_line(status: int, body: bytes) -> None:
    assert str(the_error_of(status, body)).isprintable()


@pytest.mark.parametrize("body", [b"\x1b[2Jgone", b"a\rb", "\u202eabc".encode(), b"\xff\xfe", b"a\0b", b"\x85"])
def test_no_control_character_gets_from_the_body_into_a_log(body: bytes) -> None:
    error = str(the_error_of(403, body))
    assert error.isprintable()
    assert error.startswith(f"{AGENT} denied access: ")
