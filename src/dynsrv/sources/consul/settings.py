"""What does the configuration say of Consul? Its keys, and the environment variables of Consul's own tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from dynsrv.documents import KeyPath
from dynsrv.documents.problems import problems_at
from dynsrv.documents.values import Duration, FilePath, between
from dynsrv.sources.consul import environment, values
from dynsrv.sources.consul.values import Addresses, OnCritical, ServiceName, Text, Word
from dynsrv.sources.source import Source, SourceContext, SourceSettings
from dynsrv.tls import TlsSettings


class ConsulSourceSettings(SourceSettings):
    """The instances of one service in Consul."""

    kind: Literal["consul"] = Field(description="The kind of source.")
    address: Addresses = Field(
        default=("http://127.0.0.1:8500",),
        description="Consul's HTTP API: http://host:port, https://host:port or unix:///path; of a list, the next is "
        "asked when one fails. By default CONSUL_HTTP_ADDR.",
    )
    service: ServiceName = Field(description="The name of the service.")
    tags: tuple[Text, ...] = Field(default=(), description="Tags that an instance must have, all of them.")
    filter: Text | None = Field(
        default=None, description='An expression of Consul\'s that instances must match: Service.Meta.v == "2".'
    )
    datacenter: Word | None = Field(default=None, description="The datacenter to ask about; by default the agent's.")
    namespace: Word | None = Field(default=None, description="Of Consul Enterprise. By default CONSUL_NAMESPACE.")
    partition: Word | None = Field(default=None, description="Of Consul Enterprise. By default CONSUL_PARTITION.")
    near: Word | None = Field(
        default=None,
        description="A node, or _agent: Consul sorts its answer by the distance to it; all are wanted alike.",
    )
    token: values.Secret | None = Field(default=None, description="The ACL token. By default CONSUL_HTTP_TOKEN.")
    token_file: FilePath | None = Field(
        default=None,
        description="A file with the ACL token, read again when it changes. By default CONSUL_HTTP_TOKEN_FILE.",
    )
    auth: values.Secret | None = Field(
        default=None, description="user:password of HTTP's basic authentication. By default CONSUL_HTTP_AUTH."
    )
    auth_file: FilePath | None = Field(default=None, description="A file with the same.")
    tls: TlsSettings = Field(
        default=TlsSettings(), description="How an https address is talked to. By default CONSUL_CACERT and its like."
    )
    only_passing: bool = Field(default=False, description="Whether an instance with a warning counts as critical, too.")
    on_critical: OnCritical = Field(
        default=OnCritical.REMOVE,
        description="What becomes of an instance that Consul's checks find critical; keep: HAProxy's check decides.",
    )
    tagged_address: Word | None = Field(
        default=None, description="Which of the tagged addresses is meant: lan, wan or another tag."
    )
    stale: bool = Field(
        default=False,
        description="Whether any server of Consul's may answer, with what it knows, not only the leader.",
    )
    wait: Annotated[Duration, between("1s", "1m")] = Field(
        default=30.0,
        description="How long Consul may keep a question that has no news.",
        json_schema_extra={"default": "30s"},
    )

    @model_validator(mode="before")
    @classmethod
    def _behind_the_environment(cls, keys: Any, info: ValidationInfo) -> Any:
        environ: Mapping[str, str] = (info.context or {}).get("environ", {})
        if not isinstance(keys, Mapping):
            return keys
        merged, problems = environment.behind(keys, environ)
        if problems:
            raise problems_at(cls, problems)
        return merged

    @model_validator(mode="after")
    def _one_of_each_secret(self) -> Self:
        problems: list[tuple[KeyPath, str]] = [
            ((f"{key}_file",), f"{key} is given, too; remove one of the two")
            for key in ("token", "auth")
            if getattr(self, key) is not None and getattr(self, f"{key}_file") is not None
        ]
        if problems:
            raise problems_at(type(self), problems)
        return self

    def create(self, context: SourceContext) -> Source:
        """Return the source for the backend of *context*."""
        from dynsrv.sources.consul.source import consul_source  # noqa: PLC0415 - loads Consul's client

        return consul_source(self, context)
