from __future__ import annotations

from itertools import permutations

import pytest

from dynsrv.model import Endpoint, EndpointState, Snapshot
from dynsrv.sources.consul.endpoints import InstanceMapper
from dynsrv.sources.consul.values import OnCritical
from tests.unit.sources.consul.registrations import a_check, a_registration, an_instance, instances_of

READY, DRAIN = EndpointState.READY, EndpointState.DRAIN
MAINTENANCE = a_check("critical", id="_node_maintenance")
NO_HOST_NAME = "expected an IPv4 or IPv6 address: HAProxy resolves no host name of a server added at runtime"
AN_ADDRESS = "expected an IPv4 or IPv6 address such as 10.0.0.1 or ::1, without port and brackets"
ONE_HOST = "expected the address of one host, without a zone"


def the_snapshot_of(
    *registrations: dict[str, object],
    on_critical: OnCritical = OnCritical.REMOVE,
    only_passing: bool = False,
    tagged_address: str | None = None,
) -> Snapshot:
    reading = InstanceMapper(on_critical=on_critical, only_passing=only_passing, tagged_address=tagged_address)
    return reading.snapshot(instances_of(*registrations))


def the_endpoint_of(registration: dict[str, object], *, tagged_address: str | None = None) -> Endpoint:
    snapshot = the_snapshot_of(registration, tagged_address=tagged_address)
    assert snapshot.notes == ()
    (endpoint,) = snapshot.endpoints
    return endpoint


def test_an_instance_is_a_ready_endpoint_that_takes_everything_else_from_the_backend() -> None:
    assert the_endpoint_of(a_registration(address="10.0.0.7", port=8080)) == Endpoint("10.0.0.7", 8080)


def test_no_instances_are_no_endpoints_and_nothing_to_note() -> None:
    snapshot = the_snapshot_of()
    assert (snapshot.endpoints, snapshot.notes) == ((), ())


def test_the_order_is_consuls() -> None:
    ports = [83, 81, 84, 82]
    snapshot = the_snapshot_of(*(a_registration(f"web{port}", port=port) for port in ports))
    assert [endpoint.port for endpoint in snapshot.endpoints] == ports


# ---- addresses


def test_a_service_without_an_address_is_at_its_nodes() -> None:
    assert str(the_endpoint_of(a_registration(address="", node_address="10.9.0.1"))) == "10.9.0.1:80"


def test_an_address_has_one_spelling() -> None:
    assert the_endpoint_of(a_registration(address="2001:DB8:0:0::1")).address == "2001:db8::1"
    assert the_endpoint_of(a_registration(address="", node_address="::0:1")).address == "::1"


SERVICE = {"lan": ("10.1.0.1", 81), "wan": ("203.0.113.1", 82), "vpn": ("10.8.0.1", 83), "bare": ("10.8.0.2", 0)}
NODE = {"lan": "10.9.1.1", "wan": "198.51.100.1", "vpn": "10.9.8.1"}


