"""What the configuration file calls for, as specs: what depends on a key differs when it does, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dynsrv.daemon.supervisor import difference
from dynsrv.settings import OnRemoved, Settings
from dynsrv.specs import Specs, specs_of

ETC = Path("/etc/dynsrv")
FILE = {"kind": "file", "path": "servers.yaml"}
BASE: dict[str, Any] = {
    "proxies": [{"name": "lb1", "address": "/run/1.sock"}, {"name": "lb2", "address": "/run/2.sock"}],
    "backends": [{"name": "be_app", "source": FILE}, {"name": "be_other", "proxies": ["lb2"], "source": FILE}],
}


def the_specs(**changes: Any) -> Specs:
    return specs_of(Settings.model_validate(BASE | changes, context={"directory": ETC, "environ": {}}), directory=ETC)


def changed(before: Specs, after: Specs) -> set[str]:
    """What starts or stops, in short."""
    kinds: Mapping[str, tuple[Mapping[Any, object], Mapping[Any, object]]] = {
        kind: (getattr(before, kind), getattr(after, kind)) for kind in ("proxies", "sources", "desired", "backends")
    }
    found = set()
    for kind, (one, other) in kinds.items():
        changes = difference(one, other)
        found |= {f"{kind} {key}" for key in (*changes.gone, *changes.changed, *changes.new)}
    return found


def an_entry(**keys: Any) -> list[dict[str, Any]]:
    """The backends, with other keys of be_app."""
    return [{**BASE["backends"][0], **keys}, BASE["backends"][1]]


def test_each_proxy_and_source_has_a_spec_and_each_backend_one_on_each_of_its_proxies() -> None:
    specs = the_specs()
    assert list(specs.proxies) == ["lb1", "lb2"]
    assert list(specs.sources) == list(specs.desired) == [("be_app", 0), ("be_other", 0)]
    assert list(specs.backends) == [("be_app", "lb1"), ("be_app", "lb2"), ("be_other", "lb2")]


def test_entries_of_one_backend_have_keys_and_sources_of_their_own() -> None:
    both = [{"name": "be_app", "proxies": [proxy], "source": FILE} for proxy in ("lb1", "lb2")]
    specs = the_specs(backends=both)
    assert list(specs.sources) == [("be_app", 0), ("be_app", 1)]
    assert [specs.backends["be_app", proxy].desired.key for proxy in ("lb1", "lb2")] == [("be_app", 0), ("be_app", 1)]


def test_a_spec_has_what_the_file_says() -> None:
    until = datetime.fromisoformat("2026-01-31T12:00:00Z")
    specs = the_specs(
        backends=an_entry(on_removed="drain", limits={"override_until": until}),
        resync={"interval": "7s", "probe": "500ms"},
    )
    backend = specs.backends["be_app", "lb2"]
    assert (backend.name, backend.resync, backend.proxy.probe) == ("be_app", 7.0, 0.5)
    assert (backend.on_removed, backend.override_until) == (OnRemoved.DRAIN, until.timestamp())
    assert specs.backends["be_other", "lb2"].override_until == 0.0


ON_LB1 = {"proxies lb1", "backends ('be_app', 'lb1')"}
APP_BACKENDS = {"backends ('be_app', 'lb1')", "backends ('be_app', 'lb2')"}
OF_APP = {"desired ('be_app', 0)"} | APP_BACKENDS
OF_OTHER = {"sources ('be_other', 0)", "desired ('be_other', 0)", "backends ('be_other', 'lb2')"}
ALL_BACKENDS = {"backends ('be_other', 'lb2')"} | APP_BACKENDS
CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nothing": ({}, set()),
    "what no spec is about": ({"log": {"level": "debug"}, "audit": {"path": "audit.log"}}, set()),
    "the port of the web, which no source may list": (
        {"web": None},
        {"sources ('be_app', 0)"} | OF_APP | OF_OTHER | ALL_BACKENDS,
    ),
    "the order": ({"backends": BASE["backends"][::-1], "proxies": BASE["proxies"][::-1]}, set()),
    "an address": ({"proxies": [{"name": "lb1", "address": "/run/other.sock"}, BASE["proxies"][1]]}, ON_LB1),
    "one proxy less": ({"proxies": BASE["proxies"][1:]}, ON_LB1),
    "one proxy more": (
        {"proxies": [*BASE["proxies"], {"name": "lb3", "address": "/run/3.sock"}]},
        {"proxies lb3", "backends ('be_app', 'lb3')"},
    ),
    "resync.interval": ({"resync": {"interval": "9s"}}, ALL_BACKENDS),
    "resync.probe": ({"resync": {"probe": "9s"}}, {"proxies lb1", "proxies lb2"} | ALL_BACKENDS),
    "the policy": ({"backends": an_entry(drain={"timeout": "9s"})}, OF_APP),
    "the source": ({"backends": an_entry(source={**FILE, "path": "a.yaml"})}, {"sources ('be_app', 0)"} | OF_APP),
    "on_removed": ({"backends": an_entry(on_removed="drain")}, APP_BACKENDS),
    "a backend's proxies": ({"backends": an_entry(proxies=["lb1"])}, {"backends ('be_app', 'lb2')"}),
    "one backend less": ({"backends": BASE["backends"][:1]}, OF_OTHER),
}


@pytest.mark.parametrize("what", CASES)
def test_only_the_specs_that_depend_on_a_key_differ_when_it_does(what: str) -> None:
    changes, expected = CASES[what]
    assert changed(the_specs(), the_specs(**changes)) == expected


def test_no_source_may_list_the_ports_of_proxies_and_of_the_web() -> None:
    proxies = [
        {"name": "lb1", "address": "tcp://10.0.0.9:9999", "master": "tcp://10.0.0.9:9998"},
        {"name": "lb2", "address": "/run/2.sock"},
    ]
    specs = the_specs(proxies=proxies, web={"listen": "0.0.0.0:9105"})
    for spec in specs.sources.values():
        assert [(one.host, one.port) for one in spec.rules.reserved] == [
            ("0.0.0.0", 9105),
            ("10.0.0.9", 9998),
            ("10.0.0.9", 9999),
        ]


def test_other_networks_make_another_source() -> None:
    before, after = the_specs(), the_specs(backends=an_entry(denied_networks=["::ffff:10.0.0.0/104"]))
    assert "sources ('be_app', 0)" in changed(before, after)
    assert after.sources[("be_app", 0)].rules.denied == ("10.0.0.0/8",)


@pytest.mark.parametrize("network", ["10.0.0.1/8", "10.0.0.0/33", "web", 10])
def test_a_network_that_is_none_is_refused(network: object) -> None:
    with pytest.raises(ValueError, match=r"expected a network such as 10\.0\.0\.0/8"):
        the_specs(backends=an_entry(allowed_networks=[network]))


def test_the_keywords_that_a_source_may_use_reach_it() -> None:
    specs = the_specs(backends=an_entry(options_from_source=["backup", "proto"]))
    assert specs.sources[("be_app", 0)].rules.keywords == {"backup", "proto"}
    assert specs.sources[("be_other", 0)].rules.keywords == frozenset()


@pytest.mark.parametrize("keyword", ["check", "init-addr", "proto h2", "Backup", "", "backup;"])
def test_a_keyword_that_no_source_can_give_is_refused(keyword: str) -> None:
    with pytest.raises(ValueError, match="options_from_source"):
        the_specs(backends=an_entry(options_from_source=[keyword]))
