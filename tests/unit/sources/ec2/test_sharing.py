"""Which sources share requests to AWS, and clients? Those that would send the same to the same account."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from weakref import ref

import pytest

from dynsrv.model import EndpointState
from dynsrv.settings import load
from dynsrv.sources.ec2 import source as ec2_source
from dynsrv.sources.ec2.account import Account
from dynsrv.sources.ec2.aws import Aws
from dynsrv.sources.ec2.settings import Ec2SourceSettings
from dynsrv.sources.source import SharedResources, Source, SourceContext
from dynsrv.specs import SourceSpec, specs_of
from tests.fakes.builders import a_server, an_endpoint
from tests.fakes.ec2 import FakeAws, an_instance
from tests.fakes.ec2_clients import an_aws
from tests.fakes.follower import following

ROLE = "arn:aws:iam::123456789012:role/dynsrv"
LIFECYCLE: dict[str, Any] = {"auto_scaling_group": "web", "complete_lifecycle": True}


class Process:
    """Where sources are created beside each other; all accounts are the same AWS in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake = FakeAws(an_instance(1, public="192.0.2.1", tags={"app": "web", "ports": "82", "weight": "7"}))
        self.accounts: list[Account] = []
        """That of each `Aws` that was created."""
        self.created: list[Aws] = []
        self._shared = SharedResources()
        monkeypatch.setattr(ec2_source, "Aws", self._aws)

    def _aws(self, account: Account) -> Aws:
        self.accounts.append(account)
        self.created.append(an_aws(self.fake, region=account.region))
        return self.created[-1]

    def a_source(self, backend: str = "be_app", **keys: Any) -> Source:
        usual = {"kind": "ec2", "region": "eu-central-1", "filters": {"tag:app": "web"}}
        ports = {} if "port_tag" in keys else {"port": 80}
        settings = Ec2SourceSettings.model_validate({**usual, **ports, **keys})
        return settings.create(SourceContext(backend, Path("/etc/dynsrv"), self._shared))

    async def polls(self, *sources: Source) -> int:
        """Return how many polls *sources* need for a first snapshot each."""
        before = len(self.fake.requests("DescribeInstances"))
        async with AsyncExitStack() as stack:
            for source in sources:
                await stack.enter_async_context(following(source.watch))
            await asyncio.sleep(0.5)
            return len(self.fake.requests("DescribeInstances")) - before


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    return Process(monkeypatch)


async def test_backends_with_equal_requests_share_a_poll(process: Process) -> None:
    assert await process.polls(process.a_source("be_app"), process.a_source("be_api")) == 1


@pytest.mark.parametrize(
    ("keys", "endpoint", "weight"),
    [
        ({"port": 81}, "10.0.0.1:81", None),
        ({"port_tag": "ports"}, "10.0.0.1:82", None),
        ({"address": "public"}, "192.0.2.1:80", None),
        ({"weight_tag": "weight"}, "10.0.0.1:80", 7),
    ],
    ids=str,
)
async def test_backends_share_a_poll_though_they_map_instances_differently(
    process: Process, keys: dict[str, Any], endpoint: str, weight: int | None
) -> None:
    usual, other = process.a_source(), process.a_source("be_api", **keys)
    async with following(usual.watch) as one, following(other.watch) as two:
        await asyncio.sleep(0.5)
    assert len(process.fake.requests("DescribeInstances")) == 1
    assert [(str(each), each.weight) for each in one.latest.endpoints] == [("10.0.0.1:80", None)]
    assert [(str(each), each.weight) for each in two.latest.endpoints] == [(endpoint, weight)]


@pytest.mark.parametrize(
    "keys",
    [
        {"filters": {"tag:app": "api"}},
        {"filters": {"tag:app": ["web", "api"]}},
        {"filters": {"tag:app": "web", "vpc-id": "vpc-1"}},
        {"auto_scaling_group": "web"},
        {"interval": "10s"},
    ],
    ids=str,
)
async def test_other_requests_need_a_poll_of_their_own_with_the_same_clients(
    process: Process, keys: dict[str, Any]
) -> None:
    process.fake.group(2)
    usual, other, same = process.a_source(), process.a_source(**keys), process.a_source("be_api", **keys)
    assert await process.polls(usual, other, same) == 2
    assert process.fake.opened == 1


@pytest.mark.parametrize(
    ("keys", "account"),
    [
        ({"region": "eu-west-1"}, Account("eu-west-1")),
        ({"region": None}, Account()),
        ({"profile": "web"}, Account("eu-central-1", "web")),
        ({"role_arn": ROLE}, Account("eu-central-1", None, ROLE)),
        ({"role_arn": ROLE, "external_id": "x"}, Account("eu-central-1", None, ROLE, "x")),
        ({"endpoint_url": "http://a"}, Account("eu-central-1", endpoint_url="http://a")),
    ],
    ids=str,
)
async def test_another_account_region_or_address_needs_clients_of_its_own(
    process: Process, keys: dict[str, Any], account: Account
) -> None:
    usual, other, same = process.a_source(), process.a_source(**keys), process.a_source(interval="10s", **keys)
    assert process.accounts == [Account("eu-central-1"), account]
    assert await process.polls(usual, other, same) == 3
    assert process.fake.opened == 2


