from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.sources.consul import responses
from dynsrv.sources.consul.responses import ServiceAddress, Status, Weights
from tests.unit.sources.consul.registrations import a_check, a_registration, an_instance, instances_of

FROM_CONSUL_1_8_7 = (Path(__file__).parent / "health_of_web.json").read_bytes()
"""Three instances: one in the catalog only, one with a warning, one in maintenance."""

READERS: list[Callable[[bytes], object]] = [
    responses.instances,
    responses.denied,
    responses.leader,
    responses.services,
    responses.agent,
]


def the_error_of(body: bytes, read: Callable[[bytes], object] = responses.instances) -> str:
    with pytest.raises(ValueError, match="something that is not a response of Consul") as caught:
        read(body)
    return str(caught.value)


def test_an_answer_of_consul_1_8_is_read_in_its_order() -> None:
    catalog, warning, maintained = responses.instances(FROM_CONSUL_1_8_7)
    assert [str(one) for one in (catalog, warning, maintained)] == ["web3 on ext", "web1 on n1", "web2 on n1"]
    assert [one.status for one in (catalog, warning, maintained)] == ["passing", "warning", "maintenance"]
    assert (catalog.node.address, catalog.node.tagged_addresses) == ("10.9.9.9", {})
    assert (catalog.service.address, catalog.service.port, catalog.service.meta) == ("", 90, {})
    assert (catalog.service.tagged_addresses, catalog.service.weights) == ({}, Weights())
    assert catalog.checks == ()
    assert warning.node.tagged_addresses["wan"] == "127.0.0.1"
    assert (warning.service.address, warning.service.port) == ("10.1.0.1", 8080)
    assert warning.service.tagged_addresses["wan"] == ServiceAddress(Address="203.0.113.1", Port=81)
    assert warning.service.meta == {"dynsrv-weight": "5"}
    assert warning.service.weights == Weights(Passing=10, Warning=2)


def test_no_instances_are_an_answer_too() -> None:
    assert responses.instances(b"[]") == ()


def test_keys_that_consul_may_add_or_leave_out_do_not_matter() -> None:
    usual = a_registration()
    for part in (usual, usual["Node"], usual["Service"], usual["Service"]["Weights"], usual["Checks"][0]):
        part["PeerName"] = {"": [None]}
    for key in ("Weights", "TaggedAddresses", "Meta", "Tags"):
        del usual["Service"][key]
    del usual["Node"]["TaggedAddresses"]
    assert instances_of(usual) == instances_of(a_registration())


def test_what_a_check_printed_changes_nothing() -> None:
    one = an_instance(checks=[a_check("passing", output="HTTP GET /health: 200 OK")])
    other = an_instance(checks=[a_check("passing", output="it took 5 ms")])
    assert one == other
    assert one != an_instance(checks=["warning"])


def in_maintenance(check: str) -> dict[str, Any]:
    return a_check("critical", id=check)


@pytest.mark.parametrize(
    ("checks", "status"),
    [
        ([], Status.PASSING),
        (["passing", "passing"], Status.PASSING),
        (["passing", "warning"], Status.WARNING),
        (["warning", "warning"], Status.WARNING),
        (["passing", "critical"], Status.CRITICAL),
        (["warning", "critical"], Status.CRITICAL),
        (["critical", "warning"], Status.CRITICAL),
        (["passing", "any word of a newer Consul"], Status.CRITICAL),
        (["warning", ""], Status.CRITICAL),
        (["maintenance"], Status.CRITICAL),
        ([in_maintenance("_node_maintenance")], Status.MAINTENANCE),
        (["passing", in_maintenance("_service_maintenance:web1")], Status.MAINTENANCE),
        ([in_maintenance("_service_maintenance:web1"), "critical", "warning"], Status.MAINTENANCE),
        ([in_maintenance("my_node_maintenance")], Status.CRITICAL),
    ],
)
def test_an_instance_is_as_bad_as_its_worst_check_but_maintenance_is_what_counts(
    checks: list[str | dict[str, Any]], status: Status
) -> None:
    assert an_instance(checks=checks).status is status


def changed(*path: str | int, to: object) -> bytes:
    """An answer of one instance, in which one value is another."""
    answer: Any = [a_registration(tagged={"wan": ("203.0.113.1", 81)}, meta={"v": "1"})]
    here = answer
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = to
    return json.dumps(answer).encode()


def test_what_the_garbage_is_made_of_is_no_garbage() -> None:
    (instance,) = responses.instances(changed(0, "Service", "Port", to=81))
    assert (instance.service.port, instance.service.meta) == (81, {"v": "1"})


