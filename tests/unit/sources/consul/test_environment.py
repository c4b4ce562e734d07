from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.sources.consul import environment
from dynsrv.sources.consul.settings import ConsulSourceSettings
from tests.unit.sources.consul.configurations import FIRST_LINE, the_error_of, the_settings_of

A_SWITCH = "expected 1 or t or true or 0 or f or false"
A_WORD = "expected printable ASCII without spaces"
A_SECRET = "expected printable ASCII on one line (the value is not shown)"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def said(settings: ConsulSourceSettings) -> dict[str, Any]:
    """All that differs from the defaults, with secrets in plain and the keys of tls beside the others."""
    values = settings.model_dump(exclude_defaults=True, exclude={"kind", "service"})
    values |= values.pop("tls", {})
    return {
        key: value.get_secret_value() if hasattr(value, "get_secret_value") else value for key, value in values.items()
    }


# Each: a variable, its value, the key behind which it stands, and what that has then.
VARIABLES = [
    ("CONSUL_HTTP_ADDR", "consul:8500", "address", ("http://consul:8500",)),
    ("CONSUL_HTTP_ADDR", "https://consul:8501", "address", ("https://consul:8501",)),
    ("CONSUL_HTTP_ADDR", "unix:///run/consul.sock", "address", ("unix:///run/consul.sock",)),
    ("CONSUL_HTTP_TOKEN", "hunter2", "token", "hunter2"),
    ("CONSUL_HTTP_TOKEN_FILE", "/run/token", "token_file", Path("/run/token")),
    ("CONSUL_HTTP_AUTH", "user:hunter2", "auth", "user:hunter2"),
    ("CONSUL_NAMESPACE", "team", "namespace", "team"),
    ("CONSUL_PARTITION", "part", "partition", "part"),
    ("CONSUL_CACERT", "/etc/ca.pem", "ca_file", Path("/etc/ca.pem")),
    ("CONSUL_CAPATH", "/etc/ca", "ca_path", Path("/etc/ca")),
    ("CONSUL_CLIENT_CERT", "/etc/me.pem", "cert_file", Path("/etc/me.pem")),
    ("CONSUL_TLS_SERVER_NAME", "server.dc1.consul", "server_name", "server.dc1.consul"),
    ("CONSUL_HTTP_SSL_VERIFY", "false", "verify", False),
]
IN_THE_FILE = {
    "address": "address: http://other:8500",
    "token": "token: other",
    "token_file": "token_file: /other",
    "auth": "auth: other:pass",
    "namespace": "namespace: other",
    "partition": "partition: other",
    "ca_file": "tls: {ca_file: /other}",
    "ca_path": "tls: {ca_path: /other}",
    "cert_file": "tls: {cert_file: /other}",
    "server_name": "tls: {server_name: other}",
    "verify": "tls: {verify: true}",
}


@pytest.mark.parametrize(("variable", "text", "key", "value"), VARIABLES)
def test_a_variable_of_consuls_stands_behind_its_key(variable: str, text: str, key: str, value: object) -> None:
    assert said(the_settings_of(**{variable: text})) == {key: value}
    assert said(the_settings_of("tls: {}", **{variable: text})) == {key: value}


@pytest.mark.parametrize(("variable", "text", "key", "value"), VARIABLES)
def test_the_file_comes_before_the_environment(variable: str, text: str, key: str, value: object) -> None:
    keys = IN_THE_FILE[key]
    assert said(the_settings_of(keys, **{variable: text})) == said(the_settings_of(keys))


@pytest.mark.parametrize("variable", [one[0] for one in VARIABLES] + ["CONSUL_CLIENT_KEY", "CONSUL_HTTP_SSL"])
def test_an_empty_variable_is_one_that_is_not_set(variable: str) -> None:
    assert said(the_settings_of(**{variable: ""})) == {}


def test_a_certificate_and_its_key_come_from_the_environment_together() -> None:
    settings = the_settings_of(CONSUL_CLIENT_CERT="/etc/me.pem", CONSUL_CLIENT_KEY="/etc/me.key")
    assert said(settings) == {"cert_file": Path("/etc/me.pem"), "key_file": Path("/etc/me.key")}


def test_keys_of_tls_in_the_file_and_others_in_the_environment_come_together() -> None:
    settings = the_settings_of("tls: {ca_file: /etc/ca.pem}", CONSUL_TLS_SERVER_NAME="server.dc1.consul")
    assert said(settings) == {"ca_file": Path("/etc/ca.pem"), "server_name": "server.dc1.consul"}


