"""Which sources ask Consul together? All that ask the same, with the same rights."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from dynsrv.settings import load
from dynsrv.sources.consul.agents import Budget
from dynsrv.sources.consul.auth import Auth
from dynsrv.sources.consul.endpoints import InstanceMapper
from dynsrv.sources.consul.requests import Query
from dynsrv.sources.consul.settings import ConsulSourceSettings
from dynsrv.sources.consul.source import ConsulSource
from dynsrv.sources.consul.transport import HttpTransport
from dynsrv.sources.consul.values import OnCritical
from dynsrv.sources.source import SharedResources, SourceContext
from dynsrv.specs import SourceSpec, specs_of

ETC = Path("/etc/dynsrv")


def access_of(source: ConsulSource) -> Auth:
    transport = source._watch.agents.transport
    assert isinstance(transport, HttpTransport)
    return transport._auth


class Place:
    """Where sources are made beside each other."""

    def __init__(self, directory: Path = ETC) -> None:
        self.directory = directory
        self.shared = SharedResources()

    def a_source(self, backend: str = "be_app", **keys: Any) -> ConsulSource:
        settings = ConsulSourceSettings.model_validate({"kind": "consul", "service": "web", **keys})
        source = settings.create(SourceContext(backend, self.directory, self.shared))
        assert isinstance(source, ConsulSource)
        return source


def test_two_backends_that_ask_the_same_share_one_watch() -> None:
    place = Place()
    one, other = place.a_source("be_app", token="hunter2"), place.a_source("be_api", token="hunter2")
    assert one is not other
    assert one._watch is other._watch


@pytest.mark.parametrize(
    "reading", [{"on_critical": "keep"}, {"only_passing": True}, {"tagged_address": "wan"}], ids=str
)
def test_how_the_answer_is_read_is_each_ones_own(reading: dict[str, Any]) -> None:
    place = Place()
    usual, other = place.a_source(), place.a_source(**reading)
    assert usual._watch is other._watch
    assert usual._mapper == InstanceMapper()
    assert other._mapper == InstanceMapper(
        on_critical=OnCritical(reading.get("on_critical", "remove")),
        only_passing=reading.get("only_passing", False),
        tagged_address=reading.get("tagged_address"),
    )


@pytest.mark.parametrize(
    "keys",
    [
        {"service": "api"},
        {"tags": ["http"]},
        {"filter": "x"},
        {"datacenter": "dc2"},
        {"namespace": "team"},
        {"partition": "part"},
        {"near": "_agent"},
        {"stale": True},
        {"wait": "10s"},
        {"address": "http://127.0.0.1:8501"},
        {"token": "hunter2"},
        {"token_file": "token"},
        {"auth": "user:hunter2"},
        {"auth_file": "auth"},
        {"tls": {"ca_file": "ca.pem"}},
        {"tls": {"ca_path": "ca"}},
        {"tls": {"cert_file": "me.pem"}},
        {"tls": {"cert_file": "me.pem", "key_file": "me.key"}},
        {"tls": {"verify": False}},
        {"tls": {"server_name": "server.dc1.consul"}},
    ],
    ids=str,
)
def test_who_asks_anything_else_or_in_another_way_has_a_watch_of_its_own(keys: dict[str, Any]) -> None:
    place = Place()
    usual, other, same = place.a_source(), place.a_source(**keys), place.a_source("be_api", **keys)
    assert usual._watch is not other._watch
    assert same._watch is other._watch


def test_what_is_configured_is_what_is_asked() -> None:
    keys = {"filter": "x", "datacenter": "dc2", "namespace": "team", "partition": "part", "near": "_agent"}
    watch = Place().a_source(tags=["a", "b"], stale=True, wait="10s", **keys)._watch
    assert watch.query == Query("web", tags=("a", "b"), stale=True, **keys)
    assert watch._wait == 10.0


def test_different_questions_to_one_consul_go_over_the_same_connections() -> None:
    place = Place()
    usual, other = place.a_source(), place.a_source(service="api", wait="10s")
    assert usual._watch.agents is other._watch.agents


def test_one_consul_has_one_budget_of_connections_whoever_asks_and_another_has_another() -> None:
    place = Place()
    usual, other = place.a_source(), place.a_source(token="hunter2")
    elsewhere = place.a_source(address="consul:8500")
    assert usual._watch.agents._budget is other._watch.agents._budget
    assert usual._watch.agents._budget is not elsewhere._watch.agents._budget


def test_one_consul_has_one_pool_of_connections_whatever_the_token() -> None:
    place = Place()
    usual, other = (
        place.a_source(address="https://consul:8501"),
        place.a_source(address="https://consul:8501", token="t"),
    )
    one, another = (source._watch.agents.transport for source in (usual, other))
    assert isinstance(one, HttpTransport)
    assert isinstance(another, HttpTransport)
    assert one._connections is another._connections
    assert one._auth._certificates is another._auth._certificates


def test_what_nobody_uses_any_more_is_forgotten() -> None:
    place = Place()
    source = place.a_source(token="hunter2")
    kept = place.shared.get(("budget", frozenset({"http://127.0.0.1:8500"})), Budget)
    assert kept is source._watch.agents._budget
    del source
    gc.collect()
    assert place.shared.get(("budget", frozenset({"http://127.0.0.1:8500"})), Budget) is kept
    del kept
    gc.collect()
    assert len(place.shared._things) == 0


def test_a_relative_path_begins_at_the_directory_of_the_configuration_file() -> None:
    tls = {"ca_file": "ca.pem", "ca_path": "ca", "cert_file": "me.pem", "key_file": "/run/me.key"}
    access = access_of(Place().a_source(token_file="token", auth_file="/run/auth", tls=tls))
    assert (access._token.file, access._auth.file) == (ETC / "token", Path("/run/auth"))
    assert (access._certificates.tls.ca_file, access._certificates.tls.ca_path) == (ETC / "ca.pem", ETC / "ca")
    assert (access._certificates.tls.cert_file, access._certificates.tls.key_file) == (
        ETC / "me.pem",
        Path("/run/me.key"),
    )


def test_neither_a_source_nor_what_opens_the_door_for_it_shows_a_secret() -> None:
    source = Place().a_source(token="hunter2", auth="user:hunter2")
    access = access_of(source)
    assert access._token.value == "hunter2"
    for thing in (source, source._watch, source._watch.agents, access, access._token, access._auth):
        assert "hunter2" not in repr(thing)
    assert repr(source) == "<ConsulSource <Watch of web, 0 subscribers> for be_app>"


CONFIGURATION = """\
proxies: [{name: lb1, address: /run/haproxy/admin.sock}]
backends:
  - {name: be_app, source: {kind: consul, service: web}}
  - {name: be_api, source: {kind: consul, service: web}, drain: {timeout: 5s}}
