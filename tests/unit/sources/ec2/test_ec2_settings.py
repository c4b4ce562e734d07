from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dynsrv.settings import json_schema
from dynsrv.sources.ec2 import settings as ec2_settings
from dynsrv.sources.ec2.settings import Ec2SourceSettings
from dynsrv.sources.ec2.values import AddressKind
from tests.unit.sources.ec2.configurations import ENOUGH, FIRST_LINE, OF_A_GROUP, WHERE, the_error_of, the_settings_of

ROLE = "arn:aws:iam::123456789012:role/dynsrv"
ASCII = "expected printable ASCII"
WORD = "expected printable ASCII without spaces"
A_ROLE = "expected a role's ARN: arn:aws:iam::123456789012:role/name"
A_URL = "expected a URL: https://host or http://host:port"
A_REGION = "expected a region such as eu-central-1"
A_PORT = "expected a whole number from 1 to 65535"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "keys",
    [
        ENOUGH,
        OF_A_GROUP,
        'filters: {"tag:app": web}\nport_tag: ports',
        'filters: {"tag:app": web}\nauto_scaling_group: web\nport: 80',
    ],
)
def test_which_instances_and_which_port_is_all_that_has_to_be_written(keys: str) -> None:
    settings = the_settings_of(keys)
    assert (settings.region, settings.profile, settings.role_arn, settings.endpoint_url) == (None, None, None, None)
    assert (settings.address, settings.interval, settings.complete_lifecycle) == (AddressKind.PRIVATE, 30.0, False)
    assert settings.model_fields_set == {"kind"} | {line.partition(":")[0] for line in keys.splitlines()}


def test_all_that_can_be_written_is_read() -> None:
    settings = the_settings_of(
        f"region: eu-central-1\nprofile: web\nrole_arn: {ROLE}\nexternal_id: x1\nendpoint_url: http://127.0.0.1:4566\n"
        'filters: {"tag:app": web, "tag:stage": [a, b c]}\nauto_scaling_group: [blue, the green]\n'
        "port_tag: ports\naddress: ipv6\nweight_tag: weight\ninterval: 1m\n"
        "complete_lifecycle: true\nlifecycle_hook: drain\n"
    )
    assert settings.model_dump(exclude={"kind"}) == {
        "region": "eu-central-1",
        "profile": "web",
        "role_arn": ROLE,
        "external_id": "x1",
        "endpoint_url": "http://127.0.0.1:4566",
        "filters": {"tag:app": ("web",), "tag:stage": ("a", "b c")},
        "auto_scaling_group": ("blue", "the green"),
        "port": None,
        "port_tag": "ports",
        "address": "ipv6",
        "weight_tag": "weight",
        "interval": "1m",
        "complete_lifecycle": True,
        "lifecycle_hook": "drain",
    }


def test_one_value_of_a_filter_and_one_group_need_no_list() -> None:
    one = the_settings_of(f'{OF_A_GROUP}\nfilters: {{"tag:app": web}}')
    listed = the_settings_of('auto_scaling_group: [web]\nport: 80\nfilters: {"tag:app": [web]}')
    assert one == listed


def test_a_port_may_come_out_of_a_variable() -> None:
    assert the_settings_of('filters: {"tag:app": web}\nport: "${PORT}"', PORT="8080").port == 8080


@pytest.mark.parametrize("region", ["eu-central-1", "us-gov-west-1", "us-iso-east-1", "ap-southeast-4", "mx-central-1"])
def test_every_region_of_aws_can_be_written(region: str) -> None:
    assert the_settings_of(f"{ENOUGH}\nregion: {region}").region == region


@pytest.mark.parametrize(
    "role", [ROLE, "arn:aws-us-gov:iam::123456789012:role/a/b/c", "arn:aws-cn:iam::000000000000:role/x"]
)
def test_every_role_s_arn_can_be_written(role: str) -> None:
    assert the_settings_of(f"{ENOUGH}\nrole_arn: {role}").role_arn == role


@pytest.mark.parametrize(
    "url", ["https://vpce-1.ec2.eu-central-1.vpce.amazonaws.com", "http://[::1]:4566", "http://a:1/b"]
)
def test_every_address_of_an_aws_can_be_written(url: str) -> None:
    assert the_settings_of(f"{ENOUGH}\nendpoint_url: '{url}'").endpoint_url == url


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1.0), ("1000ms", 1.0), ("1h", 3600.0), ("60m", 3600.0)])
def test_aws_is_asked_every_second_at_most_and_every_hour_at_least(text: str, seconds: float) -> None:
    assert the_settings_of(f"{ENOUGH}\ninterval: {text}").interval == seconds