GARBAGE = {
    "nothing": b"",
    "no JSON": b"No cluster leader",
    "a page": b"<html><body>Log in</body></html>",
    "no text": b"\xff\xfe\x00",
    "half an answer": FROM_CONSUL_1_8_7[: len(FROM_CONSUL_1_8_7) // 2],
    "an answer without its last byte": FROM_CONSUL_1_8_7.rstrip()[:-1],
    "two answers": b"[][]",
    "null": b"null",
    "an object": b'{"Nodes": []}',
    "a list of texts": b'["web1", "web2"]',
    "a list of lists": b"[[]]",
    "a null among instances": b"[null]",
    "too deep": b"[" * 100_000,
    "a surrogate": changed(0, "Service", "ID", to="\ud800"),
    "a port as another text": changed(0, "Service", "Port", to="http"),
    "no port": changed(0, "Service", "Port", to=None),
    "a broken port": changed(0, "Service", "Port", to=80.5),
    "an address as a number": changed(0, "Service", "Address", to=10),
    "a service of nothing": changed(0, "Service", to=None),
    "a service without ID": changed(0, "Service", to={"Port": 80}),
    "a node of nothing": changed(0, "Node", to=None),
    "a node without name": changed(0, "Node", to={"Address": "10.0.0.1"}),
    "meta that is no text": changed(0, "Service", "Meta", "v", to=None),
    "meta that is no mapping": changed(0, "Service", "Meta", to=["v"]),
    "a tagged address of nothing": changed(0, "Service", "TaggedAddresses", "wan", to=None),
    "a tagged address as text": changed(0, "Service", "TaggedAddresses", "wan", to="10.0.0.1"),
    "a weight of nothing": changed(0, "Service", "Weights", "Passing", to=None),
    "checks of nothing": changed(0, "Checks", to=None),
    "a check without status": changed(0, "Checks", to=[{"CheckID": "x"}]),
    "a status that is no text": changed(0, "Checks", 0, "Status", to=True),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_an_answer_with_anything_wrong_is_refused_as_a_whole(what: str) -> None:
    the_error_of(GARBAGE[what])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((0, "Service", "Port"), "80"),
        ((0, "Service", "Port"), True),
        ((0, "Service", "Weights", "Passing"), "10"),
        ((0, "Service", "TaggedAddresses", "wan", "Port"), "81"),
    ],
)
def test_a_number_that_is_written_as_anything_else_is_refused(path: tuple[str | int, ...], value: object) -> None:
    the_error_of(changed(*path, to=value))


def test_an_error_says_where_the_answer_is_wrong() -> None:
    body = json.dumps([a_registration(), a_registration(port="http")]).encode()  # type: ignore[arg-type]
    assert the_error_of(body).startswith("something that is not a response of Consul (1.Service.Port: ")
    assert the_error_of(b"<html>").startswith("something that is not a response of Consul (Invalid JSON: ")


def test_an_error_has_nothing_of_the_answer_in_it() -> None:
    assert "hunter2" not in the_error_of(changed(0, "Service", "Meta", to="hunter2"))


def a_right(resource: str, name: str, *, allowed: bool) -> dict[str, object]:
    return {"Resource": resource, "Access": "read", "Segment": name, "Allow": allowed, "Namespace": "team"}


def test_what_a_token_may_not_read_is_named() -> None:
    rights = [
        a_right("service", "web", allowed=False),
        a_right("node", "n1", allowed=True),
        a_right("node", "n2", allowed=False),
        a_right("node", "", allowed=False),
    ]
    assert responses.denied(json.dumps(rights).encode()) == ["service web", "node n2", "any node"]
    assert responses.denied(json.dumps(rights[1:2]).encode()) == []
    the_error_of(b'[{"Resource": "service", "Segment": "web"}]', responses.denied)


def test_a_leader_may_be_missing() -> None:
    assert responses.leader(b'"10.0.0.1:8300"') == "10.0.0.1:8300"
    assert responses.leader(b'""\n') == ""
    the_error_of(b"null", responses.leader)


def test_services_are_known_by_their_names() -> None:
    assert responses.services(b'{"consul": [], "web": ["http", "v1"], "old": null}') == ["consul", "web", "old"]
    the_error_of(b'["web"]', responses.services)


def test_an_agent_tells_its_version_its_node_and_its_datacenter() -> None:
    body = b'{"Config": {"Datacenter": "dc1", "NodeName": "n1", "Server": true, "Version": "1.8.7"}, "Member": {}}'
    config = responses.agent(body).config
    assert (config.version, config.node, config.datacenter) == ("1.8.7", "n1", "dc1")
    the_error_of(b'{"Config": {}}', responses.agent)


def test_nodes_are_counted_once() -> None:
    read = instances_of(a_registration("a"), a_registration("b"), a_registration("c", node="n2"))
    assert responses.nodes(read) == {"n1", "n2"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
PLACES = [
    (0,),
    (0, "Node"),
    (0, "Service"),
    (0, "Checks"),
    (0, "Service", "ID"),
    (0, "Service", "Port"),
    (0, "Service", "Meta"),
    (0, "Service", "Weights"),
    (0, "Service", "TaggedAddresses"),
    (0, "Service", "TaggedAddresses", "wan"),
    (0, "Checks", 0),
]


@given(body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_answers_is_understood_or_refused(body: bytes) -> None:
    for read in READERS:
        with contextlib.suppress(ValueError):
            read(body)


@given(place=st.sampled_from(PLACES), value=JSON)
def test_whatever_is_in_an_answer_it_is_understood_or_refused(place: tuple[str | int, ...], value: object) -> None:
    try:
        (instance,) = responses.instances(changed(*place, to=value))
    except ValueError:
        return
    assert instance.status in Status
