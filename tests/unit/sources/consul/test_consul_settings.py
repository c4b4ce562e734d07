from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.settings import json_schema
from dynsrv.sources.consul.values import OnCritical, agent_address
from tests.unit.sources.consul.configurations import FIRST_LINE, the_error_of, the_settings_of

AN_ADDRESS = "expected an address of Consul's HTTP API: http://host:port, https://host:port, unix:///path or host:port"
ASCII = "expected printable ASCII"
WORD = "expected printable ASCII without spaces"
HIDDEN = "expected printable ASCII on one line (the value is not shown)"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_only_the_service_has_to_be_written() -> None:
    settings = the_settings_of()
    assert (settings.address, settings.service) == (("http://127.0.0.1:8500",), "web")
    assert (settings.wait, settings.on_critical, settings.tls.verify) == (30.0, OnCritical.REMOVE, True)
    assert settings.model_fields_set == {"kind", "service"}


def test_all_that_can_be_written_is_read() -> None:
    settings = the_settings_of(
        "address: [lb1:8500, 'https://lb2:8501']\n"
        "tags: [http, a b]\n"
        'filter: Service.Meta.v == "2"\n'
        "datacenter: dc2\nnamespace: team\npartition: part\nnear: _agent\n"
        "only_passing: true\non_critical: keep\ntagged_address: wan\nstale: true\nwait: 1.5s\n"
    )
    assert settings.model_dump(exclude_unset=True, exclude={"kind", "service"}) == {
        "address": ("http://lb1:8500", "https://lb2:8501"),
        "tags": ("http", "a b"),
        "filter": 'Service.Meta.v == "2"',
        "datacenter": "dc2",
        "namespace": "team",
        "partition": "part",
        "near": "_agent",
        "only_passing": True,
        "on_critical": "keep",
        "tagged_address": "wan",
        "stale": True,
        "wait": "1500ms",
    }


# ---- addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8500", "http://127.0.0.1:8500"),
        ("https://consul.example:8501/", "https://consul.example:8501"),
        ("http://lb:80/consul/", "http://lb:80/consul"),
        ("consul:8500", "http://consul:8500"),
        ("127.0.0.1:8500", "http://127.0.0.1:8500"),
        ("'[::1]:8500'", "http://[::1]:8500"),
        ("'https://[2001:db8::1]:8501'", "https://[2001:db8::1]:8501"),
        ("unix:///run/consul/http.sock", "unix:///run/consul/http.sock"),
    ],
)
def test_an_address_may_lack_its_scheme_and_is_one_or_a_list(text: str, address: str) -> None:
    assert the_settings_of(f"address: {text}").address == (address,)
    assert the_settings_of(f"address: [{text}, other:8500]").address == (address, "http://other:8500")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", AN_ADDRESS),
        ("consul:8500 ", AN_ADDRESS),
        ("con sul:8500", AN_ADDRESS),
        ("cönsul:8500", AN_ADDRESS),
        ("ftp://consul:8500", AN_ADDRESS),
        ("http://:8500", AN_ADDRESS),
        ("http://", AN_ADDRESS),
        ("consul:0", AN_ADDRESS),
        ("consul:", AN_ADDRESS),
        ("http://[:::]:8500", AN_ADDRESS),
        ("consul:70000", AN_ADDRESS),
        ("consul:http", AN_ADDRESS),
        ("::1:8500", AN_ADDRESS),
        ("lb1:8500,lb2:8500", AN_ADDRESS),
        ("http://consul:8500?dc=dc2", AN_ADDRESS),
        ("http://consul:8500/#x", AN_ADDRESS),
        ("consul", "expected a port as well: Consul's default is 8500"),
        ("http://[::1]", "expected a port as well: Consul's default is 8500"),
        ("https://consul/", "expected a port as well: Consul's default is 8501"),
        ("unix://", "expected an absolute path after unix://"),
        ("unix:///", "expected an absolute path after unix://"),
        ("unix://run/consul.sock", "expected an absolute path after unix://"),
    ],
)
def test_what_is_no_address_of_an_agent_is_told_with_what_one_looks_like(text: str, problem: str) -> None:
    where = f"dynsrv.yaml:{FIRST_LINE}: backends[0].source.address"
    assert the_error_of(f"address: '{text}'") == f'{where}: found "{text}", {problem}'
    assert the_error_of(f"address: [lb:8500, '{text}']") == f'{where}[1]: found "{text}", {problem}'


