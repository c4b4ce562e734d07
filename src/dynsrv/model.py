"""What do endpoints and servers look like? Frozen values without behaviour."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum

MAX_WEIGHT = 256
"""HAProxy's own limit: `weight of server x is not within 0 and 256` (2.6-3.4)."""


def canonical_address(text: str) -> str:
    """Return an IPv4 or IPv6 address in the canonical spelling, in which dynsrv compares addresses.

    Raises:
        ValueError: *text* is not an address, or one that no server can listen on
            (unspecified, multicast, with a zone). A host name is not an address.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            raise ValueError(f"{text!r} has a zone")
        address = address.ipv4_mapped or address  # to the kernel, ::ffff:10.0.0.1 is 10.0.0.1
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"{text!r} is not the address of one host")
    return address.compressed


Location = tuple[str | None, int]
"""Address and port, by which endpoints and servers are matched. HAProxy prints no address for some servers."""


def host_port(address: str, port: int) -> str:
    """Return address and port in the usual form: `10.0.0.1:80`, `[::1]:80`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class EndpointState(StrEnum):
    """Whether an endpoint shall receive requests, or only finish those it already has."""

    READY = "ready"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address and port that a source lists for a backend.

    *address* is canonical (see `canonical_address`), *port* 1-65535. *weight* (0-256) and *maxconn* are
    None where the backend's apply. Each item of *options* is a keyword of `add server` with its arguments; it replaces
    the backend's option with the same keyword. *name* is the source's name for it, made of `[A-Za-z0-9_:.-]`.
    """

    address: str
    port: int
    name: str | None = None
    weight: int | None = None
    state: EndpointState = EndpointState.READY
    maxconn: int | None = None
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return host_port(self.address, self.port)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All endpoints that one source lists for one backend at one time: always the complete list, never a change.

    No two endpoints share address and port. An empty snapshot means that there are no endpoints; "unknown" has no
    snapshot. *notes* are sentences for an operator about entries of the source that could not be used.
    """

    endpoints: tuple[Endpoint, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)


class AdminState(StrEnum):
    """The state that an operator or dynsrv set, in HAProxy's terms."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class OperationalState(StrEnum):
    """The state that HAProxy determined (`srv_op_state` 0-3)."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"


class Check(StrEnum):
    """The result of a server's health check (PASSED, FAILED), or the reason why there is none."""

    NONE = "none"  # no `check` keyword
    DISABLED = "disabled"  # configured, but not enabled with `enable health`, which HAProxy never does by itself
    PENDING = "pending"  # enabled, no result yet
    PASSED = "passed"
    FAILED = "failed"


class Agent(StrEnum):
    """Whether HAProxy asks an agent on the server's host, whose replies change the server's weight and state."""

    NONE = "none"  # no `agent-check` keyword
    DISABLED = "disabled"  # configured, but `enable agent` was not sent: HAProxy never does it by itself
    ENABLED = "enabled"


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a live backend, as HAProxy describes it.

    *address* is None where HAProxy prints none (a unix socket, or an unresolved host name). *since_change*: whole
    seconds since HAProxy last changed its state, up to one too many, as of the first observation for a serving server.
    *check_paused*: HAProxy does not run the check because the server was put into maintenance; the result is an old
    one. *sessions* counts running and queued sessions, *sessions_total* all sessions so far; they are known for servers
    that are `leaving`. *maxconn* is the last that was queried, None if it never was. *drained_for*: the least number
    of seconds it has been in drain, known only where HAProxy reports it (2.6). *backup*: it receives requests only
    while no other server can; known once it serves. *initial_weight*: the weight it was added with, of which an agent
    gives percentages. *check_detail*: why its check failed, in HAProxy's words, such as `L4CON, Connection refused`;
    None while it does not fail.
    """

    name: str
    id: int
    address: str | None
    port: int
    weight: int
    admin: AdminState
    operational: OperationalState
    check: Check
    check_paused: bool = False
    since_change: float = 0.0
    sessions: int | None = field(default=None, compare=False)
    sessions_total: int | None = field(default=None, compare=False)
    maxconn: int | None = None
    drained_for: float | None = None
    backup: bool = False
    agent: Agent = Agent.NONE
    initial_weight: int = 0
    check_detail: str | None = None
    serving: bool = field(init=False, compare=False)
    """Whether HAProxy sends it new requests."""

    def __post_init__(self) -> None:
        up = self.operational is OperationalState.UP or self.operational is OperationalState.STARTING
        object.__setattr__(self, "serving", up and self.admin is AdminState.READY and self.weight > 0)

    @property
    def leaving(self) -> bool:
        """Whether it is in drain, or in a maintenance that dynsrv's drain led to: those it gives weight 0."""
        return self.admin is AdminState.DRAIN or (self.admin is AdminState.MAINT and self.weight == 0)


def failing_check(detail: str | None) -> str:
    """Return the sentence for a failing check, with HAProxy's reason, if it is known."""
    return f"its health check is failing ({detail})" if detail else "its health check is failing"


@dataclass(frozen=True, slots=True)
class Process:
    """One HAProxy process; each reload or restart creates another one.

    *started* is HAProxy's `Start_time_sec` (Unix time): in a container, a new process often has the same *pid*.
    """

    pid: int
    started: int
    version: str


@dataclass(frozen=True, slots=True)
class Backend:
    """A live backend: its servers in HAProxy's own order, and the process that reported them."""

    name: str
    servers: tuple[Server, ...]
    process: Process
