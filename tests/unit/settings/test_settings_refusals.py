"""Every way to get the configuration file wrong that dynsrv has a sentence for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dynsrv.errors import ConfigurationError
from dynsrv.settings import load

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "configuration.md"

SMALLEST = """\
proxies:
  - address: /run/haproxy/admin.sock
backends:
  - name: be_app
    source: {kind: file, path: servers.yaml}
    server:
      check: true
    drain: {timeout: 30s}
"""

SOCKET = "/run/haproxy/admin.sock"
SOURCE = "{kind: file, path: servers.yaml}"
CHECK = "check: true"
NAME = "name: be_app"
TOP = "proxies:"

A_DURATION = "expected a duration such as 500ms, 2s, 1m or 1h"
AN_ADDRESS = "expected unix:///path, a path, tcp://host:port or tcp+tls://host:port"
TCP = "expected a host and a port: tcp://127.0.0.1:9999 or tcp://[::1]:9999"
LISTEN = "expected an address and a port: 127.0.0.1:9105, [::1]:9105 or 0.0.0.0:9105"

# Each: what of SMALLEST is replaced, by what, and the line that comes of it.
REFUSALS = [
    ("server:", "servr:", "6: backends[0].servr: unknown key; did you mean server?"),
    (
        "server:",
        "zone:",
        (
            "6: backends[0].zone: unknown key; the keys here are admit, adopt, allowed_networks, denied_networks,"
            " drain, limits, name, on_removed, options_from_source, prefix, proxies, server, source"
        ),
    ),
    (CHECK, "inter: 5", "7: backends[0].server.inter: found 5, expected a duration with its unit: write 5s or 5ms"),
    (CHECK, "inter: fast", f'7: backends[0].server.inter: found "fast", {A_DURATION}'),
    (CHECK, "inter: 0ms", '7: backends[0].server.inter: found "0ms", expected a duration from 1ms to 576h'),
    (CHECK, "slowstart: 600h", '7: backends[0].server.slowstart: found "600h", expected a duration from 1ms to 576h'),
    (CHECK, "weight: 300", "7: backends[0].server.weight: found 300, expected a whole number from 0 to 256"),
    (CHECK, "weight: true", "7: backends[0].server.weight: found true, expected a whole number from 0 to 256"),
    (CHECK, "maxconn: -1", "7: backends[0].server.maxconn: found -1, expected a whole number from 0 to 2147483647"),
    (CHECK, "fall: 0", "7: backends[0].server.fall: found 0, expected a whole number from 1 to 2147483647"),
    (CHECK, "check: yes", '7: backends[0].server.check: found "yes", expected true or false'),
    (CHECK, "check: 1", "7: backends[0].server.check: found 1, expected true or false"),
    (CHECK, "check: maybe", '7: backends[0].server.check: found "maybe", expected true or false'),
    (CHECK, "options: backup", '7: backends[0].server.options: found "backup", expected a list'),
    (
        CHECK,
        "options: [backup; shutdown]",
        (
            '7: backends[0].server.options[0]: found "backup; shutdown", '
            'but ";" could end the command or begin another; remove it'
        ),
    ),
    (
        CHECK,
        "options: [weight 10]",
        (
            '7: backends[0].server.options[0]: found "weight 10", '
            "but weight does not belong here: use the key server.weight"
        ),
    ),
    (
        CHECK,
        "options: [init-addr none]",
        (
            '7: backends[0].server.options[0]: found "init-addr none", '
            "but HAProxy does not accept init-addr for servers added at runtime; remove it"
        ),
    ),
    (
        CHECK,
        "options: [backup, backup]",
        '7: backends[0].server.options[1]: found "backup", but options[0] gives backup already; remove one of the two',
    ),
    (
        CHECK,
        "check: true\n      options: [track b/s]",
        (
            '8: backends[0].server.options[0]: found "track b/s", '
            "but what tracks has no check of its own; write check: false"
        ),
    ),
    (
        CHECK,
        "ssl: {}",
        (
            "7: backends[0].server.ssl.ca_file: this key is missing: "
            "verify: required needs it; add it, or write verify: none"
        ),
    ),
    (CHECK, "ssl: {verify: maybe}", '7: backends[0].server.ssl.verify: found "maybe", expected required or none'),
    (
        SOCKET,
        "http://lb1:9999",
        (
            '2: proxies[0].address: found "http://lb1:9999", '
            "expected unix:///path, tcp://host:port or tcp+tls://host:port: the stats socket, which speaks no HTTP"
        ),
    ),
    (SOCKET, "tcp://lb1", f'2: proxies[0].address: found "tcp://lb1", {TCP}'),
    (SOCKET, "tcp://lb1:70000", f'2: proxies[0].address: found "tcp://lb1:70000", {TCP}'),
    (
        SOCKET,
        "lb1:9999",
        '2: proxies[0].address: found "lb1:9999", expected a path or tcp://host:port; write tcp://lb1:9999',
    ),
    (
        SOCKET,
        "unix@/run/x",
        (
            '2: proxies[0].address: found "unix@/run/x", expected unix:///path, a path, or tcp://host:port, '
            "without HAProxy's own prefixes"
        ),
    ),
    (SOCKET, "5", f"2: proxies[0].address: found 5, {AN_ADDRESS}"),
    (
        "kind: file",
        "kind: zoo",
        '5: backends[0].source.kind: found "zoo", expected one of the kinds of source: file, consul, ec2',
    ),
    ("kind: file, ", "", "5: backends[0].source.kind: this key is missing; add it"),
    (", path: servers.yaml", "", "5: backends[0].source.path: this key is missing; add it"),
    (SOURCE, "file", '5: backends[0].source: found "file", expected a mapping of keys'),
    (NAME, "name: be app", '4: backends[0].name: found "be app", expected a name of letters, digits and _ : . - only'),
    (NAME, "name: 5", "4: backends[0].name: found 5, expected text; put it in quotes"),
    (
        NAME,
        "name: be_app\n    proxies: [lb2]",
        f'5: backends[0].proxies[0]: found "lb2", expected the name of a proxy: {SOCKET}',
    ),
    (
        NAME,
        "name: be_app\n    proxies: []",
        "5: backends[0].proxies: found an empty list, expected 1 or more items",
    ),
    (
        NAME,
        "name: be_app\n    prefix: ''",
        '5: backends[0].prefix: found "", expected 1 to 100 letters, digits and _ : . - only',
    ),
    (
        NAME,
        "name: be_app\n    admit: later",
        '5: backends[0].admit: found "later", expected after-check or immediately',
    ),
    (
        NAME,
        "name: be_app\n    admit: at-once",
        '5: backends[0].admit: found "at-once", which is now called immediately; rename it',
    ),
    (NAME, "name: be_app\n    name: b", '5: the key "name" is already on line 4; remove one of the two'),
    ("30s}", "30}", "8: backends[0].drain.timeout: found 30, expected a duration with its unit: write 30s or 30ms"),
    ("30s}", "30s, on_timeout: kill}", '8: backends[0].drain.on_timeout: found "kill", expected close or wait'),
    ("30s}", "30s, then: wait}", "8: backends[0].drain.then: this key is now drain.on_timeout; rename it"),
    (
        TOP,
        "proxies:\n  - address: /run/haproxy/admin.sock",
        f'3: proxies[1].address: found "{SOCKET}", which proxies[0] has already; change one of the two',
    ),
    (
        TOP,
        "proxies:\n  - {address: /a, name: lb1}\n  - {address: /b, name: lb1}",
        '3: proxies[1].name: found "lb1", which proxies[0] has already; change one of the two',
    ),
    (
        "backends:",
        "backends:\n  - {name: be_app, source: {kind: file, path: x}}",
        f'5: backends[1].name: found "be_app", which backends[0] manages on {SOCKET} already; remove one of the two',
    ),
    (TOP, "web: {listen: 9105}\nproxies:", f"1: web.listen: found 9105, {LISTEN}"),
    (TOP, "web: {tls: {}}\nproxies:", "1: web.tls.cert_file: this key is missing; add it"),
    (TOP, "web: {token_file: ''}\nproxies:", '1: web.token_file: found "", expected the path of a file'),
    (TOP, "audit: {}\nproxies:", "1: audit.path: this key is missing; add it"),
    (TOP, "log: {level: loud}\nproxies:", '1: log.level: found "loud", expected debug, info, warning or error'),
    (TOP, "resync: {probe: 0s}\nproxies:", '1: resync.probe: found "0s", expected a duration from 10ms to 576h'),
    ("servers.yaml", "'${SERVERS}'", "5: backends[0].source.path: the environment variable SERVERS is not set; set it"),
    ("servers.yaml", "${SERVERS}", "5: not valid YAML: inside of [ ] or { } a ${NAME} needs quotes"),
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def the_error_of(text: str) -> str:
    Path("dynsrv.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(Path("dynsrv.yaml"), {})
    return str(caught.value)


@pytest.mark.parametrize(("before", "after", "error"), REFUSALS)
def test_what_is_wrong_is_told_with_line_path_what_was_found_and_what_to_do(
    before: str, after: str, error: str
) -> None:
    assert before in SMALLEST
    assert the_error_of(SMALLEST.replace(before, after, 1)) == f"dynsrv.yaml:{error}"


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert the_error_of("proxies: []\nbackends:\n  - {name: 5, prefx: x}\nwen: {}").splitlines() == [
        "dynsrv.yaml: 5 problems",
        "dynsrv.yaml:1: proxies: found an empty list, expected 1 or more items",
        "dynsrv.yaml:3: backends[0].name: found 5, expected text; put it in quotes",
        "dynsrv.yaml:3: backends[0].source: this key is missing; add it",
        "dynsrv.yaml:3: backends[0].prefx: unknown key; did you mean prefix?",
        "dynsrv.yaml:4: wen: unknown key; did you mean web?",
    ]


@pytest.mark.parametrize(("text", "what"), [("", "nothing"), ("- a", "a list"), ("hello", '"hello"')])
def test_a_file_of_another_shape_is_refused(text: str, what: str) -> None:
    assert the_error_of(text) == f"dynsrv.yaml: found {what}, expected a mapping of keys"


def test_the_keys_of_a_kind_that_does_not_exist_are_not_reported_one_by_one() -> None:
    error = the_error_of(SMALLEST.replace(SOURCE, "{kind: dns, name: x, port: 5}"))
    problem = 'backends[0].source.kind: found "dns", expected one of the kinds of source: file, consul, ec2'
    assert error == f"dynsrv.yaml:5: {problem}"


def test_a_path_too_long_for_a_unix_socket_is_refused() -> None:
    error = the_error_of(SMALLEST.replace(SOCKET, "/" + "x" * 107))
    assert error.endswith("expected a path of at most 107 bytes, as of every unix socket")


def test_every_sentence_about_the_configuration_file_in_the_documentation_is_a_true_one() -> None:
    table = DOCUMENTATION.read_text().partition("### In the configuration file")[2].partition("\n#")[0]
    sentences = re.findall(r"\| `(dynsrv\.yaml:[^`]*)` \|$", table, flags=re.MULTILINE)
    assert len(sentences) >= 15
    assert set(sentences) <= {f"dynsrv.yaml:{error}" for _, _, error in REFUSALS}
