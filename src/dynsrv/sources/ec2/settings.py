"""What does the configuration say about EC2? Its keys; botocore finds what is missing, as for every AWS tool."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from dynsrv.documents import KeyPath
from dynsrv.documents.messages import show
from dynsrv.documents.problems import problems_at
from dynsrv.documents.values import Between, Duration, Flag, PortNumber
from dynsrv.sources.ec2.account import installed
from dynsrv.sources.ec2.values import REGION, AddressKind, Region, Role, Text, Url, Values, Word
from dynsrv.sources.source import Source, SourceContext, SourceSettings


class Ec2SourceSettings(SourceSettings):
    """The instances of EC2's that match filters, or that are in an Auto Scaling group."""

    kind: Literal["ec2"] = Field(description="The kind of source. It requires the extra: `pip install 'dynsrv[ec2]'`.")
    region: Region | None = Field(
        default=None,
        description="The region, such as `eu-central-1`. Default: `AWS_REGION`, else `AWS_DEFAULT_REGION` or the"
        " profile's.",
    )
    profile: Word | None = Field(
        default=None, description="A profile in AWS' configuration files. Default: `AWS_PROFILE`."
    )
    role_arn: Role | None = Field(
        default=None, description="The ARN of a role to assume, with the credentials that were found."
    )
    external_id: Word | None = Field(default=None, description="The external id that the owner of the role requires.")
    endpoint_url: Url | None = Field(
        default=None,
        description="The URL of all AWS services. Default: AWS' own, or `AWS_ENDPOINT_URL` and its variants.",
    )
    filters: Mapping[Word, Values] = Field(
        default={},
        description="EC2's own filters, as in `DescribeInstances`, each with a value or a list of values:"
        ' `{"tag:app": web}`. An instance must match all of them.',
    )
    auto_scaling_group: Values | None = Field(
        default=None,
        description="An Auto Scaling group, or a list of groups. Instances are used according to their lifecycle"
        " state.",
    )
    port: PortNumber | None = Field(
        default=None, description="The port of every instance. Either this or `port_tag` is required."
    )
    port_tag: Text | None = Field(
        default=None,
        description="The tag with an instance's port. Several ports with commas (`8080, 8081`) are a server each.",
    )
    address: AddressKind = Field(default=AddressKind.PRIVATE, description="Which address of an instance is used.")
    weight_tag: Text | None = Field(
        default=None, description="The tag with an instance's weight, 0 to 256. Without it, `server.weight` applies."
    )
    interval: Annotated[Duration, Between("1s", "1h")] = Field(
        default=30.0,
        description="Time between two polls, plus or minus a tenth. While instances come and go, and for a minute"
        " after, at most `5s`.",
        json_schema_extra={"default": "30s"},
    )
    complete_lifecycle: Flag = Field(
        default=False,
        description="Whether Auto Scaling has to wait until HAProxy has drained an instance before it terminates it."
        " This requires a lifecycle hook for termination.",
    )
    lifecycle_hook: Word | None = Field(
        default=None, description="The lifecycle hook that dynsrv completes. Default: the group's only one."
    )

    @model_validator(mode="before")
    @classmethod
    def _installed(cls, keys: Any, info: ValidationInfo) -> Any:
        if not installed():
            problem = "found ec2, which needs an extra that is not installed; pip install 'dynsrv[ec2]'"
            raise problems_at(cls, [(("kind",), problem)])
        environ: Mapping[str, str] = (info.context or {}).get("environ", {})
        # botocore reads AWS_DEFAULT_REGION only; all other AWS tools read this, too.
        region = environ.get("AWS_REGION")
        if not isinstance(keys, Mapping) or keys.get("region") is not None or not region:
            return keys
        if not re.fullmatch(REGION, region):
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
            problem = "this key is missing, so that every instance would match; add it, auto_scaling_group, or both"
            problems.append((("filters",), problem))
        needs = (
            ("complete_lifecycle", self.complete_lifecycle, "auto_scaling_group", self.auto_scaling_group),
            ("lifecycle_hook", self.lifecycle_hook, "complete_lifecycle", self.complete_lifecycle),
            ("external_id", self.external_id, "role_arn", self.role_arn),
        )
        for key, value, other, needed in needs:
            if value and not needed:
                problems.append(((key,), f"this key has no effect without {other}; add that, or remove this"))
        if problems:
            raise problems_at(type(self), problems)
        return self

    def create(self, context: SourceContext) -> Source:
        """Return the source for the backend of *context*."""
        from dynsrv.sources.ec2.source import ec2_source  # noqa: PLC0415 - loads what works with AWS' client

        return ec2_source(self, context)
