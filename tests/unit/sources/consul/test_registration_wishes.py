"""Weights, and what a registration asks of dynsrv by its service meta."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynsrv.model import Endpoint, EndpointState, Snapshot
from dynsrv.server_keywords import MANAGED, STATIC_ONLY
from dynsrv.sources.consul.endpoints import InstanceMapper
from dynsrv.sources.consul.values import OnCritical
from dynsrv.sources.endpoint_rules import ANY_ENDPOINT, EndpointRules
from tests.unit.sources.consul.registrations import a_check, a_registration, an_instance, instances_of

MAINTENANCE = a_check("critical", id="_service_maintenance:web1")
A_NAME = "expected 1 to 100 letters, digits and _ : . - only"
A_WEIGHT = "expected a whole number from 0 to 256"
A_LIMIT = "expected a whole number from 0"
A_KEYWORD = "expected a keyword of HAProxy's server line first, such as send-proxy-v2"


LISTED = EndpointRules(keywords=frozenset(("alpn", "backup", "send-proxy", "send-proxy-v2", "sni")))


def the_snapshot_of(
    *registrations: dict[str, object], on_critical: OnCritical = OnCritical.KEEP, rules: EndpointRules = LISTED
) -> Snapshot:
    return InstanceMapper(on_critical=on_critical, rules=rules).snapshot(instances_of(*registrations))


def the_endpoint_with(**meta: str) -> Endpoint:
    """The endpoint of a registration with meta that is good: `weight` is `dynsrv-weight`."""
    snapshot = the_snapshot_of(a_registration(meta={f"dynsrv-{key}": value for key, value in meta.items()}))
    assert snapshot.notes == ()
    (endpoint,) = snapshot.endpoints
    return endpoint


def the_weights_of(*registrations: dict[str, object]) -> list[int | None]:
    return [endpoint.weight for endpoint in the_snapshot_of(*registrations).endpoints]


# ---- the weights of Consul


def test_where_nobody_gave_weights_the_backends_own_counts() -> None:
    assert the_weights_of(a_registration(), a_registration("web2", port=81, checks=["warning"])) == [None, None]


@pytest.mark.parametrize("weights", [(10, 1), (1, 10), (1, 0)])
def test_where_anybody_gave_weights_consuls_default_of_1_is_meant_by_the_others(weights: tuple[int, int]) -> None:
    registrations = a_registration("a"), a_registration("b", port=81, weights=weights)
    assert the_weights_of(*registrations) == [1, weights[0]]


@pytest.mark.parametrize(
    ("check", "weight"), [("passing", 10), ("warning", 3), ("critical", 10), (MAINTENANCE, 10)], ids=str
)
def test_a_warning_has_a_weight_of_its_own(check: str | dict[str, object], weight: int) -> None:
    assert the_weights_of(a_registration(weights=(10, 3), checks=[check])) == [weight]


def test_weights_count_even_of_an_instance_that_is_removed_so_that_its_return_changes_no_other() -> None:
    registrations = a_registration("a"), a_registration("b", port=81, weights=(10, 10), checks=["critical"])
    snapshot = the_snapshot_of(*registrations, on_critical=OnCritical.REMOVE)
    assert [endpoint.weight for endpoint in snapshot.endpoints] == [1]


def test_a_weight_beyond_haproxys_highest_is_that_and_noted() -> None:
    snapshot = the_snapshot_of(
        a_registration("web1", weights=(65535, 1)),
        a_registration("web2", port=81, weights=(256, 1)),
        a_registration("web3", port=82, weights=(1, 257), checks=["warning"]),
    )
    assert [endpoint.weight for endpoint in snapshot.endpoints] == [256, 256, 256]
    assert snapshot.notes == (
        "web1 on n1: its weight 65535 is reduced to 256, the highest that HAProxy accepts",
        "web3 on n1: its weight 257 is reduced to 256, the highest that HAProxy accepts",
    )


@pytest.mark.parametrize("weight", [0, -5])
def test_a_weight_of_nothing_is_0_and_not_the_default(weight: int) -> None:
    assert the_weights_of(a_registration(weights=(10, weight), checks=["warning"])) == [0]


# ---- meta


def test_meta_without_the_prefix_means_nothing() -> None:
    meta = {"weight": "5", "dynsrv_weight": "5", "Dynsrv-weight": "5", "dynsrv-": "5", "dynsrv-zone": "x"}
    snapshot = the_snapshot_of(a_registration(meta=meta))
    assert (snapshot.endpoints, snapshot.notes) == ((Endpoint("10.0.0.1", 80),), ())


def test_all_of_meta_counts_together() -> None:
    endpoint = the_endpoint_with(weight="5", maxconn="100", name="web-1", options="send-proxy-v2; alpn h2,http/1.1")
    expected = Endpoint(
        "10.0.0.1", 80, name="web-1", weight=5, maxconn=100, options=("send-proxy-v2", "alpn h2,http/1.1")
    )
    assert endpoint == expected


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("backup", ("backup",)),
        (" backup ;; send-proxy ; ", ("backup", "send-proxy")),
        ("", ()),
        (" ; ", ()),
        ("sni str(a.example)", ("sni str(a.example)",)),
    ],
)
def test_options_are_separated_by_semicolons(text: str, options: tuple[str, ...]) -> None:
    assert the_endpoint_with(options=text).options == options


@pytest.mark.parametrize(("text", "weight"), [("0", 0), ("007", 7), ("256", 256)])
def test_the_weight_of_meta_counts_before_consuls_and_before_the_default_even_if_it_is_0(
    text: str, weight: int
) -> None:
    assert the_endpoint_with(weight=text).weight == weight
    meta = {"dynsrv-weight": text}
    for checks in (["passing"], ["warning"]):
        assert the_weights_of(a_registration(meta=meta, weights=(10, 999), checks=checks)) == [weight]


def test_the_weight_of_meta_is_not_one_that_makes_the_others_count() -> None:
    registrations = a_registration("a", meta={"dynsrv-weight": "50"}), a_registration("b", port=81)
    assert the_weights_of(*registrations) == [50, None]


def test_meta_counts_of_an_instance_that_drains_too() -> None:
    meta = {"dynsrv-weight": "5", "dynsrv-name": "web-1"}
    (endpoint,) = the_snapshot_of(a_registration(meta=meta, checks=[MAINTENANCE])).endpoints
    assert endpoint == Endpoint("10.0.0.1", 80, name="web-1", weight=5, state=EndpointState.DRAIN)


LONG = "a" * 101
REFUSED = [
    ("weight", "heavy", f'found "heavy", {A_WEIGHT}'),
    ("weight", "257", f'found "257", {A_WEIGHT}'),
    ("weight", "-1", f'found "-1", {A_WEIGHT}'),
    ("weight", "5.5", f'found "5.5", {A_WEIGHT}'),
    ("weight", " 5", f'found " 5", {A_WEIGHT}'),
    ("weight", "\u0665", f'found "\u0665", {A_WEIGHT}'),  # a digit, but not one of HAProxy's
    ("weight", "", f'found "", {A_WEIGHT}'),
    ("maxconn", "many", f'found "many", {A_LIMIT}'),
    ("maxconn", "-1", f'found "-1", {A_LIMIT}'),
    ("maxconn", "2147483648", f'found "2147483648", {A_LIMIT}'),
    ("maxconn", "1" * 5000, f'found "{"1" * 79}…", {A_LIMIT}'),
    ("name", "", f'found "", {A_NAME}'),
    ("name", "web 1", f'found "web 1", {A_NAME}'),
    ("name", "web1\n", f'found "web1\\n", {A_NAME}'),
    ("name", "web;1", f'found "web;1", {A_NAME}'),
    ("name", "be/web", f'found "be/web", {A_NAME}'),
    ("name", "wéb", f'found "wéb", {A_NAME}'),
    ("name", LONG, f'found "{LONG[:79]}…", {A_NAME}'),
    ("options", "backup\nshutdown", r'found "backup\nshutdown", but "\n" could end the command or begin another'),
    ("options", "cookie a#b", 'found "cookie a#b", but "#" could end the command or begin another; remove it'),
    ("options", 'cookie "a"', r'found "cookie \"a\"", but "\"" could end the command or begin another; remove it'),
    ("options", "cookie 'a'", """found "cookie 'a'", but "'" could end the command or begin another; remove it"""),
    ("options", r"cookie a\ b", r'found "cookie a\\ b", but "\\" could end the command or begin another; remove it'),
    ("options", "cookie ä", 'found "cookie ä", but "ä" could end the command or begin another; remove it'),
    ("options", "cookie <<", 'found "cookie <<", but HAProxy may treat << as the start of a payload; remove it'),
    ("options", "cookie  a", 'found "cookie  a", expected a keyword and its arguments with one space between them'),
    ("options", "Backup", f'found "Backup", {A_KEYWORD}'),
    ("options", "backup; -x", f'found "backup; -x", {A_KEYWORD}'),
    ("options", "weight 5", 'found "weight 5", but weight does not belong here: use the key server.weight'),
    (
        "options",
        "backup check",
        'found "backup check", but check is no argument of backup: write it as an option of its own',
    ),
    ("options", "resolvers x", 'found "resolvers x", but HAProxy does not accept resolvers for servers'),
]


@pytest.mark.parametrize(("key", "text", "problem"), REFUSED)
def test_meta_that_is_not_good_is_ignored_and_noted_and_the_rest_counts(key: str, text: str, problem: str) -> None:
    good = {"weight": "5", "maxconn": "100", "name": "web-1", "options": "backup"}
    meta = {f"dynsrv-{one}": value for one, value in (good | {key: text}).items()}
    snapshot = the_snapshot_of(a_registration("web1", meta=meta, node="n1"))
    nothing = () if key == "options" else None
    kept = {"name": "web-1", "weight": 5, "maxconn": 100, "options": ("backup",)} | {key: nothing}
    (endpoint,), (note,) = snapshot.endpoints, snapshot.notes
    assert {one: getattr(endpoint, one) for one in kept} == kept
    assert note.startswith(f"web1 on n1: meta dynsrv-{key} is ignored: {problem}")
    assert note.isprintable()


def test_one_bad_option_makes_all_of_them_bad() -> None:
    snapshot = the_snapshot_of(a_registration(meta={"dynsrv-options": "send-proxy; verify none"}))
    assert [endpoint.options for endpoint in snapshot.endpoints] == [()]
    assert len(snapshot.notes) == 1


UNLISTED = "is not in the backend's options_from_source; remove it, or list it there"


@pytest.mark.parametrize(
    "option",
    [
        *["backup", "proto fcgi", "verifyhost evil.example", "ssl-min-ver SSLv3", "ciphers NULL", "crt /etc/other.pem"],
        *["addr 192.0.2.1", "port 22", "source 10.0.0.9", "track other/one", "agent-addr 192.0.2.1", "no-verifyhost"],
    ],
)
def test_no_option_of_a_registration_counts_unless_its_keyword_is_listed(option: str) -> None:
    registration = a_registration("web1", meta={"dynsrv-options": option})
    snapshot = the_snapshot_of(registration, rules=ANY_ENDPOINT)
    assert [endpoint.options for endpoint in snapshot.endpoints] == [()]
    (note,) = snapshot.notes
    keyword = option.partition(" ")[0]
    expected = f'web1 on n1: meta dynsrv-options is ignored: found "{option}", but {keyword} {UNLISTED}'
    assert note == expected
    listed = the_snapshot_of(registration, rules=EndpointRules(keywords=frozenset((keyword,))))
    assert ([endpoint.options for endpoint in listed.endpoints], listed.notes) == ([(option,)], ())


def test_the_options_that_are_listed_count_beside_those_that_are_not() -> None:
    snapshot = the_snapshot_of(a_registration(meta={"dynsrv-options": "backup; verifyhost evil.example; alpn h2"}))
    assert [endpoint.options for endpoint in snapshot.endpoints] == [("backup", "alpn h2")]
    (note,) = snapshot.notes
    assert f'found "verifyhost evil.example", but verifyhost {UNLISTED}' in note


@pytest.mark.parametrize(
    "option",
    ["backup verifyhost evil.example", "backup addr 192.0.2.1", "backup tfo", "backup no-verifyhost", "source tfo"],
)
def test_no_keyword_can_hide_behind_a_listed_one(option: str) -> None:
    rules = EndpointRules(keywords=frozenset(("backup", "source")))
    snapshot = the_snapshot_of(a_registration(meta={"dynsrv-options": option}), rules=rules)
    assert [endpoint.options for endpoint in snapshot.endpoints] == [()]
    assert len(snapshot.notes) == 1


def test_a_weight_of_meta_that_is_not_good_leaves_consuls() -> None:
    snapshot = the_snapshot_of(a_registration(meta={"dynsrv-weight": "heavy"}, weights=(10, 1)))
    assert [endpoint.weight for endpoint in snapshot.endpoints] == [10]


def test_everything_that_is_wrong_is_noted_in_the_order_of_the_instances() -> None:
    snapshot = the_snapshot_of(
        a_registration("a", meta={"dynsrv-name": "", "dynsrv-weight": "x"}),
        a_registration("b", address="web1.example"),
        a_registration("c", port=81, meta={"dynsrv-maxconn": "x"}),
    )
    assert [note.partition(" on ")[0] for note in snapshot.notes] == ["a", "a", "b", "c"]


KEYWORDS = sorted(MANAGED | dict.fromkeys(STATIC_ONLY) | dict.fromkeys(("backup", "send-proxy", "cookie x")))
TEXTS = st.text() | st.lists(st.sampled_from([*KEYWORDS, *";# \n\r\t\\\"'<", "a"])).map("".join)


@given(name=TEXTS, options=TEXTS, weight=TEXTS, maxconn=TEXTS)
@example(name="a\nb", options="backup;\nshutdown sessions", weight="\u0663", maxconn="1\n")
def test_whatever_meta_says_no_command_can_come_of_it(name: str, options: str, weight: str, maxconn: str) -> None:
    meta = {"dynsrv-name": name, "dynsrv-options": options, "dynsrv-weight": weight, "dynsrv-maxconn": maxconn}
    mapper = InstanceMapper(rules=EndpointRules(keywords=frozenset((*KEYWORDS, "cookie", "a", "aa"))))
    (endpoint,) = mapper.snapshot([an_instance(meta=json.loads(json.dumps(meta)))]).endpoints
    assert endpoint.name is None or re.fullmatch(r"[A-Za-z0-9_:.-]{1,100}", endpoint.name)
    assert endpoint.weight is None or 0 <= endpoint.weight <= 256
    assert endpoint.maxconn is None or 0 <= endpoint.maxconn < 2**31
    for option in endpoint.options:
        assert re.fullmatch(r"[a-z][a-z0-9-]*( [\x21-\x7e]+)*", option)
        assert not set(option) & set(";#\"'\\")
        assert "<<" not in option
        assert not set(option.split(" ")) & (MANAGED.keys() | STATIC_ONLY)