# ---- what is wrong

# Each: a line behind what is enough, and the error that comes of it.
REFUSALS = [
    ("region: EU", f'region: found "EU", {A_REGION}'),
    ("region: eu-central", f'region: found "eu-central", {A_REGION}'),
    ("region: eu-central-1a", f'region: found "eu-central-1a", {A_REGION}'),
    ("profile: a b", f'profile: found "a b", {WORD}'),
    ("profile: 5", "profile: found 5, expected text; put it in quotes"),
    ("role_arn: dynsrv", f'role_arn: found "dynsrv", {A_ROLE}'),
    ("role_arn: arn:aws:iam::1234:role/x", f'role_arn: found "arn:aws:iam::1234:role/x", {A_ROLE}'),
    ("role_arn: arn:aws:iam::123456789012:user/x", f'role_arn: found "arn:aws:iam::123456789012:user/x", {A_ROLE}'),
    (f"role_arn: {ROLE}\nexternal_id: a b", f'external_id: found "a b", {WORD}'),
    ("external_id: x", "external_id: this key has no effect without role_arn; add that, or remove this"),
    ("endpoint_url: localhost:4566", f'endpoint_url: found "localhost:4566", {A_URL}'),
    ("endpoint_url: ftp://host", f'endpoint_url: found "ftp://host", {A_URL}'),
    ("endpoint_url: http://", f'endpoint_url: found "http://", {A_URL}'),
    ("endpoint_url: http://a b", f'endpoint_url: found "http://a b", {A_URL}'),
    ("auto_scaling_group: ''", f'auto_scaling_group: found "", {ASCII}'),
    ("auto_scaling_group: [web, '']", f'auto_scaling_group[1]: found "", {ASCII}'),
    ("auto_scaling_group: [5]", "auto_scaling_group[0]: found 5, expected text; put it in quotes"),
    ("port_tag: ports", 'port_tag: found "ports", but port is given, too; remove one of the two'),
    ("address: dns", 'address: found "dns", expected private, public or ipv6'),
    ("weight_tag: ''", f'weight_tag: found "", {ASCII}'),
    ("weight_tag: 3", "weight_tag: found 3, expected text; put it in quotes"),
    ("interval: 999ms", 'interval: found "999ms", expected a duration from 1s to 1h'),
    ("interval: 61m", 'interval: found "61m", expected a duration from 1s to 1h'),
    ("interval: 30", "interval: found 30, expected a duration with its unit: write 30s or 30ms"),
    ("complete_lifecycle: maybe", 'complete_lifecycle: found "maybe", expected true or false'),
    (
        "complete_lifecycle: true",
        "complete_lifecycle: this key has no effect without auto_scaling_group; add that, or remove this",
    ),
    (
        "lifecycle_hook: drain",
        "lifecycle_hook: this key has no effect without complete_lifecycle; add that, or remove this",
    ),
    ("auto_scaling_groups: web", "auto_scaling_groups: unknown key; did you mean auto_scaling_group?"),
    ("regio: eu-central-1", "regio: unknown key; did you mean region?"),
    ("zone: a", "zone: unknown key; the keys here are address, auto_scaling_group, complete_lifecycle, endpoint_url,"),
]


@pytest.mark.parametrize(("line", "error"), REFUSALS)
def test_what_is_wrong_is_told_with_line_path_what_was_found_and_what_to_do(line: str, error: str) -> None:
    told = the_error_of(f"{ENOUGH}\n{line}")
    number = FIRST_LINE + 1 + len(line.splitlines())
    assert told.startswith(f"dynsrv.yaml:{number}: {WHERE}.{error}")
    assert "\n" not in told


PORTS = [("port: 0", "0"), ("port: 65536", "65536"), ("port: http", '"http"'), ("port: null\nport_tag: null", None)]


@pytest.mark.parametrize(("line", "found"), PORTS)
def test_a_port_that_is_none_is_refused(line: str, found: str | None) -> None:
    problem = f"found {found}, {A_PORT}" if found else "this key is missing; add it, or port_tag"
    assert the_error_of(f'{line}\nfilters: {{"tag:app": web}}') == f"dynsrv.yaml:6: {WHERE}.port: {problem}"


