"""What is the JSON of the API, of its events and of `--json`? Every key, from which the OpenAPI document is made too.

Other people's programs depend on this: keys may be added, but none is renamed or removed. A value that is not known is
None, which is null in JSON.

What dynsrv answers is plain dataclasses. pydantic describes and serialises them, but does not validate them: that would
double the cost of a status with thousands of servers, to check what dynsrv itself has computed. Request bodies are
pydantic models, which do validate.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal, overload

from pydantic import Field, TypeAdapter
from pydantic_core import PydanticSerializationError

from dynsrv.documents.values import Between, Duration, Section
from dynsrv.model import AdminState, Check, OperationalState
from dynsrv.steps import Outcome, Rule, StepKind, WaitsFor

BackendName = Annotated[str, Field(description="The backend's name in HAProxy.")]
ProxyName = Annotated[str, Field(description="The proxy's name in dynsrv's configuration.")]
ServerName = Annotated[str, Field(description="The server's name in HAProxy.")]
Reason = Annotated[str, Field(description="The reason, in a sentence.")]


# ---- what is known of dynsrv, of the proxies and of the sources


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The dynsrv that answers."""

    version: Annotated[str, Field(description="dynsrv's version.")]
    started: Annotated[datetime, Field(description="When it started.")]
    configuration_error: Annotated[
        str | None,
        Field(
            description="Why the configuration file was invalid at the last reload, so that the previous configuration"
            " is in use; null if it was valid."
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFileStatus:
    """A file of HAProxy's configuration that is kept current."""

    path: Annotated[str, Field(description="Where it is.")]
    written: Annotated[datetime | None, Field(description="When this dynsrv last wrote it; null: it did not have to.")]
    error: Annotated[str | None, Field(description="Why it cannot be kept current; null while it is.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStatus:
    """One HAProxy, as it last answered."""

    proxy: ProxyName
    address: Annotated[str, Field(description="The address of its Runtime API.")]
    up: Annotated[bool, Field(description="Whether it answered the last probe.")]
    version: Annotated[str | None, Field(description="HAProxy's version; null until the first answer.")]
    pid: Annotated[int | None, Field(description="The process id of HAProxy's worker; null until the first answer.")]
    error: Annotated[str | None, Field(description="Why it does not answer; null if it does, or was not probed yet.")]
    config_files: Annotated[
        list[ConfigFileStatus], Field(description="The files of its configuration that are kept current.")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """The source of a backend's servers, as it last answered."""

    backend: BackendName
    proxies: Annotated[list[str], Field(description="The proxies whose servers of this backend it determines.")]
    kind: Annotated[str, Field(description="The kind of source, such as `file`, `consul` or `ec2`.")]
    up: Annotated[bool, Field(description="Whether its last answer could be used.")]
    reason: Annotated[str | None, Field(description="The kind of failure, as in `dynsrv_source_errors_total`.")]
    error: Annotated[str | None, Field(description="What is wrong; null while nothing is.")]
    last_answer: Annotated[datetime | None, Field(description="When it last gave a usable answer.")]
    endpoints: Annotated[int | None, Field(description="The number of endpoints in its last usable answer.")]
    ignored: Annotated[
        list[str], Field(description="What in that answer could not be used as it was, a sentence each.")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A step that HAProxy carried out, or did not."""

    number: Annotated[int, Field(description="Counts all changes since dynsrv started.")]
    time: Annotated[datetime, Field(description="When HAProxy replied.")]
    proxy: ProxyName
    backend: BackendName
    step: Annotated[StepKind, Field(description="What was to be done.")]
    server: ServerName
    reason: Reason
    outcome: Annotated[Outcome, Field(description="What HAProxy made of it.")]
    detail: Annotated[str, Field(description="HAProxy's own words; empty if it has none.")]


# ---- what is known of a backend on a proxy


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """A server in HAProxy, as last observed."""

    backend: BackendName
    proxy: ProxyName
    name: ServerName
    id: Annotated[int, Field(description="The server's id in HAProxy, by which consistent hashing places it.")]
    address: Annotated[str | None, Field(description="`address:port`; null where HAProxy gives no IP address.")]
    state: Annotated[AdminState, Field(description="Its administrative state.")]
    operational: Annotated[OperationalState, Field(description="Its operational state.")]
    check: Annotated[Check, Field(description="Its health check: the last result, or why there is none.")]
    check_detail: Annotated[
        str | None,
        Field(description="HAProxy's reason for a failed check, such as `L4CON, Connection refused`; null otherwise."),
    ]
    weight: Annotated[int, Field(description="Its weight, 0 to 256.")]
    maxconn: Annotated[int | None, Field(description="Its limit of concurrent connections; 0: no limit.")]
    sessions: Annotated[
        int | None, Field(description="Its running and queued sessions; known while the server drains.")
    ]
    draining_since: Annotated[datetime | None, Field(description="When its drain began; null if it does not drain.")]
    ours: Annotated[bool, Field(description="Whether dynsrv manages it; dynsrv never changes any other server.")]
    serving: Annotated[bool, Field(description="Whether HAProxy sends it new requests.")]
    as_desired: Annotated[
        bool | None,
        Field(description="Whether nothing is left to be done about it; null: the desired servers are not known."),
    ]
    waits_for: Annotated[WaitsFor | None, Field(description="What has to happen before its next step.")]
    why: Annotated[str, Field(description="Why it is in this state, in a sentence.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingServer:
    """An endpoint that has no server in HAProxy yet."""

    backend: BackendName
    proxy: ProxyName
    address: Annotated[str, Field(description="The endpoint's IP address.")]
    port: Annotated[int, Field(description="The endpoint's port.")]
    why: Annotated[str, Field(description="Why it has no server, in a sentence.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Removals that the guard blocks."""

    rule: Annotated[Rule, Field(description="The key of `limits` that blocks them.")]
    reason: Annotated[str, Field(description="The numbers, and what to do if the removals are intended.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class HaproxyProcess:
    """The HAProxy process that was observed."""

    version: Annotated[str, Field(description="HAProxy's version.")]
    pid: Annotated[int, Field(description="The process id of the worker.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Backend:
    """What the status and the plan of a backend have in common."""

    backend: BackendName
    proxy: ProxyName
    haproxy: Annotated[HaproxyProcess | None, Field(description="null until the backend was observed once.")]
    error: Annotated[str | None, Field(description="Why the last pass failed; null if it did not.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSummary(_Backend):
    """A backend on one proxy, as last observed. Before the first pass, what it would have found is null or empty."""

    seen: Annotated[datetime | None, Field(description="When HAProxy was last observed.")]
    converged: Annotated[
        bool | None, Field(description="Whether it is in sync: nothing to do, to wait for, or blocked by the guard.")
    ]
    desired: Annotated[int | None, Field(description="The number of desired servers.")]
    refusals: Annotated[list[Refusal], Field(description="What the guard blocks.")]
    guard_overridden_until: Annotated[
        datetime | None, Field(description="Until when an operator overrides the guard; null if there is no override.")
    ]

    def with_servers(self, servers: list[ServerStatus], missing: list[MissingServer]) -> BackendStatus:
        """Return the status that this is the summary of."""
        summary = {field.name: getattr(self, field.name) for field in fields(self)}
        return BackendStatus(**summary, servers=servers, missing=missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatus(BackendSummary):
    """A backend on one proxy with its servers, as last observed."""

    servers: Annotated[list[ServerStatus], Field(description="All servers of the backend, dynsrv's and others.")]
    missing: Annotated[list[MissingServer], Field(description="The endpoints that have no server yet.")]


# ---- what is planned for a backend on a proxy

_STEP = Field(description="What is to be done.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddStep:
    """Add a server: in maintenance, with its check not enabled."""

    step: Annotated[Literal["add"], _STEP]
    server: ServerName
    id: Annotated[int, Field(description="The id of the new server in HAProxy.")]
    address: Annotated[str, Field(description="The address of the new server.")]
    port: Annotated[int, Field(description="The port of the new server.")]
    weight: Annotated[int, Field(description="The initial weight.")]
    options: Annotated[tuple[str, ...], Field(description="The keywords of `add server`, one with its arguments each.")]
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWeightStep:
    """Change a server's weight."""

    step: Annotated[Literal["set_weight"], _STEP]
    server: ServerName
    weight: Annotated[int, Field(description="The new weight, 0 to 256.")]
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMaxconnStep:
    """Change a server's limit of concurrent connections."""

    step: Annotated[Literal["set_maxconn"], _STEP]
    server: ServerName
    maxconn: Annotated[int, Field(description="The new limit; 0: no limit.")]
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class StateStep:
    """Change the state of a server, or delete it."""

    step: Annotated[
        Literal[
            "enable_health", "enable_agent", "disable_agent", "admit", "drain", "disable", "close_sessions", "delete"
        ],
        _STEP,
    ]
    server: ServerName
    reason: Reason


PlannedStep = Annotated[AddStep | SetWeightStep | SetMaxconnStep | StateStep, Field(discriminator="step")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A server that has no next step yet."""

    server: ServerName
    waits_for: Annotated[WaitsFor, Field(description="What has to happen first.")]
    reason: Reason
    deadline: Annotated[float | None, Field(description="Seconds until dynsrv stops waiting; null: it waits forever.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendPlan(_Backend):
    """What is to be done about a backend on one proxy. The lists are null while that is not known."""

    steps: Annotated[list[PlannedStep] | None, Field(description="The steps, in the order in which they are sent.")]
    waits: Annotated[list[Wait] | None, Field(description="The servers that wait for something.")]
    refusals: Annotated[list[Refusal] | None, Field(description="What the guard blocks.")]


# ---- answers


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatuses:
    """What `dynsrv status --json` prints."""

    backends: Annotated[list[BackendStatus], Field(description="Each backend, once for each of its proxies.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything that dynsrv knows."""

    dynsrv: About
    proxies: Annotated[list[ProxyStatus], Field(description="Each HAProxy in the configuration.")]
    sources: Annotated[list[SourceStatus], Field(description="The source of each backend.")]
    backends: Annotated[list[BackendStatus], Field(description="Each backend, once for each of its proxies.")]
    changes: Annotated[list[Change], Field(description="The most recent changes, the oldest first.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done, and what is waited for."""

    backends: Annotated[list[BackendPlan], Field(description="Each backend, once for each of its proxies.")]


Row = About | ProxyStatus | SourceStatus | BackendSummary | ServerStatus | MissingServer | Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What changed: a client that applies every event knows the current status."""

    reset: Annotated[bool, Field(description="Whether all rows that were known before are to be discarded first.")]
    set: Annotated[dict[str, Row], Field(description="New and changed rows by their keys.")]
    unset: Annotated[list[str], Field(description="The keys of rows that are gone.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationResult:
    """The result of a request on one proxy."""

    backend: BackendName
    proxy: ProxyName
    outcome: Annotated[
        Outcome | Literal["error"],
        Field(
            description="`refused`: by HAProxy, or because the server does not exist there or is in another state;"
            " `unknown`: HAProxy's reply is not one that dynsrv knows; `error`: HAProxy did not answer."
        ),
    ]
    detail: Annotated[str, Field(description="More about it, such as HAProxy's own words; may be empty.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The results of a request."""

    results: Annotated[list[OperationResult], Field(description="One for each backend and proxy.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """Why a request was not carried out."""

    error: Annotated[str, Field(description="A sentence.")]


# ---- requests


class ReleaseRequest(Section):
    """Which server is released."""

    proxy: str | None = Field(default=None, description="The proxy; by default, each one that has the backend.")


class HoldRequest(ReleaseRequest):
    """How a server is held."""

    state: Literal["drain", "maint"] = Field(
        default="drain", description="`drain`: sessions that stick to the server continue; `maint`: nothing new comes."
    )


class OverrideRequest(ReleaseRequest):
    """For how long the guard is overridden."""

    duration: Annotated[Duration, Between("0s", "1h")] = Field(
        default=600.0,
        description="For how long; `0s` ends an override.",
        json_schema_extra={
            "default": "10m",
            "examples": ["10m", "90s", "1h", "0s"],
            "pattern": "^([0-9]{1,6}ms|([0-9]{1,3}|[12][0-9]{3}|3[0-5][0-9]{2}|3600)s|([0-5]?[0-9]|60)m|[01]h)$",
        },
    )


class ReconcileRequest(ReleaseRequest):
    """What is reconciled."""

    backend: str | None = Field(default=None, description="The backend; by default, all.")


# ---- how they are written


@overload
def utc_time(seconds: float) -> datetime: ...
@overload
def utc_time(seconds: None) -> None: ...
def utc_time(seconds: float | None) -> datetime | None:
    """Return a Unix time, to the second, as the API's type for times; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC)


def to_json(value: Any, *, indent: int | None = None) -> bytes:
    """Return an instance of a class of this module as JSON."""
    kind: Any = type(value)
    adapter = _adapter(kind)
    try:
        return adapter.dump_json(value, indent=indent)
    except PydanticSerializationError:  # a path that is not UTF-8 has surrogates, which only json can write
        return json.dumps(adapter.dump_python(value, mode="json"), indent=indent).encode()


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
