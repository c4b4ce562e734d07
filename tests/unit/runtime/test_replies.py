from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.runtime import Command, Ok, RuntimeApiError, commands, errors
from dynsrv.runtime.replies import REFUSALS
from tests.fakes.haproxy import FakeBackend, FakeHAProxy, FakeServer

ADD = commands.add_server("be_app", "a", "10.0.0.1", 80, id=7, weight=1)
DELETE = commands.delete_server("be_app", "a")
ENABLE = commands.enable_server("be_app", "a")
WAIT = commands.wait_removable("be_app", "a", seconds=1)
VERSIONS = ("2.6.12-1", "3.0.11-1", "3.2.26-1", "3.4.7-1")

SENTENCES = [
    (ADD, "Permission denied", errors.PermissionDenied),
    (ADD, "Unknown command. Please enter one of the following commands only :", errors.CommandUnsupported),
    (ADD, "Unknown command, but maybe one of the following ones is a better match:", errors.CommandUnsupported),
    (WAIT, "Unknown command: 'wait', but maybe one of the following ones is a", errors.CommandUnsupported),
    (ADD, "This command is restricted to experimental mode only.", errors.CommandUnsupported),
    (ADD, "Backend must use a dynamic load balancing to support dynamic servers.", errors.BackendUnsupported),
    (
        ADD,
        "Backend does not support dynamic servers : backend 'B' uses a non dynamic load balancing method.",
        errors.BackendUnsupported,
    ),
    (ADD, "Backend does not support dynamic servers : backend 'B' uses mode log.", errors.BackendUnsupported),
    (ADD, " Dynamic servers cannot be used with log backends.", errors.BackendUnsupported),
    (ADD, "No such backend.", errors.NoSuchBackend),
    (DELETE, "No such backend.", errors.NoSuchBackend),
    (commands.servers_state("be_app"), "Can't find backend.", errors.NoSuchBackend),
    (commands.backend_stat("be_app"), "No such proxy.", errors.NoSuchBackend),
    (DELETE, "No such server.", errors.NoSuchServer),
    (ENABLE, "No such server.", errors.NoSuchServer),
    (WAIT, "Failed. No such server.", errors.NoSuchServer),
    (WAIT, "Failed. No such backend.", errors.NoSuchBackend),
    (ADD, "Already exists a server with the same name in backend.", errors.NameTaken),
    (ADD, "'id' : custom id 1 already used at /etc/haproxy/haproxy.cfg:16 ('server s1').", errors.IdTaken),
    (ADD, "'id' : custom id 70000 already used at (null):0 ('server n1').", errors.IdTaken),
    (DELETE, "Only servers in maintenance mode can be deleted.", errors.NotInMaintenance),
    (WAIT, "Failed. Only servers in maintenance mode can be deleted.", errors.NotInMaintenance),
    (DELETE, "Server still has connections attached to it, cannot remove it.", errors.StillInUse),
    (WAIT, "Wait delay expired.", errors.StillInUse),
    (
        WAIT,
        "Wait delay expired. Server still has connections attached to it, cannot remove it.",
        errors.StillInUse,
    ),
    (
        DELETE,
        "This server cannot be removed at runtime due to other configuration elements pointing to it.",
        errors.Referenced,
    ),
    (ENABLE, "Proxy is disabled.", errors.ProxyDisabled),
    (ADD, "Require 'backend/server'.", errors.BadArgument),
    (ADD, "unknown keyword 'foo'.", errors.BadArgument),
    (ADD, "unknown keyword 'chec'; did you mean 'check' maybe ?", errors.BadArgument),
    (ADD, "'resolvers' option is not accepted for dynamic server", errors.BadArgument),
    (ADD, "character '@' is not permitted in server name 'x@y'.", errors.BadArgument),
    (ADD, "'server' expects <name> and <addr>[:<port>] as arguments.", errors.BadArgument),
    (ADD, "invalid port '70000'", errors.BadArgument),
    (ADD, "port range not permitted here in '127.0.0.1:80-90'", errors.BadArgument),
    (ADD, "invalid character 'h' in port number 'http' in '127.0.0.1:http'\n", errors.BadArgument),
    (ADD, "'id' : custom id has to be > 0.", errors.BadArgument),
    (ADD, "'id' : custom id has to be between 1 and 4294967295..", errors.BadArgument),
    (ADD, "'id' : expects an integer argument.", errors.BadArgument),
    (ADD, "weight of server x is not within 0 and 256 (257)..", errors.BadArgument),
    (commands.set_weight("b", "s", 1), "Absolute weight can only be between 0 and 256 inclusive.", errors.BadArgument),
    (ADD, "verify is enabled by default but no CA file specified. If you're running on a LAN", errors.BadArgument),
    (ADD, "'ca-file' : unable to load /nope.", errors.BadArgument),
    (ADD, "unable to stat SSL certificate '/nope'.", errors.BadArgument),
    (ADD, "unable to find required server 'nope' for tracking.", errors.BadArgument),
    (ADD, "unable to use t/s1 for tracking as it does not have any check nor agent enabled.", errors.BadArgument),
    (ADD, "unable to enable checks and tracking at the same time!", errors.BadArgument),
    (ADD, "'proto' :  unknown MUX protocol 'bogus'.", errors.BadArgument),
    (ADD, "MUX protocol is not usable for server.", errors.BadArgument),
    (ADD, "unsupported transport for server address in 'http' backend.", errors.BadArgument),
    (ADD, "server x does not have agent port. Agent check has been disabled.", errors.BadArgument),
    (ADD, "'inter' expects a delay as argument..", errors.BadArgument),
    (ADD, "'sni' : missing sni expression.", errors.BadArgument),
    (ADD, "'rise' has to be > 0..", errors.BadArgument),
    (ADD, "error-limit has to be > 0..", errors.BadArgument),
    (ADD, "'ws' has to be 'auto', 'h1' or 'h2'.", errors.BadArgument),
    (ADD, "unexpected character 'a' in 'agent-inter' argument of server x..", errors.BadArgument),
    (ADD, "'verify' : unknown verify method 'foo', only 'none' and 'required' are supported.", errors.BadArgument),
    (ADD, "'foo' : unknown ssl/tls version.", errors.BadArgument),
    (ADD, "'inter 5' in server 'x' is suspiciously small for a value in milliseconds.", errors.BadArgument),
    (
        commands.enable_health("b", "s"),
        "Health check was not configured on this server, cannot enable.",
        errors.BadArgument,
    ),
    (commands.enable_health("b", "s"), "health checks are not enabled on this server", errors.BadArgument),
    (commands.enable_agent("b", "s"), "Agent was not configured on this server, cannot enable.", errors.BadArgument),
    (ENABLE, "agent checks are not enabled on this server", errors.BadArgument),
    (
        commands.set_state("b", "s", commands.State.MAINT),
        "'set server <srv> state' expects 'ready', 'drain' and 'maint'.",
        errors.BadArgument,
    ),
    (ADD, "Too many arguments. Commands must have at most 64 arguments.", errors.BadArgument),
    (WAIT, "Invalid duration.", errors.BadArgument),
    (WAIT, "Missing server name (<backend>/<server>).", errors.BadArgument),
]


