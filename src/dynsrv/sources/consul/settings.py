"""What does the configuration say of Consul? Its keys, and the environment variables of Consul's own tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationInfo, model_validator

from dynsrv.documents import KeyPath
from dynsrv.documents.problems import problems_at
from dynsrv.documents.values import Duration, FilePath, Section, between
from dynsrv.sources.consul import environment, values
from dynsrv.sources.consul.access import Access, Secret
from dynsrv.sources.consul.agents import Agents, Budget
from dynsrv.sources.consul.endpoints import OnCritical, Reading
from dynsrv.sources.consul.questions import Query
from dynsrv.sources.consul.source import ConsulSource
from dynsrv.sources.consul.transport import Connections, HttpTransport
from dynsrv.sources.consul.values import Addresses, ServiceName, Text, Word
from dynsrv.sources.consul.watch import Watch
from dynsrv.sources.source import SourceContext
from dynsrv.tls import Certificates, TlsSettings


def _beside(directory: Path, path: Path | None) -> Path | None:
    return None if path is None else directory / path


def _kept(value: SecretStr | None, file: Path | None, directory: Path) -> Secret:
    return Secret(None if value is None else value.get_secret_value(), _beside(directory, file))


class ConsulSourceSettings(Section):
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

    def create(self, place: SourceContext) -> ConsulSource:
        """Return the source for the backend of *place*."""
        directory, shared = place.directory, place.shared
        token = _kept(self.token, self.token_file, directory)
        auth = _kept(self.auth, self.auth_file, directory)
        tls = self.tls.beside(directory)
        query = Query(
            service=self.service,
            tags=self.tags,
            filter=self.filter,
            datacenter=self.datacenter,
            namespace=self.namespace,
            partition=self.partition,
            near=self.near,
            stale=self.stale,
        )
        budget = shared.get(("budget", frozenset(self.address)), Budget)
        connections = shared.get(("connections", self.address), Connections)
        certificates = shared.get(tls, lambda: Certificates(tls))
        door = (self.address, token, auth, tls)

        def agents() -> Agents:
            transport = HttpTransport(Access(token=token, auth=auth, certificates=certificates), connections)
            return Agents(self.address, transport=transport, budget=budget)

        def watch() -> Watch:
            return Watch(shared.get(door, agents), query, wait=self.wait)

        reading = Reading(
            on_critical=self.on_critical, only_passing=self.only_passing, tagged_address=self.tagged_address
        )
        return ConsulSource(shared.get((door, query, self.wait), watch), reading, backend=place.backend)