@pytest.mark.parametrize("text", ["http://consul:8500?", "http://consul:8500#", r"a\b:8500", "a<b:8500"])
def test_an_address_that_no_question_can_be_sent_to_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        agent_address(text)


def test_a_scheme_may_be_written_in_capitals() -> None:
    assert agent_address("UNIX:///run/Consul.sock") == "unix:///run/Consul.sock"
    assert agent_address("HTTPS://consul:8501") == "https://consul:8501"


HOSTS = (
    st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map("[{}]".format)
    | st.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?(\.[a-z]{1,5}){0,2}", fullmatch=True)
)


@given(scheme=st.sampled_from(["", "http://", "https://"]), host=HOSTS, port=st.integers(1, 65535))
def test_every_host_and_port_make_an_address(scheme: str, host: str, port: int) -> None:
    address = agent_address(f"{scheme}{host}:{port}")
    assert address == f"{scheme or 'http://'}{host}:{port}"
    assert agent_address(address) == address


@given(text=st.text())
def test_whatever_is_written_for_an_address_it_is_one_or_refused(text: str) -> None:
    try:
        address = agent_address(text)
    except ValueError as error:
        refusal = str(error)
    else:
        assert urlsplit(address).scheme in {"http", "https", "unix"}
        return
    assert refusal.startswith("expected")


# ---- values


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1.0), ("1000ms", 1.0), ("1m", 60.0), ("60s", 60.0)])
def test_consul_is_told_to_wait_for_a_second_to_a_minute(text: str, seconds: float) -> None:
    assert the_settings_of(f"wait: {text}").wait == seconds


# Each: a line, and the error that comes of it.
REFUSALS = [
    ("wait: 999ms", 'wait: found "999ms", expected a duration from 1s to 1m'),
    ("wait: 61s", 'wait: found "61s", expected a duration from 1s to 1m'),
    ("wait: 30", "wait: found 30, expected a duration with its unit: write 30s or 30ms"),
    ("address: 8500", "address: found 8500, expected a list"),
    ("address: []", "address: found an empty list, expected 1 or more items"),
    ("address: [8500]", "address[0]: found 8500, expected text; put it in quotes"),
    ("tags: http", 'tags: found "http", expected a list'),
    ("tags: [http, '']", f'tags[1]: found "", {ASCII}'),
    ("filter: ' '", f'filter: found " ", {ASCII}'),
    ("filter: ä", f'filter: found "ä", {ASCII}'),
    ("datacenter: dc 1", f'datacenter: found "dc 1", {WORD}'),
    ("namespace: ''", f'namespace: found "", {WORD}'),
    ("partition: 5", "partition: found 5, expected text; put it in quotes"),
    ('near: "a\\nb"', f'near: found "a\\nb", {WORD}'),
    ("tagged_address: a b", f'tagged_address: found "a b", {WORD}'),
    ("tls: {server_name: a b}", f'tls.server_name: found "a b", {WORD}'),
    ("tls: {verify: maybe}", 'tls.verify: found "maybe", expected true or false'),
    ("tls: {key_file: me.key}", "tls.cert_file: this key is missing: key_file needs it; add it"),
    ("tls: {ca_fil: ca.pem}", "tls.ca_fil: unknown key; did you mean ca_file or cert_file?"),
    ("only_passing: maybe", 'only_passing: found "maybe", expected true or false'),
    ("on_critical: kill", 'on_critical: found "kill", expected remove, drain or keep'),
    ("tag: http", "tag: unknown key; did you mean tags?"),
    ("tokn: hunter2", "tokn: unknown key; did you mean token?"),
    ("zone: dc1", "zone: unknown key; the keys here are address, auth, auth_file, datacenter, filter, kind, "),
]


