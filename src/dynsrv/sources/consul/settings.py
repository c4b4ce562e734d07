"""What does the configuration say about Consul? Its keys, with Consul's environment variables as defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from dynsrv.documents import KeyPath
from dynsrv.documents.problems import problems_at
from dynsrv.documents.values import Between, Duration, FilePath, Flag
from dynsrv.sources.consul import environment, values
from dynsrv.sources.consul.values import Addresses, OnCritical, ServiceName, Text, Word
from dynsrv.sources.source import Source, SourceContext, SourceSettings
from dynsrv.tls import TlsSettings


class ConsulSourceSettings(SourceSettings):
    """The instances of one service in Consul."""

    kind: Literal["consul"] = Field(description="The kind of source.")
    address: Addresses = Field(
        default=("http://127.0.0.1:8500",),
        description="Consul's HTTP API: `http://host:port`, `https://host:port`, `unix:///path` or `host:port`. With"
        " a list, the next address is used when one fails. `CONSUL_HTTP_ADDR` takes precedence over the default.",
    )
    service: ServiceName = Field(description="The name of the service.")
    tags: tuple[Text, ...] = Field(default=(), description="Tags that an instance must have, all of them.")
    filter: Text | None = Field(
        default=None,
        description="An expression in Consul's filter language that instances must match: `Service.Meta.version =="
        ' "2"`.',
    )
    datacenter: Word | None = Field(default=None, description="The datacenter to query. Default: the agent's.")
    namespace: Word | None = Field(
        default=None, description="The namespace, in Consul Enterprise. Default: `CONSUL_NAMESPACE`."
    )
    partition: Word | None = Field(
        default=None, description="The admin partition, in Consul Enterprise. Default: `CONSUL_PARTITION`."
    )
    near: Word | None = Field(
        default=None,
        description="A node, or `_agent`: Consul sorts its answer by the distance from it. The order makes no"
        " difference to dynsrv.",
    )
    token: values.SecretText | None = Field(default=None, description="The ACL token. Default: `CONSUL_HTTP_TOKEN`.")
    token_file: FilePath | None = Field(
        default=None,
        description="A file with the ACL token, read again when it changes. Default: `CONSUL_HTTP_TOKEN_FILE`.",
    )
    auth: values.SecretText | None = Field(
        default=None,
        description="`user:password` for HTTP basic authentication, for a Consul behind a reverse proxy. Default:"
        " `CONSUL_HTTP_AUTH`.",
    )
    auth_file: FilePath | None = Field(
        default=None, description="A file with `user:password`, read again when it changes."
    )
    tls: TlsSettings = Field(
        default=TlsSettings(),
        description="TLS for `https` addresses. Defaults: `CONSUL_CACERT`, `CONSUL_CAPATH`, `CONSUL_CLIENT_CERT`,"
        " `CONSUL_CLIENT_KEY`, `CONSUL_HTTP_SSL_VERIFY`, `CONSUL_TLS_SERVER_NAME`.",
    )
    only_passing: Flag = Field(default=False, description="Whether an instance with a warning counts as critical, too.")
    on_critical: OnCritical = Field(
        default=OnCritical.REMOVE,
        description="What happens to an instance that Consul's checks report as critical: remove it, drain it, or"
        " keep it and leave it to HAProxy's own check.",
    )
    tagged_address: Word | None = Field(
        default=None,
        description="The tagged address to use: `lan`, `wan` or another tag. Default: the address of the service, or"
        " else of its node.",
    )
    stale: Flag = Field(
        default=False,
        description="Whether any Consul server may answer with what it knows, not only the leader.",
    )
    wait: Annotated[Duration, Between("1s", "1m")] = Field(
        default=30.0,
        description="How long Consul may hold a blocking query while nothing changes.",
        json_schema_extra={"default": "30s"},
    )

    @model_validator(mode="before")
    @classmethod
    def _with_environment(cls, keys: Any, info: ValidationInfo) -> Any:
        environ: Mapping[str, str] = (info.context or {}).get("environ", {})
        if not isinstance(keys, Mapping):
            return keys
        merged, problems = environment.with_defaults(keys, environ)
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