@pytest.mark.parametrize(("command", "sentence", "refusal"), SENTENCES, ids=[text[:50] for _, text, _ in SENTENCES])
def test_every_sentence_of_haproxy_s_makes_one_class_of_refusal(
    command: Command[object], sentence: str, refusal: type[errors.Refused]
) -> None:
    reply = command.classify(sentence)
    assert type(reply) is refusal
    assert reply.sentence == sentence
    assert reply.command == command.line
    assert str(reply) == f"`{command.line}`: {' '.join(sentence.split())}"


def test_every_row_of_the_table_is_for_a_sentence_that_was_measured() -> None:
    unused = [part for part, _ in REFUSALS if not any(part in sentence for _, sentence, _ in SENTENCES)]
    assert unused == []


@pytest.mark.parametrize("version", VERSIONS)
def test_success_is_the_same_in_all_versions(version: str) -> None:
    haproxy = FakeHAProxy(version)
    story = [
        ADD,
        commands.set_weight("be_app", "a", 5),
        ENABLE,
        commands.set_state("be_app", "a", commands.State.DRAIN),
        commands.set_state("be_app", "a", commands.State.MAINT),
        commands.shutdown_sessions("be_app", "a"),
        DELETE,
    ]
    assert [command.classify(haproxy.answer(command.line)) for command in story] == [Ok(None)] * len(story)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (commands.add_server("be_app", "s1", "10.0.0.1", 80, id=7, weight=1), errors.NameTaken),
        (commands.add_server("be_app", "a", "10.0.0.1", 80, id=1, weight=1), errors.IdTaken),
        (commands.add_server("nope", "a", "10.0.0.1", 80, id=7, weight=1), errors.NoSuchBackend),
        (commands.add_server("static", "a", "10.0.0.1", 80, id=7, weight=1), errors.BackendUnsupported),
        (commands.add_server("logs", "a", "10.0.0.1", 80, id=7, weight=1), errors.BackendUnsupported),
        (
            commands.add_server("be_app", "a", "10.0.0.1", 80, id=7, weight=1, keywords=["resolvers", "x"]),
            errors.BadArgument,
        ),
        (commands.delete_server("nope", "a"), errors.NoSuchBackend),
        (DELETE, errors.NoSuchServer),
        (commands.delete_server("be_app", "s1"), errors.NotInMaintenance),
        (commands.delete_server("be_app", "busy"), errors.StillInUse),
        (commands.delete_server("be_app", "referenced"), errors.Referenced),
        (ENABLE, errors.NoSuchServer),
        (commands.enable_health("be_app", "s1"), errors.BadArgument),
        (commands.servers_state("nope"), errors.NoSuchBackend),
        (commands.backend_stat("nope"), errors.NoSuchBackend),
    ],
    ids=lambda value: value.line if isinstance(value, Command) else "",
)
def test_a_refusal_is_the_same_in_all_versions(
    version: str, command: Command[object], refusal: type[errors.Refused]
) -> None:
    servers = [FakeServer("s1"), FakeServer("busy", admin=1, sessions=1), FakeServer("referenced", referenced=True)]
    backends = [
        FakeBackend("be_app", servers),
        FakeBackend("static", algorithm="static-rr"),
        FakeBackend("logs", mode="log"),
    ]
    haproxy = FakeHAProxy(version, backends=backends)
    assert type(command.classify(haproxy.answer(command.line))) is refusal


