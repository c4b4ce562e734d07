"""What does the configuration file say? Its keys as checked, frozen values; nothing is opened or started."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BeforeValidator, Field, ValidationError, model_validator

from dynsrv.documents import KeyPath, parse, show
from dynsrv.documents.interpolation import interpolate
from dynsrv.documents.problems import explain_validation, problems_at, unreadable
from dynsrv.documents.values import (
    Count,
    Duration,
    HaproxyName,
    JsonSchemaGenerator,
    Label,
    Prefix,
    RuntimeAddress,
    Section,
    Share,
    host_and_port,
)
from dynsrv.errors import ConfigurationError
from dynsrv.planning.policy import Admission, DrainTimeoutAction, Limits, OnEmpty, Policy
from dynsrv.settings.process import AuditSettings, LogSettings, ResyncSettings, WebSettings
from dynsrv.settings.server import ServerSettings
from dynsrv.sources.consul.settings import ConsulSourceSettings
from dynsrv.sources.ec2.settings import Ec2SourceSettings
from dynsrv.sources.file import FileSourceSettings
from dynsrv.tls import TlsSettings

DEFAULT_PATHS = (Path("dynsrv.yaml"), Path("/etc/dynsrv/dynsrv.yaml"))

_KINDS = ("file", "consul", "ec2")


class ProxySettings(Section):
    """One HAProxy, reached through one Runtime API address."""

    address: RuntimeAddress = Field(
        description="HAProxy's stats socket with `level admin`: `unix:///path`, a path, `tcp://host:port` or"
        " `tcp+tls://host:port`.",
    )
    name: Label = Field(
        default_factory=lambda others: str(others["address"]),
        description="The name in logs, metrics and `backends[].proxies`. Default: the address.",
    )
    master: RuntimeAddress | None = Field(
        default=None,
        description="HAProxy's master CLI (`haproxy -W -S /run/haproxy/master.sock`), written like `address`. With"
        " it, a reload is detected at once instead of within `resync.probe`.",
    )
    tls: TlsSettings | None = Field(default=None, description="TLS for `tcp+tls://` addresses.")

    @model_validator(mode="after")
    def _tls_is_of_use(self) -> Self:
        if self.tls is not None and not any(one and one.startswith("tcp+tls:") for one in (self.address, self.master)):
            problem = f"the address {self.address} has no TLS; write tcp+tls://host:port, or remove this key"
            raise problems_at(type(self), [(("tls",), problem)])
        return self


class OnRemoved(StrEnum):
    """What happens to the servers of a backend that is removed from the configuration."""

    LEAVE = "leave"
    DRAIN = "drain"


class Adopt(StrEnum):
    """Which servers of a backend are dynsrv's."""

    PREFIX = "prefix"
    ALL = "all"


class LimitsSettings(Section):
    """What the guard lets a plan remove."""

    max_removed: Share = Field(
        default=0.5,
        json_schema_extra={"default": "50%"},
        description="How far the number of serving servers may fall within `window`.",
    )
    window: Duration = Field(
        default=60.0,
        description="The period for `max_removed`.",
        json_schema_extra={"default": "1m"},
    )
    min_ready: Count = Field(default=1, description="The number of serving servers below which the guard removes none.")
    on_empty: OnEmpty = Field(
        default=OnEmpty.KEEP,
        description="What happens when the source lists no servers: keep the current ones, or remove them.",
    )
    override_until: AwareDatetime | None = Field(
        default=None, description="Until this time, such as `2026-01-31T12:00:00Z`, the guard allows every removal."
    )


class DrainSettings(Section):
    """How a server is removed."""

    timeout: Duration = Field(
        default=30.0,
        description="How long the sessions of a removed server may take to end.",
        json_schema_extra={"default": "30s"},
    )
    on_timeout: DrainTimeoutAction = Field(
        default=DrainTimeoutAction.CLOSE,
        description="What happens to the sessions that remain after the timeout: close them, or wait for them.",
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_the_old_key(cls, value: object) -> object:
        if isinstance(value, Mapping) and "then" in value:
            raise problems_at(cls, [(("then",), "this key is now drain.on_timeout; rename it")])
        return value


def _refuse_the_old_value(value: object) -> object:
    if value == "at-once":
        raise ValueError("which is now called immediately; rename it")
    return value


def _of_a_known_kind(value: object) -> object:
    # before the union, which would report the keys of another kind one by one
    if isinstance(value, Mapping) and "kind" in value and value["kind"] not in _KINDS:
        problem = f"found {show(value['kind'])}, expected one of the kinds of source: {', '.join(_KINDS)}"
        raise problems_at(FileSourceSettings, [(("kind",), problem)])
    return value


SourceSettings = Annotated[
    FileSourceSettings | ConsulSourceSettings | Ec2SourceSettings,
    Field(discriminator="kind"),
    BeforeValidator(_of_a_known_kind),
]


class BackendSettings(Section):
    """A backend of HAProxy, and where its servers come from."""

    name: HaproxyName = Field(description="The backend's name in HAProxy's configuration.")
    proxies: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None, description="The names of the proxies that have this backend. Default: all."
    )
    source: SourceSettings = Field(description="Where the servers come from.")
    server: ServerSettings = Field(
        default=ServerSettings(), description="The settings of every server that dynsrv adds."
    )
    admit: Annotated[Admission, BeforeValidator(_refuse_the_old_value)] = Field(
        default=Admission.AFTER_CHECK,
        description="When a new server receives requests: after its first passed check, or immediately. A server"
        " without a check is admitted immediately.",
    )
    drain: DrainSettings = Field(default=DrainSettings(), description="How a server is removed.")
    limits: LimitsSettings = Field(default=LimitsSettings(), description="The guard: what may be removed at most.")
    adopt: Adopt = Field(
        default=Adopt.PREFIX,
        description="Which servers dynsrv manages: those whose name begins with `prefix`, or all servers of the"
        " backend. With `all`, a server in HAProxy's configuration file at the address of an endpoint is kept as it"
        " is; one at any other address is drained and deleted.",
    )
    on_removed: OnRemoved = Field(
        default=OnRemoved.LEAVE,
        description="What happens to the servers when this backend is removed from the configuration: leave them, or"
        " drain and delete them.",
    )
    prefix: Prefix = Field(
        default="dyn-",
        description="The prefix of the names of added servers: 1 to 100 letters, digits and `_ : . -`. Unless `adopt`"
        " is `all`, dynsrv changes no server with another name.",
    )

    def policy(self) -> Policy:
        """Return what the planner has to know of these settings."""
        return Policy(
            prefix=self.prefix,
            adopt_all=self.adopt is Adopt.ALL,
            weight=self.server.weight,
            maxconn=self.server.maxconn,
            options=self.server.keywords(),
            admission=self.admit,
            drain_timeout=self.drain.timeout,
            on_drain_timeout=self.drain.on_timeout,
            limits=Limits(
                max_removed=self.limits.max_removed,
                window=self.limits.window,
                min_ready=self.limits.min_ready,
                on_empty=self.limits.on_empty,
            ),
        )


