"""What does Consul return? Its JSON as validated, frozen values; what they mean for HAProxy is decided elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from dynsrv.documents.messages import show

T = TypeVar("T")


class Status(StrEnum):
    """The state of a check, or of an instance by its checks."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"
    MAINTENANCE = "maintenance"  # of an instance only, which then has a critical check with a reserved name


_MAINTENANCE_CHECKS = ("_node_maintenance", "_service_maintenance:")


class _Response(BaseModel):
    """Consul adds keys from version to version; only those below are read."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


def _null_is_empty(value: object) -> object:
    return {} if value is None else value  # as Go writes an empty map


class ServiceAddress(_Response):
    """An address of a service for clients in another network."""

    address: str = Field(alias="Address")
    port: int = Field(alias="Port")


class Weights(_Response):
    """The share of traffic that an instance should receive, relative to the others of its service."""

    passing: int = Field(1, alias="Passing")
    warning: int = Field(1, alias="Warning")


class Node(_Response):
    """The machine on which a service is registered."""

    name: str = Field(alias="Node")
    address: str = Field(alias="Address")
    tagged_addresses: Annotated[dict[str, str], BeforeValidator(_null_is_empty)] = Field({}, alias="TaggedAddresses")


class Service(_Response):
    """A service as registered."""

    id: str = Field(alias="ID")
    address: str = Field("", alias="Address")
    port: int = Field(0, alias="Port")
    tagged_addresses: Annotated[dict[str, ServiceAddress], BeforeValidator(_null_is_empty)] = Field(
        {}, alias="TaggedAddresses"
    )
    meta: Annotated[dict[str, str], BeforeValidator(_null_is_empty)] = Field({}, alias="Meta")
    weights: Weights = Field(Weights(), alias="Weights")


class _Check(_Response):
    id: str = Field(alias="CheckID")
    status: str = Field(alias="Status")


class Instance(_Response):
    """One instance of a service, with its node and the checks of both.

    The output of checks is not read: it changes all the time, and nothing depends on it.
    """

    node: Node = Field(alias="Node")
    service: Service = Field(alias="Service")
    checks: tuple[_Check, ...] = Field(alias="Checks")

    @property
    def status(self) -> Status:
        """The worst of its checks; without any it is passing, as in Consul."""
        if any(check.id.startswith(_MAINTENANCE_CHECKS) for check in self.checks):
            return Status.MAINTENANCE
        failing = {check.status for check in self.checks} - {Status.PASSING.value}
        if not failing:
            return Status.PASSING
        return Status.WARNING if failing == {Status.WARNING.value} else Status.CRITICAL

    def __str__(self) -> str:
        return " on ".join(name if name.isprintable() else show(name) for name in (self.service.id, self.node.name))


class Permission(_Response):
    """Whether a token may do one thing."""

    resource: str = Field(alias="Resource")
    name: str = Field("", alias="Segment")
    allowed: bool = Field(alias="Allow")


class Agent(_Response):
    """An agent's description of itself."""

    class _Config(_Response):
        version: str = Field(alias="Version")
        node: str = Field(alias="NodeName")
        datacenter: str = Field(alias="Datacenter")

    config: _Config = Field(alias="Config")


_INSTANCES = TypeAdapter(tuple[Instance, ...])
_PERMISSIONS = TypeAdapter(tuple[Permission, ...])
_AGENT = TypeAdapter(Agent)
_TEXT = TypeAdapter(str)
_SERVICES = TypeAdapter(dict[str, list[str] | None])


def instances(body: bytes) -> tuple[Instance, ...]:
    """Return the instances from a response to `Query.instances`, in Consul's order.

    Raises:
        ValueError: it is not such a response. So do all of these.
    """
    return _parse(_INSTANCES, body)


def denied(body: bytes) -> list[str]:
    """Return what the token may not read, from a response to `Query.permission`: `service web`, `node n1`."""
    return [
        f"{one.resource} {one.name}" if one.name else f"any {one.resource}"
        for one in _parse(_PERMISSIONS, body)
        if not one.allowed
    ]


def agent(body: bytes) -> Agent:
    """Return the agent from a response to `AGENT`."""
    return _parse(_AGENT, body)


def leader(body: bytes) -> str:
    """Return the leader's address from a response to `LEADER`; empty: there is none."""
    return _parse(_TEXT, body)


def services(body: bytes) -> list[str]:
    """Return the names from a response to `Query.services`."""
    known: dict[str, list[str] | None] = _parse(_SERVICES, body)
    return list(known)


def nodes(instances: Iterable[Instance]) -> set[str]:
    """Return the names of the nodes of instances."""
    return {instance.node.name for instance in instances}


def _parse(adapter: TypeAdapter[T], body: bytes) -> T:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        problem = f"{where}: {first['msg']}" if where else first["msg"]
        raise ValueError(f"something that is not a response of Consul ({problem})") from None