# Each: the filters, and the error that comes of them.
FILTERS = [
    ("{a b: c}", f'filters."a b": found "a b", {WORD}'),
    ("{'': c}", f'filters."": found "", {WORD}'),
    ('{"tag:app": [80]}', 'filters."tag:app"[0]: found 80, expected text; put it in quotes'),
    ("{vpc-id: ''}", f'filters.vpc-id: found "", {ASCII}'),
    ("{vpc-id: [a, ' ']}", f'filters.vpc-id[1]: found " ", {ASCII}'),
    ("{}", "filters: this key is missing, so that every instance would match; add it, auto_scaling_group, or both"),
]


@pytest.mark.parametrize(("filters", "error"), FILTERS)
def test_what_is_wrong_with_a_filter_is_told_where_it_stands(filters: str, error: str) -> None:
    assert the_error_of(f"filters: {filters}\nport: 80") == f"dynsrv.yaml:6: {WHERE}.{error}"


@pytest.mark.parametrize("filters", ["web", "[web]", "{vpc-id: 80}", "{vpc-id: true}", "{vpc-id: []}", "null"])
def test_a_filter_that_is_none_is_refused_where_it_stands(filters: str) -> None:
    assert the_error_of(f"filters: {filters}\nport: 80").startswith(f"dynsrv.yaml:6: {WHERE}.filters")


def test_all_that_is_missing_is_told_at_once() -> None:
    needs = "this key has no effect without {}; add that, or remove this".format
    assert the_error_of("external_id: x\ncomplete_lifecycle: true").splitlines() == [
        "dynsrv.yaml: 4 problems",
        f"dynsrv.yaml:4: {WHERE}.port: this key is missing; add it, or port_tag",
        f"dynsrv.yaml:4: {WHERE}.{FILTERS[-1][1]}",
        f"dynsrv.yaml:6: {WHERE}.external_id: {needs('role_arn')}",
        f"dynsrv.yaml:7: {WHERE}.complete_lifecycle: {needs('auto_scaling_group')}",
    ]


def test_without_the_extra_it_is_told_how_to_install_it_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ec2_settings, "installed", lambda: False)
    assert the_error_of("nonsense: 5") == (
        f"dynsrv.yaml:5: {WHERE}.kind: found ec2, which needs an extra that is not installed; pip install 'dynsrv[ec2]'"
    )


# ---- the environment


def test_the_region_may_come_from_the_environment() -> None:
    assert the_settings_of(AWS_REGION="eu-west-1").region == "eu-west-1"


def test_a_region_in_the_file_silences_the_one_in_the_environment() -> None:
    assert the_settings_of(f"{ENOUGH}\nregion: eu-central-1", AWS_REGION="eu-west-1").region == "eu-central-1"


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert the_settings_of(AWS_REGION="").region is None


def test_a_region_in_the_environment_that_is_none_is_refused() -> None:
    told = the_error_of(AWS_REGION="Frankfurt")
    assert told.startswith(f"dynsrv.yaml:4: {WHERE}")
    assert told.endswith(f'region: found "Frankfurt" in AWS_REGION, {A_REGION}')


def test_all_that_botocore_finds_by_itself_is_left_to_it() -> None:
    keys = {"AWS_PROFILE": "a", "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ENDPOINT_URL": "http://a", "AWS_ROLE_ARN": ROLE}
    assert the_settings_of(**keys) == the_settings_of()


def test_the_environment_of_the_process_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert the_settings_of().region is None


# ---- for editors, and for the next one who reads them


def test_the_schema_has_every_key_with_its_description() -> None:
    section = json_schema()["$defs"]["Ec2SourceSettings"]
    assert section["properties"].keys() == Ec2SourceSettings.model_fields.keys()
    assert all("description" in one or "$ref" in one for one in section["properties"].values())
    assert section["required"] == ["kind"]
    assert section["properties"]["interval"]["default"] == "30s"


def test_a_text_and_a_list_are_both_a_value_for_an_editor_too() -> None:
    section = json_schema()["$defs"]["Ec2SourceSettings"]["properties"]
    text_or_list: list[dict[str, Any]] = [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
    ]
    assert section["filters"]["additionalProperties"]["anyOf"] == text_or_list
    assert section["auto_scaling_group"]["anyOf"] == [*text_or_list, {"type": "null"}]


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        the_settings_of().port = 81  # type: ignore[misc]
