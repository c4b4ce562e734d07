from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.errors import SourceError
from dynsrv.model import Endpoint, EndpointState, Snapshot
from dynsrv.sources.ec2.endpoints import InstanceMapper
from dynsrv.sources.ec2.responses import Inventory
from dynsrv.sources.ec2.values import AddressKind
from tests.fakes.ec2 import an_instance
from tests.unit.sources.ec2.looks import a_look

SEVERAL = ", expected a port from 1 to 65535, or several with commas"


def snapshot_of(*instances: dict[str, Any], **reading: Any) -> Snapshot:
    usual: dict[str, Any] = {} if "port_tag" in reading else {"port": 80}
    return InstanceMapper(**usual, **reading).snapshot(a_look(*instances))


def note_of(*instances: dict[str, Any], **reading: Any) -> str:
    """The only thing that is told, where nothing is left."""
    snapshot = snapshot_of(*instances, **reading)
    assert snapshot.endpoints == ()
    (note,) = snapshot.notes
    return note


def endpoints(*instances: dict[str, Any], **reading: Any) -> list[str]:
    snapshot = snapshot_of(*instances, **reading)
    assert snapshot.notes == ()
    return list(map(str, snapshot.endpoints))


def test_an_instance_is_an_endpoint_with_its_id_as_its_name() -> None:
    assert snapshot_of(an_instance(7)) == Snapshot((Endpoint("10.0.0.7", 80, name="i-7"),))


def test_endpoints_come_in_the_order_of_ids_however_aws_answers() -> None:
    one, two, three = (an_instance(number) for number in (1, 2, 3))
    assert snapshot_of(three, one, two) == snapshot_of(one, two, three)
    assert endpoints(three, one, two) == ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]


def test_no_instance_is_a_fact_and_not_an_error() -> None:
    assert snapshot_of() == Snapshot(())
    assert snapshot_of(an_instance(state="terminated", address="")).notes == ()


# ---- addresses


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (AddressKind.PRIVATE, "10.0.0.1:80"),
        (AddressKind.PUBLIC, "198.51.100.1:80"),
        (AddressKind.IPV6, "[2001:db8::1]:80"),
    ],
)
def test_the_address_that_is_meant_is_the_one_that_is_taken(kind: AddressKind, address: str) -> None:
    instance = an_instance(public="198.51.100.1", ipv6=["2001:0db8::0001", "2001:db8::2"])
    assert endpoints(instance, address=kind) == [address]


@pytest.mark.parametrize("kind", AddressKind)
def test_an_instance_without_the_address_that_is_meant_is_left_out_and_told(kind: AddressKind) -> None:
    assert note_of(an_instance(address=""), address=kind) == f"i-1 is ignored: it has no {kind} address"


def test_an_address_that_is_none_of_a_host_is_left_out_and_told() -> None:
    assert note_of(an_instance(address="10.0.0")).startswith("i-1 is ignored: expected an IPv4 or IPv6 address")
    assert note_of(an_instance(address="0.0.0.0")).startswith("i-1 is ignored: expected the address of one host")


# ---- ports


def test_the_port_may_be_each_instance_s_own() -> None:
    one, two = an_instance(1, tags={"ports": "8080"}), an_instance(2, tags={"ports": "9090"})
    assert endpoints(one, two, port_tag="ports") == ["10.0.0.1:8080", "10.0.0.2:9090"]


@pytest.mark.parametrize("text", ["80,81", " 80 , 81 ", "80,81,80"])
def test_several_ports_are_a_server_for_each(text: str) -> None:
    snapshot = snapshot_of(an_instance(tags={"ports": text}), port_tag="ports")
    assert snapshot == Snapshot((Endpoint("10.0.0.1", 80, name="i-1-80"), Endpoint("10.0.0.1", 81, name="i-1-81")))


def test_one_port_written_twice_is_one_server_with_the_name_of_one() -> None:
    assert snapshot_of(an_instance(tags={"ports": "80,80"}), port_tag="ports").endpoints[0].name == "i-1"


def test_an_instance_without_the_tag_is_left_out_and_told() -> None:
    assert note_of(an_instance(tags={"Ports": "80"}), port_tag="ports") == "i-1 is ignored: it has no tag ports"


@pytest.mark.parametrize("text", ["", "http", "0", "65536", "-1", "8e3", "80.0", "80;81", "80,", ",", "80 81", "٨٠"])
def test_a_tag_that_is_no_port_is_left_out_and_told(text: str) -> None:
    told = note_of(an_instance(tags={"ports": text}), port_tag="ports")
    assert told == f'i-1 is ignored: found "{text}" in its tag ports{SEVERAL}'


def test_what_is_wrong_with_one_instance_does_not_touch_the_others() -> None:
    wrong, good = an_instance(1, tags={"ports": "x"}), an_instance(2, tags={"ports": "80"})
    snapshot = snapshot_of(wrong, good, port_tag="ports")
    assert list(map(str, snapshot.endpoints)) == ["10.0.0.2:80"]
    assert len(snapshot.notes) == 1


def test_of_an_instance_that_does_not_run_nothing_is_told() -> None:
    assert endpoints(an_instance(state="stopped", tags={"ports": "x"}), port_tag="ports") == []


# ---- weights


@pytest.mark.parametrize(("text", "weight"), [("0", 0), (" 256 ", 256), ("010", 10)])
def test_a_tag_may_have_the_weight(text: str, weight: int) -> None:
    (endpoint,) = snapshot_of(an_instance(tags={"weight": text}), weight_tag="weight").endpoints
    assert endpoint.weight == weight