"""


def source_specs(tmp_path: Path, text: str, **environ: str) -> list[SourceSpec]:
    path = tmp_path / "dynsrv.yaml"
    path.write_text(text)
    return list(specs_of(load(path, environ), directory=tmp_path).sources.values())


def test_a_reload_of_the_same_configuration_calls_for_the_same_sources(tmp_path: Path) -> None:
    before = source_specs(tmp_path, CONFIGURATION, CONSUL_HTTP_TOKEN="hunter2")
    assert source_specs(tmp_path, f"# a comment\n{CONFIGURATION}", CONSUL_HTTP_TOKEN="hunter2") == before


def test_a_reload_that_changes_other_keys_of_a_backend_calls_for_the_same_sources(tmp_path: Path) -> None:
    before = source_specs(tmp_path, CONFIGURATION)
    assert source_specs(tmp_path, CONFIGURATION.replace("5s", "6s")) == before


def test_a_reload_that_changes_the_environment_calls_for_other_sources(tmp_path: Path) -> None:
    before = source_specs(tmp_path, CONFIGURATION, CONSUL_HTTP_TOKEN="hunter2")
    after = source_specs(tmp_path, CONFIGURATION, CONSUL_HTTP_TOKEN="hunter3")
    assert [new == old for new, old in zip(after, before, strict=True)] == [False, False]


def test_a_spec_of_a_source_does_not_show_a_secret(tmp_path: Path) -> None:
    assert "hunter2" not in repr(source_specs(tmp_path, CONFIGURATION, CONSUL_HTTP_TOKEN="hunter2"))
