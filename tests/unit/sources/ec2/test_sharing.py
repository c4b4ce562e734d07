"""Which sources ask AWS together? All that ask the same of the same account."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from dynsrv.settings import load
from dynsrv.sources.ec2.account import Account
from dynsrv.sources.ec2.endpoints import InstanceMapper
from dynsrv.sources.ec2.poll import GROUP_TAG
from dynsrv.sources.ec2.settings import Ec2SourceSettings
from dynsrv.sources.ec2.source import Ec2Source
from dynsrv.sources.ec2.values import AddressKind
from dynsrv.sources.source import SharedResources, SourceContext
from dynsrv.specs import SourceSpec, specs_of

ROLE = "arn:aws:iam::123456789012:role/dynsrv"
LIFECYCLE: dict[str, Any] = {"auto_scaling_group": "web", "complete_lifecycle": True}


class Place:
    """Where sources are made beside each other."""

    def __init__(self) -> None:
        self.shared = SharedResources()

    def a_source(self, backend: str = "be_app", **keys: Any) -> Ec2Source:
        usual = {"kind": "ec2", "region": "eu-central-1", "filters": {"tag:app": "web"}}
        ports = {} if "port_tag" in keys else {"port": 80}
        settings = Ec2SourceSettings.model_validate({**usual, **ports, **keys})
        source = settings.create(SourceContext(backend, Path("/etc/dynsrv"), self.shared))
        assert isinstance(source, Ec2Source)
        return source


def test_two_backends_that_ask_the_same_share_one_poll() -> None:
    place = Place()
    one, other = place.a_source("be_app"), place.a_source("be_api")
    assert one is not other
    assert one._poll is other._poll


@pytest.mark.parametrize(
    ("keys", "reading"),
    [
        ({"port": 81}, InstanceMapper(port=81)),
        ({"port_tag": "ports"}, InstanceMapper(port_tag="ports")),
        ({"address": "public"}, InstanceMapper(port=80, address=AddressKind.PUBLIC)),
        ({"weight_tag": "weight"}, InstanceMapper(port=80, weight_tag="weight")),
    ],
    ids=str,
)
def test_how_the_answer_is_read_is_each_ones_own(keys: dict[str, Any], reading: InstanceMapper) -> None:
    place = Place()
    usual, other = place.a_source(), place.a_source(**keys)
    assert usual._poll is other._poll
    assert (usual._mapper, other._mapper) == (InstanceMapper(port=80), reading)


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
def test_who_asks_anything_else_has_a_poll_of_its_own_over_the_same_clients(keys: dict[str, Any]) -> None:
    place = Place()
    usual, other, same = place.a_source(), place.a_source(**keys), place.a_source("be_api", **keys)
    assert usual._poll is not other._poll
    assert same._poll is other._poll
    assert usual._poll.aws is other._poll.aws


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
def test_another_account_region_or_address_has_clients_of_its_own(keys: dict[str, Any], account: Account) -> None:
    place = Place()
    usual, other, same = place.a_source(), place.a_source(**keys), place.a_source(interval="10s", **keys)
    assert other._poll.aws is not usual._poll.aws
    assert other._poll.aws is same._poll.aws
    assert other._poll.aws.account == account


def test_the_order_of_filters_and_groups_makes_no_other_question() -> None:
    place = Place()
    one = place.a_source(filters={"tag:a": "1", "tag:b": "2"}, auto_scaling_group=["blue", "green"])
    other = place.a_source(filters={"tag:b": "2", "tag:a": "1"}, auto_scaling_group=["green", "blue"])
    assert one._poll is other._poll


def test_what_is_configured_is_what_is_asked() -> None:
    filters = {"tag:b": ["1", "2"], "tag:a": "3"}
    poll = Place().a_source(filters=filters, auto_scaling_group="web", interval="10s")._poll
    assert poll._filters == (("tag:a", ("3",)), ("tag:b", ("1", "2")), (GROUP_TAG, ("web",)))
    assert (poll.groups, poll._interval) == (("web",), 10.0)


def test_a_poll_and_a_source_tell_what_they_are() -> None:
    assert repr(Place().a_source()) == "<Ec2Source <Poll of (('tag:app', ('web',)),), 0 subscribers> for be_app>"


# ---- lifecycle actions


def test_without_complete_lifecycle_nobody_completes_anything_and_what_ends_is_kept_in_drain() -> None:
    source = Place().a_source(auto_scaling_group="web")
    assert source._hooks is None
    assert not source._mapper.removes_terminating


def test_backends_of_one_account_complete_together_whatever_else_they_ask() -> None:
    place = Place()
    one, same = place.a_source(**LIFECYCLE), place.a_source("be_api", interval="10s", filters={}, port=81, **LIFECYCLE)
    assert one._poll is not same._poll
    assert one._hooks is same._hooks
    assert one._mapper.removes_terminating


def test_another_account_completes_for_itself() -> None:
    place = Place()
    usual = place.a_source(**LIFECYCLE)
    assert place.a_source(**LIFECYCLE, region="eu-west-1")._hooks is not usual._hooks


# ---- over new configurations


def test_what_nobody_uses_any_more_is_forgotten() -> None:
    place = Place()
    source = place.a_source(**LIFECYCLE)
    assert len(place.shared._things) == 3
    del source
    gc.collect()
    assert len(place.shared._things) == 0


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
