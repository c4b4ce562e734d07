"""What does the configuration file say about a backend? The keys of an item of `backends`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, model_validator

from dynsrv import server_keywords
from dynsrv.documents.messages import show
from dynsrv.documents.problems import problems_at
from dynsrv.documents.values import Count, Duration, HaproxyName, Network, Prefix, Section, Share
from dynsrv.planning.policy import Admission, DrainTimeoutAction, Limits, OnEmpty, Policy
from dynsrv.settings.server import ServerSettings
from dynsrv.sources.endpoint_rules import EndpointRules, ReservedPort
from dynsrv.sources.registry import KINDS
from dynsrv.sources.source import SourceSettings


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
    # Checked first, or the keys of another kind would be reported one by one.
    if isinstance(value, Mapping) and "kind" in value and value["kind"] not in list(KINDS):
        problem = f"found {show(value['kind'])}, expected one of the kinds of source: {', '.join(KINDS)}"
        raise problems_at(SourceSettings, [(("kind",), problem)])
    return value


if TYPE_CHECKING:
    AnySourceSettings = SourceSettings
else:  # one of the kinds, by the value of the key `kind`
    AnySourceSettings = Annotated[
        Union[tuple(KINDS.values())],  # noqa: UP007 - made at run time
        Field(discriminator="kind"),
        BeforeValidator(_of_a_known_kind),
    ]


ServerKeyword = Annotated[str, AfterValidator(server_keywords.checked_keyword)]


class BackendSettings(Section):
    """A backend of HAProxy, and where its servers come from."""

    name: HaproxyName = Field(description="The backend's name in HAProxy's configuration.")
    proxies: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None, description="The names of the proxies that have this backend. Default: all."
    )
    source: AnySourceSettings = Field(description="Where the servers come from.")
    allowed_networks: tuple[Network, ...] | None = Field(
        default=None,
        description="The networks that the source's addresses must be in, such as `10.0.0.0/8`. Default: all.",
    )
    denied_networks: tuple[Network, ...] = Field(
        default=(), description="Networks that the source's addresses must not be in, even if they are allowed."
    )
    options_from_source: tuple[ServerKeyword, ...] = Field(
        default=(),
        description="The keywords of `add server` that the source may give to its servers: `[backup, proto]`. Default:"
        " none from Consul; from a servers file, all but those that decide over TLS, or over where connections and"
        " checks go.",
    )
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

    def rules(self, reserved: tuple[ReservedPort, ...]) -> EndpointRules:
        """Return which endpoints the source may list, none of them on a *reserved* port."""
        return EndpointRules(
            reserved=reserved,
            allowed=self.allowed_networks,
            denied=self.denied_networks,
            keywords=frozenset(self.options_from_source),
        )

    def policy(self) -> Policy:
        """Return the settings that the planner needs."""
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
