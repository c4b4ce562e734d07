"""Which sources share requests to Consul, and connections? Those that would send the same with the same credentials."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from weakref import ref

import pytest

from dynsrv.errors import SourceError
from dynsrv.settings import load
from dynsrv.sources.consul import source as consul_source
from dynsrv.sources.consul.agents import CONNECTIONS, SHORT_CONNECTIONS
from dynsrv.sources.consul.auth import Auth
from dynsrv.sources.consul.requests import Request
from dynsrv.sources.consul.settings import ConsulSourceSettings
from dynsrv.sources.consul.transport import Connections, Response
from dynsrv.sources.source import SharedResources, Source, SourceContext
from dynsrv.specs import SourceSpec, specs_of
from tests.fakes.consul import FakeConsul, Trouble, an_instance
from tests.fakes.follower import following

ONE, OTHER = "http://127.0.0.1:8500", "http://127.0.0.1:8501"


class FakeTransport:
    """Sends requests to a Consul in memory, and shows what it was created with."""

    def __init__(self, consul: FakeConsul, auth: Auth, connections: Connections) -> None:
        self.auth = auth
        self.connections = connections
        self._consul = consul

    async def __aenter__(self) -> FakeTransport:
        await self._consul.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._consul.__aexit__(*error)

    async def send(self, address: str, request: Request, *, timeout: float) -> Response:
        return await self._consul.send(address, request, timeout=timeout)


class Process:
    """Where sources are created beside each other, for one Consul with agents at two addresses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.consul = FakeConsul(an_instance(1), addresses=(ONE, OTHER))
        self.transports: list[FakeTransport] = []
        self._directory = directory
        self._shared = SharedResources()
        monkeypatch.setattr(consul_source, "HttpTransport", self._transport)

    def _transport(self, auth: Auth, connections: Connections) -> FakeTransport:
        self.transports.append(FakeTransport(self.consul, auth, connections))
        return self.transports[-1]

    def a_source(self, backend: str = "be_app", **keys: Any) -> Source:
        settings = ConsulSourceSettings.model_validate({"kind": "consul", "service": "web", **keys})
        return settings.create(SourceContext(backend, self._directory, self._shared))

    async def first_requests(self, *sources: Source) -> Counter[str]:
        """Return how many requests *sources* send before any response, by address."""
        before = len(self.consul.asked)
        async with AsyncExitStack() as stack:
            for source in sources:
                await stack.enter_async_context(following(source.watch))
            await asyncio.sleep(self.consul.latency / 2)
            return Counter(asked.address for asked in self.consul.asked[before:])


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Process:
    return Process(monkeypatch, tmp_path)


async def test_backends_with_equal_queries_and_credentials_share_requests(process: Process) -> None:
    sources = [process.a_source(backend, token="hunter2") for backend in ("be_app", "be_api")]
    assert await process.first_requests(*sources) == {ONE: 1}


@pytest.mark.parametrize(
    ("keys", "hosts"),
    [({"on_critical": "keep"}, [1, 2, 3]), ({"only_passing": True}, [1]), ({"tagged_address": "lan"}, [1, 3])],
    ids=str,
)
async def test_backends_share_requests_though_they_map_instances_differently(
    process: Process, keys: dict[str, Any], hosts: list[int]
) -> None:
    process.consul.register(an_instance(2, status="critical"), an_instance(3, status="warning"))
    usual, other = process.a_source(), process.a_source("be_api", **keys)
    async with following(usual.watch) as one, following(other.watch) as two:
        await asyncio.sleep(1)
        assert len(process.consul.asked) == 2  # the second one blocks
    assert [str(endpoint) for endpoint in one.latest.endpoints] == ["10.0.0.1:80", "10.0.0.3:80"]
    assert [str(endpoint) for endpoint in two.latest.endpoints] == [f"10.0.0.{host}:80" for host in hosts]


async def test_a_backend_uses_the_tagged_address_that_it_names(process: Process) -> None:
    async with following(process.a_source(tagged_address="vpn").watch) as follower:
        await asyncio.sleep(1)
    assert "neither its service nor its node has the tagged address" in str(follower.error)


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
        {"address": OTHER},
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
async def test_another_query_or_other_credentials_need_requests_of_their_own(
    process: Process, keys: dict[str, Any]
) -> None:
    usual, other, same = process.a_source(), process.a_source(**keys), process.a_source("be_api", **keys)
    assert (await process.first_requests(usual, other, same)).total() == 2


