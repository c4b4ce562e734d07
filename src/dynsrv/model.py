"""What is wanted, and what is there? Endpoints and servers, as frozen values that do nothing."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum

MAX_WEIGHT = 256
"""HAProxy's own bound: `weight of server x is not within 0 and 256` (2.6-3.4)."""


def canonical_address(text: str) -> str:
    """Return the one spelling of an IPv4 or IPv6 address under which dynsrv compares it.

    Raises:
        ValueError: *text* is not an address, or one that no server can listen on
            (unspecified, multicast, with a zone). A host name is not an address.
    """
    address = ipaddress.ip_address(text)
    if address.is_unspecified or address.is_multicast or getattr(address, "scope_id", None):
        raise ValueError(f"{text!r} is not the address of one host")
    return address.compressed


Location = tuple[str | None, int]
"""Address and port: what makes an endpoint and a server the same thing. HAProxy prints no address of some servers."""


def host_port(address: str, port: int) -> str:
    """Join an address and a port as people and HAProxy write them: `10.0.0.1:80`, `[::1]:80`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class EndpointState(StrEnum):
    """What a source wants of one endpoint: requests, or only the end of those it already has."""

    READY = "ready"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address and port that a source wants in a backend.

    *address* is canonical (see `canonical_address`), *port* 1-65535. *weight* (0-256), *maxconn* and *options*
    (keywords of `add server`, one with its arguments an item) are None or empty where the backend's own are meant; an
    option replaces the backend's of the same keyword. *name* is the source's name for it, made of `[A-Za-z0-9_:.-]`.
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
    """All endpoints that one source wants in one backend at one time: always the whole, never a change.

    No two endpoints share address and port. An empty snapshot is a fact; not knowing is no snapshot.
    *notes* are sentences for an operator, on what the source had but could not use as it was.
    """

    endpoints: tuple[Endpoint, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)


class AdminState(StrEnum):
    """What somebody asked of a server, in HAProxy's words."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class OperationalState(StrEnum):
    """What HAProxy makes of a server (`srv_op_state` 0-3)."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"


class Check(StrEnum):
    """Where a server's health check is; PASSED and FAILED are results, the others are why there is none."""

    NONE = "none"  # no `check` keyword
    DISABLED = "disabled"  # configured, but `enable health` was not sent: HAProxy never does it by itself
    PENDING = "pending"  # enabled, no result yet
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a live backend, as HAProxy describes it.

    *address* is None where HAProxy prints none (a unix socket, or a host name never resolved).
    *since_change* is in whole seconds since HAProxy last changed its state, of a server that serves when that was first
    seen. *sessions* counts the running and queued ones, and is known only of servers in drain, *maxconn* only where it
    was asked for. *check_paused*: a check that HAProxy does not run because the server was put into maintenance; its
    result is that of an earlier time. *drained_for* is the least number of seconds that it has been in drain, known
    only where HAProxy tells (2.6).
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
    sessions: int | None = None
    maxconn: int | None = None
    drained_for: float | None = None
    serving: bool = field(init=False, compare=False)
    """Whether HAProxy gives it new requests."""

    def __post_init__(self) -> None:
        up = self.operational is OperationalState.UP or self.operational is OperationalState.STARTING
        object.__setattr__(self, "serving", up and self.admin is AdminState.READY and self.weight > 0)


@dataclass(frozen=True, slots=True)
class Process:
    """One HAProxy process: a reload or a restart makes another one.

    *started* is HAProxy's `Start_time_sec` (Unix time): a container's process often has the same *pid* again.
    """

    pid: int
    started: int
    version: str


@dataclass(frozen=True, slots=True)
class Backend:
    """A live backend: its servers in HAProxy's own order, and the process that said so."""

    name: str
    servers: tuple[Server, ...]
    process: Process