@pytest.mark.parametrize(("line", "error"), REFUSALS)
def test_what_is_wrong_is_told_with_line_path_what_was_found_and_what_to_do(line: str, error: str) -> None:
    told = the_error_of(f"stale: true\n{line}")
    assert told.startswith(f"dynsrv.yaml:{FIRST_LINE + 1}: backends[0].source.{error}")
    assert "\n" not in told


@pytest.mark.parametrize("name", ["web", "team/web", "web.v1~x", "w" * 128])
def test_a_service_may_have_any_name_that_can_be_asked_for(name: str) -> None:
    assert the_settings_of(service=name).service == name


@pytest.mark.parametrize("name", ["''", "my web", "wéb", '"web\\n"', "w" * 129])
def test_a_service_of_no_such_name_is_refused(name: str) -> None:
    error = the_error_of(service=name)
    assert error.startswith("dynsrv.yaml:6: backends[0].source.service: found ")
    assert error.endswith(", expected the name of a service in Consul")


def test_a_service_has_to_be_named() -> None:
    assert the_error_of(service=None) == "dynsrv.yaml:4: backends[0].source.service: this key is missing; add it"


@pytest.mark.parametrize("path", ["''", "' '", '"a\\nb"', '"a\\0b"'])
@pytest.mark.parametrize("line", ["token_file: {}", "auth_file: {}", "tls: {{ca_file: {}}}"])
def test_a_path_that_is_none_is_refused(line: str, path: str) -> None:
    assert "expected the path of a file" in the_error_of(line.format(path))


def test_a_text_and_a_list_are_both_an_address_for_an_editor_too() -> None:
    schema = json_schema()["$defs"]["ConsulSourceSettings"]["properties"]["address"]
    assert schema["anyOf"] == [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
    ]


# ---- secrets


def test_a_secret_is_given_as_text_or_as_a_file_but_not_both() -> None:
    assert the_error_of("token: hunter2\ntoken_file: /t\nauth: u:hunter2\nauth_file: /a").splitlines() == [
        "dynsrv.yaml: 2 problems",
        f"dynsrv.yaml:{FIRST_LINE + 1}: backends[0].source.token_file: token is given, too; remove one of the two",
        f"dynsrv.yaml:{FIRST_LINE + 3}: backends[0].source.auth_file: auth is given, too; remove one of the two",
    ]


@pytest.mark.parametrize("key", ["token", "auth"])
@pytest.mark.parametrize("value", ['"hunter2\\n"', "' hunter2'", "hunter2ä", '"hunter2\\e[31m"', "''"])
def test_a_secret_that_cannot_be_one_is_refused_without_showing_it(key: str, value: str) -> None:
    assert the_error_of(f"{key}: {value}") == f"dynsrv.yaml:{FIRST_LINE}: backends[0].source.{key}: {HIDDEN}"


@pytest.mark.parametrize(
    "keys",
    [
        "token: 314159",
        "token: [314159]",
        "token: {value: 314159}",
        "auth: 314159",
        "token: '314159'\nwait: 5",
        "token: '314159'\ntokens: 314159",
        "auth: user:314159\naddress: []",
        "address: http://user:314159@consul:8500",
        "address: [user:314159@consul:8500]",
        "address: http://user:314159?@consul:8500",
        "address: http://user:314159/x@consul:8500",
        "address: http://user:x/314159@consul:8500",
        "address: http://user:314159ä@consul:8500",
        "address: 'http://user:314159 @consul:8500'",
    ],
)
def test_no_error_shows_a_secret(keys: str) -> None:
    assert "314159" not in the_error_of(keys)


def test_an_address_with_a_password_is_refused_with_where_it_belongs() -> None:
    for address in ("http://user:x@consul:8500", "user:x@consul:8500", "http://user@consul:8500"):
        assert the_error_of(f"address: {address}").endswith(
            "expected no user and password in the address; use the key auth or auth_file"
        )


def test_settings_that_are_printed_or_logged_show_no_secret() -> None:
    settings = the_settings_of("token: hunter2\nauth: user:hunter2")
    assert (settings.token, settings.auth) != (None, None)
    for told in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert "hunter2" not in told