@pytest.mark.parametrize(
    ("keys", "environ"),
    [
        ("token: x", {"CONSUL_HTTP_TOKEN_FILE": "/run/token"}),
        ("token_file: /x", {"CONSUL_HTTP_TOKEN": "hunter2"}),
        ("token_file: /x", {"CONSUL_HTTP_TOKEN": "hunter2", "CONSUL_HTTP_TOKEN_FILE": "/run/token"}),
        ("token: x", {"CONSUL_HTTP_TOKEN": "hunter2", "CONSUL_HTTP_TOKEN_FILE": "/run/token"}),
        ("auth_file: /x", {"CONSUL_HTTP_AUTH": "user:hunter2"}),
        ("tls: {ca_path: /x}", {"CONSUL_CACERT": "/etc/ca.pem"}),
        ("tls: {ca_file: /x}", {"CONSUL_CAPATH": "/etc/ca"}),
        ("tls: {cert_file: /x}", {"CONSUL_CLIENT_CERT": "/etc/me.pem", "CONSUL_CLIENT_KEY": "/etc/me.key"}),
        ("tls: {cert_file: /x, key_file: /y}", {"CONSUL_CLIENT_CERT": "/etc/me.pem", "CONSUL_CLIENT_KEY": "/m.key"}),
    ],
)
def test_one_key_of_a_pair_in_the_file_silences_the_variables_of_both(keys: str, environ: dict[str, str]) -> None:
    assert said(the_settings_of(keys, **environ)) == said(the_settings_of(keys))


def test_every_variable_is_documented() -> None:
    documentation = (Path(__file__).parents[4] / "docs" / "configuration.md").read_text()
    section = documentation.partition("## The source `consul`")[2].partition("\n## ")[0]
    known = {*(one[0] for one in VARIABLES), "CONSUL_CLIENT_KEY", "CONSUL_HTTP_SSL"}
    assert set(re.findall(r"CONSUL_[A-Z_]+", section)) == known


def test_null_in_the_file_silences_a_variable() -> None:
    assert said(the_settings_of("token: null\nnamespace: null", CONSUL_HTTP_TOKEN="x", CONSUL_NAMESPACE="y")) == {}


def test_of_a_token_and_a_file_with_one_in_the_environment_the_file_counts_as_with_consuls_own_tools() -> None:
    settings = the_settings_of(CONSUL_HTTP_TOKEN="hunter2", CONSUL_HTTP_TOKEN_FILE="/run/token")
    assert said(settings) == {"token_file": Path("/run/token")}


@pytest.mark.parametrize("switch", ["1", "t", "T", "true", "TRUE", "True"])
def test_consul_http_ssl_makes_an_address_without_a_scheme_one_of_https(switch: str) -> None:
    settings = the_settings_of(CONSUL_HTTP_ADDR="consul:8501", CONSUL_HTTP_SSL=switch)
    assert settings.address == ("https://consul:8501",)


@pytest.mark.parametrize(
    ("address", "switch", "agent"),
    [
        ("consul:8500", "false", "http://consul:8500"),
        ("consul:8500", "0", "http://consul:8500"),
        ("http://consul:8500", "true", "http://consul:8500"),
        ("unix:///run/consul.sock", "true", "unix:///run/consul.sock"),
    ],
)
def test_consul_http_ssl_changes_no_other_address(address: str, switch: str, agent: str) -> None:
    assert the_settings_of(CONSUL_HTTP_ADDR=address, CONSUL_HTTP_SSL=switch).address == (agent,)
    assert the_settings_of("address: lb:8500", CONSUL_HTTP_SSL="true").address == ("http://lb:8500",)


def test_consul_http_ssl_makes_the_default_address_one_of_https() -> None:
    assert the_settings_of(CONSUL_HTTP_SSL="true").address == ("https://127.0.0.1:8500",)