async def test_the_order_of_filters_and_groups_makes_no_difference(process: Process) -> None:
    for group in ("blue", "green"):
        process.fake.group(name=group)
    one = process.a_source(filters={"tag:a": "1", "tag:b": "2"}, auto_scaling_group=["blue", "green"])
    other = process.a_source(filters={"tag:b": "2", "tag:a": "1"}, auto_scaling_group=["green", "blue"])
    assert await process.polls(one, other) == 1


async def test_what_is_configured_is_what_is_requested(process: Process) -> None:
    process.fake.group(2)
    source = process.a_source(filters={"tag:b": ["1", "2"], "tag:a": "3"}, auto_scaling_group="web", interval="10s")
    async with following(source.watch):
        await asyncio.sleep(11.5)
    (first, second) = process.fake.requests("DescribeInstances")
    assert first.keys["Filters"] == [
        {"Name": "tag:a", "Values": ["3"]},
        {"Name": "tag:b", "Values": ["1", "2"]},
        {"Name": "tag:aws:autoscaling:groupName", "Values": ["web"]},
    ]
    assert 9 <= second.at - first.at <= 11
    assert process.fake.requests("DescribeAutoScalingGroups")[0].keys["AutoScalingGroupNames"] == ["web"]


def test_a_source_says_what_it_polls_and_for_which_backend(process: Process) -> None:
    assert repr(process.a_source()) == "<Ec2Source <Poll of (('tag:app', ('web',)),), 0 subscribers> for be_app>"


# ---- lifecycle actions


async def test_without_complete_lifecycle_a_terminating_instance_drains_and_nothing_is_completed(
    process: Process,
) -> None:
    process.fake.group(2)
    process.fake.hook()
    source = process.a_source(filters={}, auto_scaling_group="web")
    async with following(source.watch) as follower:
        process.fake.terminate(2)
        source.observed([])
        await asyncio.sleep(60)
    assert [each.state for each in follower.latest.endpoints] == [EndpointState.DRAIN]
    assert process.fake.completed == []


@pytest.mark.parametrize(("region", "completed"), [("eu-central-1", []), ("eu-west-1", ["i-2"])])
async def test_backends_of_one_account_wait_for_each_other_whatever_else_they_request(
    process: Process, region: str, completed: list[str]
) -> None:
    process.fake.group(2)
    process.fake.hook()
    one = process.a_source(filters={}, **LIFECYCLE)
    other = process.a_source("be_api", filters={}, interval="10s", port=81, region=region, **LIFECYCLE)
    async with following(one.watch) as follower, following(other.watch):
        process.fake.terminate(2)
        await asyncio.sleep(45)
        one.observed([])
        other.observed([a_server(an_endpoint(2, port=81))])
        await asyncio.sleep(45)
        assert follower.latest.endpoints == ()
        assert process.fake.completed == completed
        other.observed([])
        await asyncio.sleep(45)
    assert process.fake.completed == ["i-2"]


# ---- over new configurations


def test_what_nobody_uses_any_longer_is_not_kept(process: Process) -> None:
    source = process.a_source(**LIFECYCLE)
    aws = ref(process.created.pop())
    gc.collect()
    assert aws() is not None
    del source
    gc.collect()
    assert aws() is None


CONFIGURATION = """\
proxies: [{name: lb1, address: /run/haproxy/admin.sock}]
backends:
  - {name: be_app, source: {kind: ec2, filters: {vpc-id: vpc-1}, port: 80}}
  - {name: be_api, source: {kind: ec2, filters: {vpc-id: vpc-1}, port: 80}, drain: {timeout: 5s}}
"""


def source_specs(tmp_path: Path, text: str, **environ: str) -> list[SourceSpec]:
    path = tmp_path / "dynsrv.yaml"
    path.write_text(text)
    return list(specs_of(load(path, environ), directory=tmp_path).sources.values())


def test_a_reload_of_the_same_configuration_calls_for_the_same_sources(tmp_path: Path) -> None:
    before = source_specs(tmp_path, CONFIGURATION, AWS_REGION="eu-west-1")
    assert source_specs(tmp_path, f"# a comment\n{CONFIGURATION}", AWS_REGION="eu-west-1") == before


def test_a_reload_that_changes_other_keys_of_a_backend_calls_for_the_same_sources(tmp_path: Path) -> None:
    before = source_specs(tmp_path, CONFIGURATION)
    assert source_specs(tmp_path, CONFIGURATION.replace("5s", "6s")) == before


def test_a_reload_that_changes_the_region_of_the_environment_calls_for_other_sources(tmp_path: Path) -> None:
    before = source_specs(tmp_path, CONFIGURATION, AWS_REGION="eu-west-1")
    after = source_specs(tmp_path, CONFIGURATION, AWS_REGION="eu-central-1")
    assert [new == old for new, old in zip(after, before, strict=True)] == [False, False]