async def test_what_is_configured_is_what_is_requested(process: Process) -> None:
    keys = {"filter": "x", "datacenter": "dc2", "namespace": "team", "partition": "part", "near": "_agent"}
    await process.first_requests(process.a_source(tags=["a", "b"], **keys))
    (asked,) = process.consul.asked
    assert asked.service == "web"
    assert asked.params == (
        *(("tag", "a"), ("tag", "b"), ("filter", "x"), ("near", "_agent"), ("consistent", "")),
        *(("dc", "dc2"), ("ns", "team"), ("partition", "part")),
    )


async def test_a_query_blocks_as_long_and_is_as_consistent_as_configured(process: Process) -> None:
    async with following(process.a_source(stale=True, wait="10s").watch):
        await asyncio.sleep(1)
    assert [(asked.consistency, asked.wait) for asked in process.consul.asked] == [("consistent", 0), ("stale", 10)]


# ---- connections


async def test_the_connections_to_one_consul_are_bounded_whatever_the_queries_and_tokens(process: Process) -> None:
    services = [f"web{number}" for number in range(75)]
    for service in services:
        process.consul.register(an_instance(1, service=service))
    sources = [process.a_source(service=service, **token) for service in services for token in ({}, {"token": "t"})]
    elsewhere = [process.a_source(service=service, address=OTHER) for service in services[:10]]
    assert await process.first_requests(*sources, *elsewhere) == {ONE: SHORT_CONNECTIONS, OTHER: 10}
    async with AsyncExitStack() as stack:
        for source in sources:
            await stack.enter_async_context(following(source.watch))
        await asyncio.sleep(10)
    assert process.consul.most_at_once == CONNECTIONS


async def test_when_an_agent_fails_no_other_query_tries_it_first(process: Process) -> None:
    addresses = [ONE, OTHER]
    process.consul.agents[ONE].fail(Trouble.DOWN)
    async with following(process.a_source(address=addresses).watch):
        await asyncio.sleep(1)
        assert await process.first_requests(process.a_source(service="api", address=addresses)) == {OTHER: 1}


async def test_one_consul_has_one_pool_of_connections_whatever_the_token(process: Process) -> None:
    _ = [process.a_source(**keys) for keys in ({}, {"token": "hunter2"}, {"address": OTHER})]
    usual, with_token, elsewhere = process.transports
    assert usual.connections is with_token.connections
    assert usual.connections is not elsewhere.connections


def test_what_nobody_uses_any_longer_is_not_kept(process: Process) -> None:
    source = process.a_source(token="hunter2")
    transport = ref(process.transports.pop())
    gc.collect()
    assert transport() is not None
    del source
    gc.collect()
    assert transport() is None


# ---- credentials


def test_a_relative_path_begins_at_the_directory_of_the_configuration_file(process: Process, tmp_path: Path) -> None:
    elsewhere = tmp_path / "run"
    elsewhere.mkdir()
    (tmp_path / "token").write_text("hunter2")
    (elsewhere / "auth").write_text("user:hunter3")
    source = process.a_source(token_file="token", auth_file=str(elsewhere / "auth"))
    (transport,) = process.transports
    headers = transport.auth.read().headers
    assert headers == {"X-Consul-Token": "hunter2", "Authorization": "Basic dXNlcjpodW50ZXIz"}
    del source


@pytest.mark.parametrize(
    "keys",
    [{"ca_file": "x.pem"}, {"ca_path": "x.pem"}, {"cert_file": "x.pem"}, {"cert_file": "/me", "key_file": "x.pem"}],
)
def test_so_do_the_paths_of_certificates(process: Process, tmp_path: Path, keys: dict[str, str]) -> None:
    source = process.a_source(tls=keys)
    (transport,) = process.transports
    path = "/me" if "key_file" in keys else tmp_path / "x.pem"
    with pytest.raises(SourceError, match=f"tls.*{path}: there is no such file"):
        transport.auth.read()
    del source


def test_neither_a_source_nor_its_credentials_show_a_secret(process: Process) -> None:
    source = process.a_source(token="hunter2", auth="user:hunter2")
    (transport,) = process.transports
    credentials = transport.auth.read()
    assert credentials.headers["X-Consul-Token"] == "hunter2"
    for each in (source, transport.auth, credentials):
        assert "hunter2" not in repr(each)


# ---- over new configurations


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