@pytest.mark.parametrize(
    ("tag", "own", "of_service", "of_node", "endpoint"),
    [
        # the service's, with its port, wins over everything
        ("lan", "10.0.0.1", SERVICE, NODE, "10.1.0.1:81"),
        ("wan", "10.0.0.1", SERVICE, NODE, "203.0.113.1:82"),
        ("vpn", "10.0.0.1", SERVICE, NODE, "10.8.0.1:83"),
        ("wan", "", SERVICE, NODE, "203.0.113.1:82"),
        # a port of 0 is none
        ("bare", "10.0.0.1", SERVICE, NODE, "10.8.0.2:80"),
        # the node's, for a service that is where its node is
        ("lan", "", None, NODE, "10.9.1.1:80"),
        ("wan", "", None, NODE, "198.51.100.1:80"),
        ("vpn", "", None, NODE, "10.9.8.1:80"),
        ("wan", "", {"lan": ("10.1.0.1", 81)}, NODE, "198.51.100.1:80"),
        # the plain one of a service with an address of its own: its node may be a host of many containers
        ("lan", "10.0.0.1", None, NODE, "10.0.0.1:80"),
        ("wan", "10.0.0.1", None, NODE, "10.0.0.1:80"),
        ("vpn", "10.0.0.1", None, NODE, "10.9.8.1:80"),
        # lan and wan are there always, others are not
        ("lan", "10.0.0.1", None, None, "10.0.0.1:80"),
        ("wan", "", None, None, "10.9.0.1:80"),
        (None, "10.0.0.1", SERVICE, NODE, "10.0.0.1:80"),
        (None, "", SERVICE, NODE, "10.9.0.1:80"),
    ],
)
def test_a_tagged_address_is_the_services_or_else_the_nodes_or_else_the_plain_one(
    *,
    tag: str | None,
    own: str,
    of_service: dict[str, tuple[str, int]] | None,
    of_node: dict[str, str] | None,
    endpoint: str,
) -> None:
    registration = a_registration(address=own, tagged=of_service, node_tagged=of_node)
    assert str(the_endpoint_of(registration, tagged_address=tag)) == endpoint


def test_an_instance_without_the_tagged_address_that_was_asked_for_is_left_out() -> None:
    snapshot = the_snapshot_of(
        a_registration("web1", tagged={"vpn": ("10.8.0.1", 83)}),
        a_registration("web2", tagged={"wan": ("203.0.113.1", 82)}, node_tagged={"lan": "10.9.1.1"}),
        tagged_address="vpn",
    )
    assert [str(endpoint) for endpoint in snapshot.endpoints] == ["10.8.0.1:83"]
    assert snapshot.notes == ('web2 on n1 is ignored: neither its service nor its node has the tagged address "vpn"',)


@pytest.mark.parametrize(
    ("address", "port", "problem"),
    [
        ("web1.example", 80, f'found "web1.example" and port 80, {NO_HOST_NAME}'),
        ("localhost", 80, f'found "localhost" and port 80, {NO_HOST_NAME}'),
        ("10.0.0.1:80", 80, f'found "10.0.0.1:80" and port 80, {AN_ADDRESS}'),
        ("[::1]", 80, f'found "[::1]" and port 80, {AN_ADDRESS}'),
        ("10.0.0.1; shutdown", 80, f'found "10.0.0.1; shutdown" and port 80, {AN_ADDRESS}'),
        ("10.0.0.1\n", 80, f'found "10.0.0.1\\n" and port 80, {AN_ADDRESS}'),
        ("0.0.0.0", 80, f'found "0.0.0.0" and port 80, {ONE_HOST}'),
        ("::", 80, f'found "::" and port 80, {ONE_HOST}'),
        ("224.0.0.1", 80, f'found "224.0.0.1" and port 80, {ONE_HOST}'),
        ("fe80::1%eth0", 80, f'found "fe80::1%eth0" and port 80, {ONE_HOST}'),
        ("10.0.0.1", 0, 'found "10.0.0.1" and port 0, expected a port from 1 to 65535'),
        ("10.0.0.1", 70000, 'found "10.0.0.1" and port 70000, expected a port from 1 to 65535'),
        ("10.0.0.1", -1, 'found "10.0.0.1" and port -1, expected a port from 1 to 65535'),
    ],
)
def test_an_instance_at_no_address_for_haproxy_is_left_out_and_the_others_are_not(
    address: str, port: int, problem: str
) -> None:
    snapshot = the_snapshot_of(
        a_registration("web1", address=address, port=port), a_registration("web2", address="10.0.0.2")
    )
    assert snapshot.endpoints == (Endpoint("10.0.0.2", 80),)
    assert snapshot.notes == (f"web1 on n1 is ignored: {problem}",)


