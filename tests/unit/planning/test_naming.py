from __future__ import annotations

import re
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from dynsrv.model import Endpoint, EndpointState
from dynsrv.planning import naming
from tests.fakes.builders import an_endpoint

endpoints = st.builds(
    Endpoint,
    st.ip_addresses().map(str),
    st.integers(1, 65535),
    name=st.none() | st.from_regex(r"[A-Za-z0-9_:.-]{1,20}", fullmatch=True),
)
options = st.lists(st.sampled_from(["check", "ssl", "inter 2s", "maxconn 200"])).map(tuple)


def an_id(endpoint: Endpoint, *options: str) -> int:
    return next(naming.ids(endpoint, options))


def test_an_id_is_the_same_today_tomorrow_and_on_every_haproxy() -> None:
    assert an_id(Endpoint("10.0.0.1", 80), "check", "inter 2s") == 110_209_592
    assert an_id(Endpoint("10.0.0.1", 80)) == 250_329_022
    assert an_id(Endpoint("::1", 80)) == 107_241_972


@given(endpoint=endpoints, options=options)
def test_ids_leave_the_small_numbers_to_the_configuration_file_and_are_never_folded(
    endpoint: Endpoint, options: tuple[str, ...]
) -> None:
    for number in islice(naming.ids(endpoint, options), 5):
        assert 65_536 <= number <= 268_435_456


def test_the_candidates_of_one_endpoint_differ() -> None:
    assert len(set(islice(naming.ids(an_endpoint(), ()), 8))) == 8


def test_no_two_of_many_endpoints_prefer_the_same_id_more_often_than_chance_has_it() -> None:
    many = [Endpoint(f"10.{one}.{two}.1", 80) for one in range(100) for two in range(100)]
    assert len({an_id(endpoint) for endpoint in many}) >= len(many) - 3


def test_other_options_make_another_id() -> None:
    ids = {an_id(an_endpoint(), *options) for options in [(), ("check",), ("check", "ssl"), ("ssl", "check")]}
    assert len(ids) == 4


def test_address_and_port_and_options_cannot_be_taken_for_each_other() -> None:
    assert an_id(Endpoint("10.0.0.1", 80), "1") != an_id(Endpoint("10.0.0.1", 801))
    assert an_id(an_endpoint(), "a", "b") != an_id(an_endpoint(), "a b")


def test_weight_state_and_name_make_no_other_id() -> None:
    plain = an_id(an_endpoint())
    assert an_id(an_endpoint(weight=7)) == plain
    assert an_id(an_endpoint(state=EndpointState.DRAIN)) == plain
    assert an_id(an_endpoint(name="web-1")) == plain


def test_a_server_is_named_for_its_address_and_port() -> None:
    assert next(naming.names(an_endpoint(), "dyn-", 255)) == "dyn-10.0.0.1:80"
    assert next(naming.names(Endpoint("::1", 80), "dyn-", 255)) == "dyn-::1:80"


def test_a_name_of_the_source_s_comes_before_the_address() -> None:
    assert next(naming.names(an_endpoint(name="web-1"), "x_", 255)) == "x_web-1"


def test_where_the_name_is_taken_the_id_comes_behind_it_and_then_a_number() -> None:
    assert list(islice(naming.names(an_endpoint(name="web"), "dyn-", 255), 4)) == [
        "dyn-web",
        "dyn-web-ff",
        "dyn-web-ff-2",
        "dyn-web-ff-3",
    ]


@given(endpoint=endpoints)
def test_every_name_is_one_that_haproxy_permits(endpoint: Endpoint) -> None:
    for name in islice(naming.names(endpoint, "dyn-", 7), 4):
        assert re.fullmatch(r"[A-Za-z0-9_:.-]+", name)


def test_the_first_candidate_that_nobody_has_is_taken() -> None:
    assert naming.first_free(iter([1, 2, 3]), ()) == 1
    assert naming.first_free(iter([1, 2, 3]), {1, 2}) == 3