@pytest.mark.parametrize(
    ("switch", "verify"), [("1", True), ("t", True), ("TRUE", True), ("0", False), ("F", False), ("False", False)]
)
def test_a_switch_is_written_as_for_consuls_own_tools(*, switch: str, verify: bool) -> None:
    assert the_settings_of(CONSUL_HTTP_SSL_VERIFY=switch).tls.verify is verify


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        (
            {"CONSUL_HTTP_ADDR": "consul"},
            (
                'found "consul" in the environment variable CONSUL_HTTP_ADDR, '
                "expected a port as well: Consul's default is 8500"
            ),
        ),
        (
            {"CONSUL_HTTP_ADDR": "tcp://consul:8500"},
            'found "tcp://consul:8500" in the environment variable CONSUL_HTTP_ADDR, expected an address of',
        ),
        (
            {"CONSUL_HTTP_SSL_VERIFY": "maybe"},
            f'found "maybe" in the environment variable CONSUL_HTTP_SSL_VERIFY, {A_SWITCH}',
        ),
        (
            {"CONSUL_HTTP_ADDR": "consul:8500", "CONSUL_HTTP_SSL": "maybe"},
            f'found "maybe" in the environment variable CONSUL_HTTP_SSL, {A_SWITCH}',
        ),
        ({"CONSUL_NAMESPACE": "a b"}, f'found "a b" in the environment variable CONSUL_NAMESPACE, {A_WORD}'),
        ({"CONSUL_PARTITION": "a b"}, f'found "a b" in the environment variable CONSUL_PARTITION, {A_WORD}'),
        ({"CONSUL_TLS_SERVER_NAME": "é"}, f'found "é" in the environment variable CONSUL_TLS_SERVER_NAME, {A_WORD}'),
        ({"CONSUL_CACERT": " "}, 'found " " in the environment variable CONSUL_CACERT, expected the path of a file'),
        ({"CONSUL_HTTP_TOKEN": "hunter2\n"}, f"the environment variable CONSUL_HTTP_TOKEN: {A_SECRET}"),
        ({"CONSUL_HTTP_AUTH": "user:hunter2\n"}, f"the environment variable CONSUL_HTTP_AUTH: {A_SECRET}"),
        (
            {"CONSUL_HTTP_ADDR": "http://user:hunter2@consul:8500"},
            "the environment variable CONSUL_HTTP_ADDR: expected no user and password in the address",
        ),
        (
            {"CONSUL_CLIENT_KEY": "/etc/me.key"},
            "the environment variable CONSUL_CLIENT_KEY needs CONSUL_CLIENT_CERT; set it, or remove the other",
        ),
    ],
)
def test_what_is_wrong_with_a_variable_is_told_with_its_name(environ: dict[str, str], problem: str) -> None:
    error = the_error_of(**environ)
    assert error.startswith("dynsrv.yaml:4: backends[0].source.")  # where the source begins: it has no such key
    assert problem in error
    assert "hunter2" not in error


def test_all_that_is_wrong_in_the_environment_is_told_at_once() -> None:
    error = the_error_of(CONSUL_HTTP_ADDR="consul", CONSUL_HTTP_SSL_VERIFY="maybe")
    assert [error.count(word) for word in ("CONSUL_HTTP_ADDR", "CONSUL_HTTP_SSL_VERIFY", "2 problems")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CONSUL_HTTP_ADDR", "nonsense"),
        ("CONSUL_HTTP_SSL", "nonsense"),
        ("CONSUL_HTTP_SSL_VERIFY", "nonsense"),
        ("CONSUL_HTTP_TOKEN", "hunter2\n"),
        ("CONSUL_CLIENT_KEY", "/etc/me.key"),
        ("CONSUL_NAMESPACE", "a b"),
    ],
)
def test_a_variable_that_is_not_looked_at_may_be_wrong(variable: str, value: str) -> None:
    keys = "address: consul:8500\ntls: {verify: true, cert_file: /me.pem}\ntoken_file: /token\nnamespace: team"
    assert said(the_settings_of(keys, **{variable: value})) == said(the_settings_of(keys))


def test_a_section_of_another_shape_is_told_as_such_whatever_the_environment_says() -> None:
    error = the_error_of("tls: [a]", CONSUL_CACERT="/etc/ca.pem")
    assert error == f"dynsrv.yaml:{FIRST_LINE}: backends[0].source.tls: found a list, expected a mapping of keys"


@given(
    keys=st.dictionaries(st.sampled_from([*IN_THE_FILE, "auth_file", "tls"]), st.none() | st.text()),
    environ=st.dictionaries(st.sampled_from([*(one[0] for one in VARIABLES), "CONSUL_HTTP_SSL", "PATH"]), st.text()),
)
def test_what_the_file_says_is_never_changed(keys: dict[str, Any], environ: dict[str, str]) -> None:
    before = {**keys}
    merged, _ = environment.with_defaults(keys, environ)
    assert keys == before
    assert merged.items() >= keys.items()