def test_a_note_is_one_line_that_can_be_printed_though_consul_takes_any_character_in_an_id() -> None:
    snapshot = the_snapshot_of(a_registration("web\n\x1b[2J", address="web1.example", node="n\x07"))
    (note,) = snapshot.notes
    assert note.startswith(r'"web\n\u001b[2J" on "n\u0007" is ignored: ')
    assert note.isprintable()


# ---- health


@pytest.mark.parametrize(
    ("on_critical", "only_passing", "passing", "warning", "critical"),
    [
        (OnCritical.REMOVE, False, READY, READY, None),
        (OnCritical.DRAIN, False, READY, READY, DRAIN),
        (OnCritical.KEEP, False, READY, READY, READY),
        (OnCritical.REMOVE, True, READY, None, None),
        (OnCritical.DRAIN, True, READY, DRAIN, DRAIN),
        (OnCritical.KEEP, True, READY, READY, READY),
    ],
)
def test_what_becomes_of_an_instance_by_its_checks_is_configured_but_maintenance_always_drains(
    *,
    on_critical: OnCritical,
    only_passing: bool,
    passing: EndpointState,
    warning: EndpointState | None,
    critical: EndpointState | None,
) -> None:
    found = {}
    for status in ("passing", "warning", "critical", MAINTENANCE):
        snapshot = the_snapshot_of(a_registration(checks=[status]), on_critical=on_critical, only_passing=only_passing)
        assert snapshot.notes == ()
        found[str(status)] = [endpoint.state for endpoint in snapshot.endpoints]
    expected = {"passing": passing, "warning": warning, "critical": critical, str(MAINTENANCE): DRAIN}
    assert found == {status: [state] if state else [] for status, state in expected.items()}


def test_an_instance_that_is_removed_for_its_checks_is_nothing_to_note_whatever_its_registration_says() -> None:
    registration = a_registration(address="web1.example", meta={"dynsrv-weight": "x"}, checks=["critical"])
    assert the_snapshot_of(registration).notes == ()


# ---- twice at one address


def test_of_two_registrations_at_one_address_and_port_the_healthier_counts_whatever_the_order() -> None:
    ranked = [
        a_registration("a", meta={"dynsrv-name": "passing"}),
        a_registration("b", meta={"dynsrv-name": "warning"}, checks=["warning"]),
        a_registration("c", meta={"dynsrv-name": "maintained"}, checks=[MAINTENANCE]),
        a_registration("d", meta={"dynsrv-name": "critical"}, checks=["critical"]),
    ]
    for healthiest in range(4):
        for order in permutations(ranked[healthiest:]):
            (endpoint,) = the_snapshot_of(*order, on_critical=OnCritical.DRAIN).endpoints
            assert endpoint.name == ["passing", "warning", "maintained", "critical"][healthiest]


def test_of_two_that_are_equally_healthy_the_first_counts_and_keeps_its_place() -> None:
    snapshot = the_snapshot_of(
        a_registration("a", meta={"dynsrv-name": "first"}),
        a_registration("b", port=81),
        a_registration("c", meta={"dynsrv-name": "second"}),
    )
    assert [(endpoint.name, endpoint.port) for endpoint in snapshot.endpoints] == [("first", 80), (None, 81)]


def test_two_spellings_of_an_address_are_one_place_and_two_ports_are_two() -> None:
    places = [("2001:db8::1", 80), ("2001:DB8:0::1", 80), ("2001:db8::1", 81)]
    snapshot = the_snapshot_of(
        *(a_registration(f"web{number}", address=address, port=port) for number, (address, port) in enumerate(places))
    )
    assert [str(endpoint) for endpoint in snapshot.endpoints] == ["[2001:db8::1]:80", "[2001:db8::1]:81"]


def test_the_same_instances_are_the_same_snapshot() -> None:
    assert InstanceMapper().snapshot([an_instance()]) == InstanceMapper().snapshot([an_instance()])
