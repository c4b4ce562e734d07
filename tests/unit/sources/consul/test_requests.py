from __future__ import annotations

import json
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsrv.sources.consul import requests
from dynsrv.sources.consul.requests import Consistency, Query
from dynsrv.sources.consul.transport import _url

WORDS = st.text([chr(code) for code in range(0x21, 0x7F)], min_size=1)
TEXTS = st.text([chr(code) for code in range(0x20, 0x7F)], min_size=1)


def rights_asked_for(query: Query, *nodes: str) -> list[dict[str, str]]:
    wanted: list[dict[str, str]] = json.loads(query.permission(nodes).body or "")
    return wanted


def test_what_is_not_configured_is_not_asked() -> None:
    question = Query("web").instances()
    assert (question.path, question.params, question.body) == ("/v1/health/service/web", (), None)


def test_all_that_is_configured_is_asked_and_each_tag_on_its_own() -> None:
    query = Query(
        "web",
        tags=("http", "a b"),
        filter='Service.Meta.v == "2"',
        near="_agent",
        datacenter="dc2",
        namespace="team",
        partition="part",
    )
    assert query.instances().params == (
        ("tag", "http"),
        ("tag", "a b"),
        ("filter", 'Service.Meta.v == "2"'),
        ("near", "_agent"),
        ("dc", "dc2"),
        ("ns", "team"),
        ("partition", "part"),
    )


def test_what_does_not_pass_is_asked_for_too_since_maintenance_is_among_it() -> None:
    assert "passing" not in dict(Query("web").instances().params)


@pytest.mark.parametrize(
    ("stale", "consistency", "asked"),
    [
        (False, None, ()),
        (True, None, (("stale", ""),)),
        (False, Consistency.STALE, (("stale", ""),)),
        (True, Consistency.DEFAULT, ()),
        (True, Consistency.CONSISTENT, (("consistent", ""),)),
        (False, Consistency.CONSISTENT, (("consistent", ""),)),
    ],
)
def test_an_answer_is_as_consistent_as_configured_or_as_asked_for(
    *, stale: bool, consistency: Consistency | None, asked: tuple[tuple[str, str], ...]
) -> None:
    assert Query("web", stale=stale).instances(consistency).params == asked


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("team/web", "/v1/health/service/team%2Fweb"),
        ("web?x=1&y#z", "/v1/health/service/web%3Fx%3D1%26y%23z"),
        ("100%2F", "/v1/health/service/100%252F"),
        ("web-1.x_y~z", "/v1/health/service/web-1.x_y~z"),
    ],
)
def test_the_name_of_a_service_is_one_step_of_the_path_whatever_is_in_it(service: str, path: str) -> None:
    assert Query(service).instances().path == path


@given(service=WORDS, tags=st.lists(TEXTS, max_size=3), filter=TEXTS, word=WORDS)
def test_what_is_asked_reaches_consul_as_it_was_written(service: str, tags: list[str], filter: str, word: str) -> None:
    query = Query(service, tags=tuple(tags), filter=filter, near=word, datacenter=word, stale=True)
    url, unix = _url("http://127.0.0.1:8500", query.instances())
    sent = urlsplit(str(url))
    assert unix is None
    assert sent.netloc == "127.0.0.1:8500"
    assert unquote(sent.path) == f"/v1/health/service/{service}"
    assert sent.path.count("/") == 4
    assert parse_qsl(sent.query, keep_blank_values=True) == list(query.instances().params)


@pytest.mark.parametrize(
    ("address", "url", "unix"),
    [
        ("http://[::1]:8500", "http://[::1]:8500/v1/status/leader", None),
        ("https://lb:8443/consul", "https://lb:8443/consul/v1/status/leader", None),
        ("unix:///run/consul.sock", "http://localhost/v1/status/leader", "/run/consul.sock"),
    ],
)
def test_an_address_may_be_of_ipv6_have_a_path_or_be_a_socket(address: str, url: str, unix: str | None) -> None:
    assert (str(_url(address, requests.LEADER)[0]), _url(address, requests.LEADER)[1]) == (url, unix)


def test_the_right_to_read_the_service_and_each_node_is_asked_for_where_the_service_is() -> None:
    query = Query("web", tags=("http",), filter="x", near="_agent", datacenter="dc2", stale=True)
    question = query.permission(["n1", ""])
    assert (question.path, question.params) == ("/v1/internal/acl/authorize", (("dc", "dc2"),))
    assert rights_asked_for(query, "n1", "") == [
        {"Resource": "service", "Access": "read", "Segment": "web"},
        {"Resource": "node", "Access": "read", "Segment": "n1"},
        {"Resource": "node", "Access": "read", "Segment": ""},
    ]


def test_a_right_is_asked_for_in_the_namespace_and_the_partition_of_the_service() -> None:
    plain = rights_asked_for(Query("web"), "n1")
    for query, place in (
        (Query("web", namespace="team"), {"Namespace": "team"}),
        (Query("web", partition="part"), {"Partition": "part"}),
        (Query("web", namespace="team", partition="part"), {"Namespace": "team", "Partition": "part"}),
    ):
        assert rights_asked_for(query, "n1") == [right | place for right in plain]
        assert query.permission(["n1"]).params == ()  # it is in the body


def test_equal_queries_are_one_key() -> None:
    assert len({Query("web", tags=("a",)), Query("web", tags=("a",)), Query("web", tags=("a",), stale=True)}) == 2