def test_without_the_tag_the_weight_is_the_backend_s() -> None:
    (endpoint,) = snapshot_of(an_instance(), weight_tag="weight").endpoints
    assert endpoint.weight is None


@pytest.mark.parametrize("text", ["257", "-1", "1.5", "heavy", ""])
def test_a_weight_that_is_none_is_told_and_the_backend_s_counts(text: str) -> None:
    snapshot = snapshot_of(an_instance(tags={"weight": text}), weight_tag="weight")
    assert snapshot.endpoints[0].weight is None
    assert snapshot.notes == (f'i-1: its tag weight is ignored: found "{text}", expected a whole number from 0 to 256',)


# ---- two at one address


def test_of_two_instances_at_one_address_the_first_by_its_id_counts_and_the_other_is_told() -> None:
    snapshot = snapshot_of(an_instance(2, address="10.0.0.9"), an_instance(1, address="10.0.0.9"))
    assert [one.name for one in snapshot.endpoints] == ["i-1"]
    assert snapshot.notes == ("i-2 is ignored: i-1 has 10.0.0.9:80, too",)


@pytest.mark.parametrize("numbers", [(1, 2), (2, 1)])
def test_of_two_instances_at_one_address_the_one_that_goes_gives_way_and_nothing_is_told(
    numbers: tuple[int, int],
) -> None:
    goes, stays = numbers
    snapshot = snapshot_of(
        an_instance(goes, address="10.0.0.9", state="shutting-down"), an_instance(stays, address="10.0.0.9")
    )
    assert [(one.name, one.state) for one in snapshot.endpoints] == [(f"i-{stays}", EndpointState.READY)]
    assert snapshot.notes == ()


def test_two_instances_at_one_address_that_both_go_are_one_server_in_drain() -> None:
    both = (an_instance(number, address="10.0.0.9", state="stopping") for number in (1, 2))
    snapshot = snapshot_of(*both)
    assert [one.state for one in snapshot.endpoints] == [EndpointState.DRAIN]
    assert snapshot.notes == ()


def test_two_instances_at_one_address_with_other_ports_are_two_servers() -> None:
    one = an_instance(1, address="10.0.0.9", tags={"ports": "80"})
    other = an_instance(2, address="10.0.0.9", tags={"ports": "81"})
    assert endpoints(one, other, port_tag="ports") == ["10.0.0.9:80", "10.0.0.9:81"]


# ---- whatever AWS says

IDS = st.from_regex(r"i-[0-9a-f]{1,17}", fullmatch=True)
ADDRESSES = st.sampled_from(["", "10.0.0.1", "10.0.0.2", "::1", "2001:db8::1", "x", "0.0.0.0"]) | st.text(max_size=5)
TAGS = st.sampled_from(["", "80", "80,81", "81 , 80", "0", "x", "1,2,3"]) | st.text(max_size=5)
EC2_STATES = st.sampled_from(["running", "running", "shutting-down", "stopping", "stopped"]) | st.text(max_size=5)
STATES = st.sampled_from(["InService", "Standby", "Terminating:Wait", "Warmed:Running"]) | st.text(max_size=5)
READINGS = st.builds(
    InstanceMapper,
    port=st.just(80),
    port_tag=st.sampled_from([None, "ports"]),
    address=st.sampled_from(AddressKind),
    weight_tag=st.sampled_from([None, "weight"]),
    removes_terminating=st.booleans(),
)


@st.composite
def looks(draw: st.DrawFn) -> Inventory:
    """Anything that AWS could say, of a few instances."""
    known = draw(st.lists(IDS, max_size=4))
    instances = [
        an_instance(
            id=one,
            state=draw(EC2_STATES),
            address=draw(ADDRESSES),
            public=draw(ADDRESSES),
            ipv6=draw(st.lists(ADDRESSES, max_size=2)),
            tags=draw(st.dictionaries(st.sampled_from(["ports", "weight"]), TAGS)),
        )
        for one in known
    ]
    states = draw(st.none() | st.dictionaries(st.sampled_from(known) if known else st.text(), STATES))
    return a_look(*instances, states=states)


@given(look=looks(), reading=READINGS)
def test_whatever_aws_says_no_two_endpoints_are_at_one_place_and_haproxy_takes_their_names(
    look: Inventory, reading: InstanceMapper
) -> None:
    snapshot = reading.snapshot(look)
    places = [(one.address, one.port) for one in snapshot.endpoints]
    assert len(set(places)) == len(places)
    for endpoint in snapshot.endpoints:
        assert endpoint.name is not None
        assert endpoint.name.startswith("i-")
        assert len(endpoint.name) <= 100
        assert 0 < endpoint.port <= 65535
    assert all(note.isprintable() for note in snapshot.notes)


@given(look=looks(), reading=READINGS)
def test_every_endpoint_is_where_an_instance_has_its_servers(look: Inventory, reading: InstanceMapper) -> None:
    everywhere = {place for one in look.instances for place in reading.locations(one)}
    assert {(one.address, one.port) for one in reading.snapshot(look).endpoints} <= everywhere


@pytest.mark.parametrize("id", ["", "i 1", "i" * 101])
def test_an_id_that_no_server_can_be_named_by_is_no_bug(id: str) -> None:
    with suppress(SourceError):  # refused as an answer, or left out
        assert snapshot_of(an_instance(id=id)).endpoints == ()
