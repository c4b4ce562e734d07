"""What does the configuration file say of a backend? The keys of an item of `backends`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import AwareDatetime, BeforeValidator, Field, model_validator

from dynsrv.documents import show
from dynsrv.documents.problems import problems_at
from dynsrv.documents.values import Count, Duration, HaproxyName, Prefix, Section, Share
from dynsrv.planning.policy import Admission, DrainTimeoutAction, Limits, OnEmpty, Policy
from dynsrv.settings.server import ServerSettings
from dynsrv.sources.registry import KINDS
from dynsrv.sources.source import SourceSettings


class OnRemoved(StrEnum):
    """What becomes of the servers of a backend that is removed from this file."""

    LEAVE = "leave"
    DRAIN = "drain"


class Adopt(StrEnum):
    """Which servers of a backend are dynsrv's."""

    PREFIX = "prefix"
    ALL = "all"


class LimitsSettings(Section):
    """What the guard lets a plan take away."""

    max_removed: Share = Field(
        default=0.5,
        json_schema_extra={"default": "50%"},
        description="Serving servers that may leave within the window: a share (50%) or a number.",
    )
    window: Duration = Field(
        default=60.0,
        description="The time that max_removed speaks of.",
        json_schema_extra={"default": "1m"},
    )
    min_ready: Count = Field(default=1, description="Serving servers that the backend is never taken below.")
    on_empty: OnEmpty = Field(
        default=OnEmpty.KEEP,
        description="What a source that wants no servers at all means: keep those, or remove them.",
    )
    override_until: AwareDatetime | None = Field(
        default=None, description="Until this time (2026-01-31T12:00:00Z) the guard lets everything through."
    )


class DrainSettings(Section):
    """How a server is removed."""

    timeout: Duration = Field(
        default=30.0,
        description="How long its sessions may take to end.",
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


class BackendSettings(Section):
    """One backend of HAProxy's, and where its servers come from."""

    name: HaproxyName = Field(description="The backend's name in HAProxy's configuration.")
    proxies: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None, description="The names of the proxies that have this backend; all by default."
    )
    source: AnySourceSettings = Field(description="What tells which servers are desired.")
    server: ServerSettings = Field(default=ServerSettings(), description="What every added server gets.")
    admit: Annotated[Admission, BeforeValidator(_refuse_the_old_value)] = Field(
        default=Admission.AFTER_CHECK,
        description="When a new server receives requests: after its first passed check, or immediately.",
    )
    drain: DrainSettings = Field(default=DrainSettings(), description="How a server is removed.")
    limits: LimitsSettings = Field(default=LimitsSettings(), description="What the guard lets a plan take away.")
    adopt: Adopt = Field(
        default=Adopt.PREFIX,
        description="Which servers are dynsrv's: those whose name begins with the prefix, or all of the backend.",
    )
    on_removed: OnRemoved = Field(
        default=OnRemoved.LEAVE,
        description="What becomes of its servers when this backend is removed from the file and SIGHUP is sent.",
    )
    prefix: Prefix = Field(
        default="dyn-",
        description="What the names of added servers begin with. A server of another name is never touched.",
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
