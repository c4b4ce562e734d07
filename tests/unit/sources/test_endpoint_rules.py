"""Which endpoints a source may list: none that reaches the Runtime API or dynsrv, and none outside of the networks."""

from __future__ import annotations

import pytest

from dynsrv.documents import parse
from dynsrv.errors import ConfigurationError
from dynsrv.sources import endpoint_values as values
from dynsrv.sources.consul.endpoints import InstanceMapper as ConsulMapper
from dynsrv.sources.ec2.endpoints import InstanceMapper as Ec2Mapper
from dynsrv.sources.endpoint_rules import EndpointRules, ReservedPort
from dynsrv.sources.servers_document import snapshot_of
from tests.fakes.ec2 import an_instance as an_ec2_instance
from tests.unit.sources.consul.registrations import a_registration, instances_of
from tests.unit.sources.ec2.looks import a_look


def refused(rules: EndpointRules, address: str, port: int) -> bool:
    try:
        rules.check(address, port)
    except ValueError:
        return True
    return False


def on(host: str, *, mine: str = "10.0.0.5") -> EndpointRules:
    """Rules where *host*:9999 is a Runtime API, and *mine* this machine's own address."""
    return EndpointRules(reserved=(ReservedPort(host, 9999, "the proxy lb1 (address)"),), local=lambda one: one == mine)


@pytest.mark.parametrize(
    ("host", "address", "expected"),
    [
        ("10.0.0.9", "10.0.0.9", True),
        ("::ffff:10.0.0.9", "10.0.0.9", True),
        ("2001:DB8:0::9", "2001:db8::9", True),
        ("10.0.0.9", "10.0.0.8", False),
        ("10.0.0.9", "127.0.0.1", True),  # HAProxy connects from the machine of its Runtime API
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.8.9.1", True),
        ("127.0.0.1", "::1", True),
        ("127.0.0.1", "10.0.0.5", True),
        ("localhost", "10.0.0.5", True),
        ("127.0.0.1", "10.0.0.6", False),
        ("0.0.0.0", "10.0.0.5", True),
        ("::", "10.0.0.5", True),
        ("::", "10.0.0.6", False),
        ("haproxy.example", "10.0.0.6", True),  # a name may have any address
    ],
)
def test_no_server_may_have_the_port_of_a_runtime_api(host: str, address: str, expected: bool) -> None:  # noqa: FBT001
    assert refused(on(host), address, 9999) is expected
    assert not refused(on(host), address, 9998)


def test_a_mapped_ipv4_address_is_the_ipv4_address() -> None:
    assert values.address("::ffff:10.0.0.1") == values.address("::FFFF:0a00:1") == "10.0.0.1"
    servers = "servers: [{address: 10.0.0.1, port: 80}, {address: '::ffff:10.0.0.1', port: 80}]"
    with pytest.raises(ConfigurationError, match=r"found 10\.0\.0\.1:80, which is already at servers\[0\]"):
        snapshot_of(parse(servers.encode(), name="servers.yaml"), backend="be_app")


@pytest.mark.parametrize(
    "address",
    [
        *["0.0.0.0", "0.0.0.7", "::", "0:0::0", "::ffff:0.0.0.0", "::ffff:0:0", "255.255.255.255"],
        *[
            "::ffff:255.255.255.255",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "224.0.0.1",
            "::ffff:e000:1",
        ],
    ],
)
def test_an_address_that_no_server_can_have_is_refused_in_each_spelling(address: str) -> None:
    with pytest.raises(ValueError, match=r"expected (an|the) address"):
        values.address(address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("10.0.0.1", False), ("10.0.0.2", True), ("10.9.0.1", True), ("192.0.2.1", True), ("fd00::1", False)],
)
def test_only_addresses_that_are_allowed_and_not_denied_pass(address: str, expected: bool) -> None:  # noqa: FBT001
    rules = EndpointRules(allowed=("10.0.0.0/8", "fd00::/8"), denied=("10.9.0.0/16", "10.0.0.2/32"))
    assert refused(rules, address, 80) is expected


def test_an_empty_list_of_allowed_networks_allows_none() -> None:
    assert refused(EndpointRules(allowed=()), "10.0.0.1", 80)


def test_a_servers_file_with_a_refused_endpoint_is_refused_with_the_line() -> None:
    document = parse(
        b"servers:\n  - {address: 10.0.0.1, port: 80}\n  - {address: 127.0.0.1, port: 9999}\n", name="s.yaml"
    )
    with pytest.raises(ConfigurationError) as caught:
        snapshot_of(document, backend="be_app", rules=on("127.0.0.1"))
    assert str(caught.value) == (
        "s.yaml:3: servers[1]: found 127.0.0.1:9999, but port 9999 there is that of the proxy lb1 (address),"
        " which no server may have; remove it"
    )
    targets = parse(b'[{"targets": ["10.0.0.1:80", "[::1]:9999"]}]', name="s.json")
    with pytest.raises(ConfigurationError, match=r"targets\[1\]: found \[::1\]:9999, but port 9999"):
        snapshot_of(targets, backend="be_app", rules=on("127.0.0.1"))


def test_a_registration_at_a_refused_endpoint_is_left_out_and_noted() -> None:
    registrations = [a_registration("good", address="10.0.0.1"), a_registration("bad", address="127.0.0.1", port=9999)]
    snapshot = ConsulMapper(rules=on("127.0.0.1")).snapshot(instances_of(*registrations))
    assert [str(endpoint) for endpoint in snapshot.endpoints] == ["10.0.0.1:80"]
    (note,) = snapshot.notes
    assert 'found "127.0.0.1" and port 9999, but port 9999 there is that of the proxy lb1' in note


def test_an_instance_at_a_refused_endpoint_is_left_out_and_noted() -> None:
    rules = EndpointRules(denied=("10.0.0.2/32",))
    snapshot = Ec2Mapper(port=80, rules=rules).snapshot(a_look(an_ec2_instance(1), an_ec2_instance(2)))
    assert [str(endpoint) for endpoint in snapshot.endpoints] == ["10.0.0.1:80"]
    (note,) = snapshot.notes
    assert note == (
        "i-2 is left out: found 10.0.0.2:80, but 10.0.0.2 is in 10.0.0.2/32, which is in the backend's denied_networks"
    )


@pytest.mark.parametrize("option", ["verifyhost a.example", "port 22", "ssl-min-ver SSLv3", "track be_app/one"])
def test_a_servers_file_may_change_no_protected_option_unless_it_is_listed(option: str) -> None:
    document = parse(f"servers: [{{address: 10.0.0.1, port: 80, options: [backup, {option}]}}]".encode(), name="s.yaml")
    with pytest.raises(ConfigurationError, match=r"s\.yaml:1: servers\[0\]\.options: .* options_from_source"):
        snapshot_of(document, backend="be_app")
    keywords = frozenset(("port", "ssl-min-ver", "track", "verifyhost"))
    (endpoint,) = snapshot_of(document, backend="be_app", rules=EndpointRules(keywords=keywords)).endpoints
    assert endpoint.options == ("backup", option)


def test_a_servers_file_may_give_other_options() -> None:
    text = b"servers: [{address: 10.0.0.1, port: 80, options: [backup, on-error mark-down]}]"
    (endpoint,) = snapshot_of(parse(text, name="s.yaml"), backend="be_app").endpoints
    assert endpoint.options == ("backup", "on-error mark-down")
