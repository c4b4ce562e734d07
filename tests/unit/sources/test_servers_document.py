from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.documents import parse
from dynsrv.errors import ConfigurationError
from dynsrv.model import Endpoint, EndpointState
from dynsrv.sources.servers_document import snapshot_of

NO_HOST_NAME = "expected an IPv4 or IPv6 address: HAProxy resolves no host name of a server added at runtime"
AN_ADDRESS = "expected an IPv4 or IPv6 address such as 10.0.0.1 or ::1, without port and brackets"
A_TARGET = "expected an address with its port, such as 10.0.0.1:8080 or [::1]:8080"
A_NAME = "expected 1 to 100 letters, digits and _ : . - only"
MISSING = "this key is missing; add it"


def the_endpoints_of(text: str, *, backend: str = "be_app") -> tuple[Endpoint, ...]:
    return snapshot_of(parse(text.encode(), name="servers.yaml"), backend=backend).endpoints


def the_error_of(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        the_endpoints_of(text)
    return str(caught.value)


def test_the_own_form_lists_servers_in_the_order_of_the_file() -> None:
    assert the_endpoints_of(
        "servers:\n"
        "  - {address: 10.0.0.2, port: 8080, weight: 50, name: web-1, state: drain}\n"
        "  - {address: 10.0.0.1, port: 80, state: ready, weight: 0}\n"
        "  - {address: '2001:DB8:0::1', port: 65535}\n"
    ) == (
        Endpoint("10.0.0.2", 8080, name="web-1", weight=50, state=EndpointState.DRAIN),
        Endpoint("10.0.0.1", 80, weight=0),
        Endpoint("2001:db8::1", 65535),
    )


def test_file_sd_lists_targets_and_only_the_label_weight_counts() -> None:
    groups = [
        {"targets": ["10.0.0.1:8080", "[::1]:8080"], "labels": {"weight": "50", "name": "a b;c", "env": "prod"}},
        {"targets": ["10.0.0.2:80"]},
        {"targets": [], "labels": None},
    ]
    expected = (Endpoint("10.0.0.1", 8080, weight=50), Endpoint("::1", 8080, weight=50), Endpoint("10.0.0.2", 80))
    assert the_endpoints_of(json.dumps(groups)) == expected
    assert the_endpoints_of("- targets: ['10.0.0.1:8080']\n  labels: {weight: 50}") == expected[:1]


@pytest.mark.parametrize("text", ["servers: []", "[]", '{"servers": []}', "servers: {be_app: []}", "- {targets: []}"])
def test_no_servers_at_all_are_a_snapshot_too(text: str) -> None:
    assert the_endpoints_of(text) == ()


def test_one_document_may_list_the_servers_of_many_backends_and_only_ones_own_are_looked_at() -> None:
    text = "servers:\n  be_app: [{address: 10.0.0.1, port: 80}]\n  be_api: [{address: web1}]\n"
    assert the_endpoints_of(text) == (Endpoint("10.0.0.1", 80),)


def a_server(keys: str) -> str:
    return f"servers:\n  - {{address: 10.0.0.1, port: 80}}\n  - {keys}\n"


REFUSALS = [
    (a_server("{address: web1.example, port: 80}"), f'3: servers[1].address: found "web1.example", {NO_HOST_NAME}'),
    (a_server("{address: localhost, port: 80}"), f'3: servers[1].address: found "localhost", {NO_HOST_NAME}'),
    (a_server("{address: 256.1.1.1, port: 80}"), f'3: servers[1].address: found "256.1.1.1", {AN_ADDRESS}'),
    (a_server("{address: '10.0.0.2:80', port: 80}"), f'3: servers[1].address: found "10.0.0.2:80", {AN_ADDRESS}'),
    (a_server("{address: '[::1]', port: 80}"), f'3: servers[1].address: found "[::1]", {AN_ADDRESS}'),
    (a_server("{address: /run/x.sock, port: 80}"), f'3: servers[1].address: found "/run/x.sock", {AN_ADDRESS}'),
    (a_server("{address: '10.0.0.2;x', port: 80}"), f'3: servers[1].address: found "10.0.0.2;x", {AN_ADDRESS}'),
    (a_server("{address: 10.0, port: 80}"), f"3: servers[1].address: found 10.0, {AN_ADDRESS}"),
    (
        a_server("{address: 0.0.0.0, port: 80}"),
        '3: servers[1].address: found "0.0.0.0", expected the address of one host, without a zone',
    ),
    (a_server("{address: 10.0.0.2}"), f"3: servers[1].port: {MISSING}"),
    (a_server("{address: 10.0.0.2, port: 0}"), "3: servers[1].port: found 0, expected a port from 1 to 65535"),
    (a_server("{address: 10.0.0.2, port: 70000}"), "3: servers[1].port: found 70000, expected a port from 1 to 65535"),
    (a_server("{address: 10.0.0.2, port: '80'}"), '3: servers[1].port: found "80", expected a port from 1 to 65535'),
    (a_server("{address: 10.0.0.2, port: true}"), "3: servers[1].port: found true, expected a port from 1 to 65535"),
    (
        a_server("{address: 10.0.0.1, port: 80, name: other}"),
        "3: servers[1]: found 10.0.0.1:80, which is already at servers[0]; remove one of the two",
    ),
    (
        a_server("{address: 10.0.0.2, port: 80, weight: 300}"),
        "3: servers[1].weight: found 300, expected a whole number from 0 to 256",
    ),
    (a_server("{address: 10.0.0.2, port: 80, name: 'a;b'}"), f'3: servers[1].name: found "a;b", {A_NAME}'),
    (a_server('{address: 10.0.0.2, port: 80, name: "a\\nb"}'), f'3: servers[1].name: found "a\\nb", {A_NAME}'),
    (a_server("{address: 10.0.0.2, port: 80, name: ''}"), f'3: servers[1].name: found "", {A_NAME}'),
    (
        a_server("{address: 10.0.0.2, port: 80, state: down}"),
        '3: servers[1].state: found "down", expected ready or drain',
    ),
    (
        a_server("{address: 10.0.0.2, port: 80, wieght: 5}"),
        "3: servers[1].wieght: unknown key; did you mean weight?",
    ),
    (
        a_server("10.0.0.2:80"),
        '3: servers[1]: found "10.0.0.2:80", expected a mapping such as {address: 10.0.0.1, port: 8080}',
    ),
    ("servers:", "1: servers: found nothing, expected a list of {address, port}"),
    ("servers: []\nserver: x", "2: server: unknown key; did you mean servers?"),
    (
        "servers:\n  be_api: []\n  be_old: []\n",
        (
            "1: servers: found no list for the backend be_app; add one, which may be empty; "
            "there are lists for: be_api, be_old"
        ),
    ),
    ("- targets: [web1:80]", f'1: [0].targets[0]: found "web1:80", {NO_HOST_NAME}'),
    ("- targets: [10.0.0.1]", f'1: [0].targets[0]: found "10.0.0.1", {A_TARGET}'),
    ("- targets: ['::1:80']", f'1: [0].targets[0]: found "::1:80", {A_TARGET}'),
    ("- targets: ['[10.0.0.1]:80']", f'1: [0].targets[0]: found "[10.0.0.1]:80", {A_TARGET}'),
    ("- targets: ['10.0.0.1:0']", '1: [0].targets[0]: found "10.0.0.1:0", expected a port from 1 to 65535'),
    ("- targets: ['10.0.0.1:http']", '1: [0].targets[0]: found "10.0.0.1:http", expected a port from 1 to 65535'),
    ("- targets: 10.0.0.1:80", '1: [0].targets: found "10.0.0.1:80", expected a list of host:port'),
    ("- labels: {}", f"1: [0].targets: {MISSING}"),
    ("- {targets: [], label: {}}", "1: [0].label: unknown key; did you mean labels?"),
    ("- {targets: [], labels: [a]}", "1: [0].labels: found a list, expected a mapping"),
    (
        "- {targets: [], labels: {weight: heavy}}",
        '1: [0].labels.weight: found "heavy", expected a whole number from 0 to 256',
    ),
    (
        "- targets: ['10.0.0.1:80']\n- targets: ['10.0.0.1:80']",
        "2: [1].targets[0]: found 10.0.0.1:80, which is already at [0].targets[0]; remove one of the two",
    ),
    ("- 10.0.0.1:80", '1: [0]: found "10.0.0.1:80", expected {"targets": [...], "labels": {...}}'),
]


@pytest.mark.parametrize(("text", "error"), REFUSALS)
def test_a_document_with_anything_wrong_is_refused_as_a_whole(text: str, error: str) -> None:
    assert the_error_of(text) == f"servers.yaml:{error}"


@pytest.mark.parametrize("text", ["hello", "5", "{}", "backends: []"])
def test_a_document_of_another_shape_is_refused_with_both_forms(text: str) -> None:
    forms = "expected the key servers (dynsrv's own format) or a list of {targets, labels} (Prometheus' file_sd)"
    assert the_error_of(text).endswith(forms)


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert the_error_of(a_server("{adress: 10.0.0.2, port: 0}")).splitlines() == [
        "servers.yaml: 3 problems",
        "servers.yaml:3: servers[1].adress: unknown key; did you mean address?",
        "servers.yaml:3: servers[1].port: found 0, expected a port from 1 to 65535",
        "servers.yaml:3: servers[1].address: this key is missing; add it",
    ]


@given(name=st.text(max_size=120))
def test_a_name_that_is_accepted_is_one_word_for_haproxy(name: str) -> None:
    text = json.dumps({"servers": [{"address": "10.0.0.1", "port": 80, "name": name}]})
    try:
        endpoints = the_endpoints_of(text)
    except ConfigurationError:
        assert not re.fullmatch(r"[A-Za-z0-9_:.-]{1,100}", name)
    else:
        assert endpoints[0].name == name
        assert re.fullmatch(r"[A-Za-z0-9_:.-]{1,100}", name)


@given(address=st.ip_addresses(), port=st.integers(1, 65535))
def test_both_forms_mean_the_same(address: object, port: int) -> None:
    host = f"[{address}]" if ":" in str(address) else address
    own = json.dumps({"servers": [{"address": str(address), "port": port}]})
    file_sd = json.dumps([{"targets": [f"{host}:{port}"]}])
    outcomes = []
    for text in (own, file_sd):
        try:
            outcomes.append(the_endpoints_of(text))
        except ConfigurationError:
            outcomes.append(())  # unspecified, multicast
    assert outcomes[0] == outcomes[1]


def test_every_sentence_about_servers_in_the_documentation_is_a_true_one() -> None:
    documentation = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    table = documentation.partition("### In the servers file")[2].partition("\n#")[0]
    sentences = re.findall(r"\| `(servers\.yaml:[^`]*)` \|$", table, flags=re.MULTILINE)
    assert len(sentences) >= 8
    assert set(sentences) <= {f"servers.yaml:{error}" for _, error in REFUSALS}