def test_warnings_before_the_success_do_not_hide_it() -> None:
    assert ADD.classify("Ignoring cookie as HTTP mode is disabled.\nNew server registered.") == Ok(None)


def test_a_sentence_that_nobody_knows_is_an_unknown_outcome_and_no_refusal() -> None:
    reply = ADD.classify("Server will be registered\ntomorrow.")
    assert isinstance(reply, errors.UnknownReply)
    assert isinstance(reply, errors.OutcomeUnknown)
    assert not isinstance(reply, errors.Refused)
    assert str(reply) == f"`{ADD.line}`: Server will be registered tomorrow."


def test_silence_is_no_success_of_a_command_that_has_a_sentence_for_it() -> None:
    reply = DELETE.classify("")
    assert isinstance(reply, errors.UnknownReply)
    assert str(reply).endswith(": (an empty reply)")


def test_anything_but_silence_is_no_success_of_a_command_that_says_nothing() -> None:
    assert isinstance(ENABLE.classify("Server enabled."), errors.UnknownReply)


def test_a_long_reply_is_shown_in_part_and_kept_whole() -> None:
    reply = ENABLE.classify("x" * 10_000)
    assert isinstance(reply, errors.UnknownReply)
    assert len(str(reply)) < 600
    assert len(reply.sentence) == 10_000


@pytest.mark.parametrize("sentence", ["expects <name> and <addr>[:<port>]", "a server with the same name in backend"])
def test_a_complaint_of_the_address_says_that_the_backend_takes_servers(sentence: str) -> None:
    assert commands.probe_backend("be_app").classify(sentence) == Ok(None)


@given(text=st.text(max_size=200))
def test_no_text_at_all_makes_a_reply_fail_to_be_classified(text: str) -> None:
    for command in (
        ADD,
        DELETE,
        ENABLE,
        WAIT,
        commands.info(),
        commands.servers_state("b"),
        commands.servers_stat(9),
    ):
        assert isinstance(command.classify(text), Ok | errors.Refused | errors.UnknownReply)


def test_every_error_has_one_root() -> None:
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)]
    assert all(issubclass(one, RuntimeApiError) for one in classes)