class Settings(Section):
    """The configuration file of dynsrv."""

    proxies: tuple[ProxySettings, ...] = Field(min_length=1, description="The HAProxies to manage.")
    backends: tuple[BackendSettings, ...] = Field(min_length=1, description="The backends to manage.")
    resync: ResyncSettings = Field(
        default=ResyncSettings(), description="How often HAProxy is observed without an event."
    )
    web: WebSettings | None = Field(
        default=WebSettings(), description="Metrics, health, status page and API over HTTP; null: off."
    )
    log: LogSettings = Field(default=LogSettings(), description="What is logged, and how.")
    audit: AuditSettings | None = Field(default=None, description="A record of every change; null: off.")

    @property
    def web_address(self) -> tuple[str, int] | None:
        """Host and port to listen on; None: the web is off."""
        return host_and_port(self.web.listen) if self.web and self.web.listen else None

    def proxies_of(self, backend: BackendSettings) -> tuple[ProxySettings, ...]:
        """Return the proxies that have *backend*."""
        return tuple(each for each in self.proxies if backend.proxies is None or each.name in backend.proxies)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if problems := [*self._proxy_problems(), *self._backend_problems()]:
            raise problems_at(type(self), problems)
        return self

    def _proxy_problems(self) -> list[tuple[KeyPath, str]]:
        problems: list[tuple[KeyPath, str]] = []
        first: dict[tuple[str, str], int] = {}
        for index, proxy in enumerate(self.proxies):
            for key, value in (("address", proxy.address), ("name", proxy.name)):
                if (other := first.setdefault((key, value), index)) != index:
                    problem = f"found {show(value)}, which proxies[{other}] has already; change one of the two"
                    problems.append((("proxies", index, key), problem))
                    break  # a proxy without a name has its address's
        return problems

    def _backend_problems(self) -> list[tuple[KeyPath, str]]:
        problems: list[tuple[KeyPath, str]] = []
        names = [proxy.name for proxy in self.proxies]
        first: dict[tuple[str, str], int] = {}
        for index, backend in enumerate(self.backends):
            for position, name in enumerate(backend.proxies or ()):
                if name not in names:
                    problem = f"found {show(name)}, expected the name of a proxy: {', '.join(names)}"
                    problems.append((("backends", index, "proxies", position), problem))
            for name in backend.proxies or names:
                if (other := first.setdefault((backend.name, name), index)) != index:
                    manages = f"which backends[{other}] manages on {name} already"
                    problem = f"found {show(backend.name)}, {manages}; remove one of the two"
                    problems.append((("backends", index, "name"), problem))
        return problems


def find(explicit: Path | None, *, defaults: tuple[Path, ...] = DEFAULT_PATHS) -> Path:
    """Return the configuration file to load: *explicit*, or the first of *defaults* that exists.

    Raises:
        ConfigurationError: none exists.
    """
    if explicit is not None:
        return explicit
    for path in defaults:
        if path.exists():
            return path
    first, second = defaults
    raise ConfigurationError(str(first), f"there is no such file, nor {second}; write one, or name it with -c")


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """Return what the file at *path* says, with `${NAME}` taken from *environ*.

    Raises:
        ConfigurationError: the file cannot be read or used; the error lists all problems.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(str(path), unreadable(error)) from None
    document = interpolate(parse(content, name=str(path)), environ)
    try:
        context = {"directory": path.absolute().parent, "environ": environ}
        return Settings.model_validate(document.data, context=context)
    except ValidationError as error:
        raise explain_validation(error, document=document, model=Settings) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the configuration file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Settings.model_json_schema(schema_generator=JsonSchemaGenerator),
    }
