"""What does the configuration say of EC2? Its keys; what is left out is found as every tool of AWS finds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema, model_validator

from dynsrv.documents import KeyPath, show
from dynsrv.documents.problems import problems_at
from dynsrv.documents.values import Duration, PortNumber, Section, between, matching
from dynsrv.sources.ec2.account import Account, installed
from dynsrv.sources.ec2.aws import Aws
from dynsrv.sources.ec2.endpoints import AddressKind, Reading
from dynsrv.sources.ec2.lifecycle import Farewells
from dynsrv.sources.ec2.poll import Poll
from dynsrv.sources.ec2.source import Ec2Source
from dynsrv.sources.source import SourceContext

Text = Annotated[str, matching(r"[ -~]*[!-~][ -~]*", "printable ASCII")]
Word = Annotated[str, matching(r"[!-~]+", "printable ASCII without spaces")]
_REGION = r"[a-z]{2,}(-[a-z]+)+-[0-9]+"
Region = Annotated[str, matching(_REGION, "a region such as eu-central-1")]
Role = Annotated[
    str, matching(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[!-~]+", "a role's ARN: arn:aws:iam::123456789012:role/name")
]


def _listed(value: object) -> object:
    if isinstance(value, str):
        return [value]
    if value == [] or not isinstance(value, list | tuple):
        raise ValueError("expected a text, or a list of one text or more; put numbers and true or false in quotes")
    return value


def _with_a_port(url: str) -> str:
    try:
        urlsplit(url).port  # noqa: B018 - it is looked at
    except ValueError:
        raise ValueError("expected a URL with a port from 1 to 65535") from None
    return url


Url = Annotated[
    str,
    matching(r"https?://[A-Za-z0-9._\[\]:-]+(/[!-~]*)?", "a URL: https://host or http://host:port"),
    AfterValidator(_with_a_port),
]
Values = Annotated[
    tuple[Text, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]


class Ec2SourceSettings(Section):
    """The instances of EC2's that match filters, or that are in an Auto Scaling group."""

    kind: Literal["ec2"] = Field(description="The kind of source; it needs the extra: pip install 'dynsrv[ec2]'.")
    region: Region | None = Field(
        default=None, description="The region, such as eu-central-1. By default AWS_REGION, or the profile's."
    )
    profile: Word | None = Field(
        default=None, description="A profile in AWS' configuration files. By default AWS_PROFILE."
    )
    role_arn: Role | None = Field(default=None, description="A role to assume, with the credentials that are found.")
    external_id: Word | None = Field(default=None, description="What that role's owner wants to be told.")
    endpoint_url: Url | None = Field(
        default=None,
        description="The address of all AWS services that are asked. By default AWS' own, or AWS_ENDPOINT_URL.",
    )
    filters: Mapping[Word, Values] = Field(
        default={},
        description='EC2\'s own filters, all of which must match, each with a value or a list: {"tag:app": web}.',
    )
    auto_scaling_group: Values | None = Field(
        default=None, description="An Auto Scaling group, or a list of them: its instances, by their states there."
    )
    port: PortNumber | None = Field(default=None, description="The port of every instance.")
    port_tag: Text | None = Field(
        default=None, description="The tag that has an instance's port; several with commas: a server for each."
    )
    address: AddressKind = Field(default=AddressKind.PRIVATE, description="Which address of an instance is meant.")
    weight_tag: Text | None = Field(
        default=None, description="The tag that has an instance's weight, 0 to 256; without it, server.weight."
    )
    interval: Annotated[Duration, between("1s", "1h")] = Field(
        default=30.0,
        description="Time between two looks, more or less a tenth; while instances come and go, 5s if that is less.",
        json_schema_extra={"default": "30s"},
    )
    complete_lifecycle: bool = Field(
        default=False,
        description="Whether Auto Scaling is made to wait with the end of an instance until HAProxy let go of it; it "
        "needs a lifecycle hook at termination.",
    )
    lifecycle_hook: Word | None = Field(
        default=None, description="The hook that is dynsrv's to complete. By default the group's only one."
    )

    @model_validator(mode="before")
    @classmethod
    def _installed(cls, keys: Any, info: ValidationInfo) -> Any:
        if not installed():
            problem = "found ec2, which needs an extra that is not installed; pip install 'dynsrv[ec2]'"
            raise problems_at(cls, [(("kind",), problem)])
        environ: Mapping[str, str] = (info.context or {}).get("environ", {})
        # botocore knows AWS_DEFAULT_REGION alone; all other tools of AWS' this, too.
        region = environ.get("AWS_REGION")
        if not isinstance(keys, Mapping) or keys.get("region") is not None or not region:
            return keys
        if not re.fullmatch(_REGION, region):
            problem = f"found {show(region)} in AWS_REGION, expected a region such as eu-central-1"
            raise problems_at(cls, [(("region",), problem)])
        return {**keys, "region": region}

    @model_validator(mode="after")
    def _agreeing(self) -> Self:
        problems: list[tuple[KeyPath, str]] = []
        if self.port is None and self.port_tag is None:
            problems.append((("port",), "this key is missing; add it, or port_tag"))
        if self.port is not None and self.port_tag is not None:
            problem = f"found {show(self.port_tag)}, but port is given, too; remove one of the two"
            problems.append((("port_tag",), problem))
        if not self.filters and self.auto_scaling_group is None:
            problem = "nothing is said of which instances are meant; add filters, auto_scaling_group, or both"
            problems.append((("filters",), problem))
        needs = (
            ("complete_lifecycle", self.complete_lifecycle, "auto_scaling_group", self.auto_scaling_group),
            ("lifecycle_hook", self.lifecycle_hook, "complete_lifecycle", self.complete_lifecycle),
            ("external_id", self.external_id, "role_arn", self.role_arn),
        )
        for key, value, other, needed in needs:
            if value and not needed:
                problems.append(((key,), f"it means nothing without {other}; add that, or remove this"))
        if problems:
            raise problems_at(type(self), problems)
        return self

    def create(self, place: SourceContext) -> Ec2Source:
        """Return the source for the backend of *place*."""
        shared = place.shared
        account = Account(self.region, self.profile, self.role_arn, self.external_id, self.endpoint_url)
        aws = shared.get(account, lambda: Aws(account))
        filters, groups = tuple(sorted(self.filters.items())), tuple(sorted(self.auto_scaling_group or ()))
        poll = shared.get(
            (account, filters, groups, self.interval),
            lambda: Poll(aws, filters=filters, groups=groups, interval=self.interval),
        )
        reading = Reading(
            port=self.port,
            port_tag=self.port_tag,
            address=self.address,
            weight_tag=self.weight_tag,
            releases=self.complete_lifecycle,
        )
        farewells = None
        if self.complete_lifecycle:
            farewells = shared.get((account, "lifecycle"), lambda: Farewells(aws))
        return Ec2Source(poll, reading, backend=place.backend, farewells=farewells, hook=self.lifecycle_hook)
