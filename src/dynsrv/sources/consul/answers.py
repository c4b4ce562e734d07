"""What did Consul answer? Its JSON as checked, frozen values, and nothing of what they mean for HAProxy."""

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
    MAINTENANCE = "maintenance"  # of an instance only: Consul tells it by a critical check of a certain name


_MAINTENANCE_CHECKS = ("_node_maintenance", "_service_maintenance:")


class _Answer(BaseModel):
    """Consul adds keys from version to version; what is not read here is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


def _given(value: object) -> object:
    return {} if value is None else value  # Go writes an empty map as null


class ServiceAddress(_Answer):
    """An address of a service for those who come from elsewhere."""

    address: str = Field(alias="Address")
    port: int = Field(alias="Port")


class Weights(_Answer):
    """How much of the traffic an instance should get, beside the others of its service."""

    passing: int = Field(1, alias="Passing")
    warning: int = Field(1, alias="Warning")


class Node(_Answer):
    """The machine that a service was registered on."""

    name: str = Field(alias="Node")
    address: str = Field(alias="Address")
    tagged_addresses: Annotated[dict[str, str], BeforeValidator(_given)] = Field({}, alias="TaggedAddresses")


class Service(_Answer):
    """A service as it was registered."""

    id: str = Field(alias="ID")
    address: str = Field("", alias="Address")
    port: int = Field(0, alias="Port")
    tagged_addresses: Annotated[dict[str, ServiceAddress], BeforeValidator(_given)] = Field({}, alias="TaggedAddresses")
    meta: Annotated[dict[str, str], BeforeValidator(_given)] = Field({}, alias="Meta")
    weights: Weights = Field(Weights(), alias="Weights")


class _Check(_Answer):
    id: str = Field(alias="CheckID")
    status: str = Field(alias="Status")


class Instance(_Answer):
    """One instance of a service, with its node and the checks of both.

    What a check printed is not read: it changes all the time and means nothing here.
    """

    node: Node = Field(alias="Node")
    service: Service = Field(alias="Service")
    checks: tuple[_Check, ...] = Field(alias="Checks")

    @property
    def status(self) -> Status:
        """The worst of its checks; without any it passes, as Consul has it."""
        if any(check.id.startswith(_MAINTENANCE_CHECKS) for check in self.checks):
            return Status.MAINTENANCE
        failing = {check.status for check in self.checks} - {Status.PASSING.value}
        if not failing:
            return Status.PASSING
        return Status.WARNING if failing == {Status.WARNING.value} else Status.CRITICAL

    def __str__(self) -> str:
        return " on ".join(name if name.isprintable() else show(name) for name in (self.service.id, self.node.name))


class Permission(_Answer):
    """Whether a token may do one thing."""

    resource: str = Field(alias="Resource")
    name: str = Field("", alias="Segment")
    allowed: bool = Field(alias="Allow")


class Agent(_Answer):
    """An agent's description of itself."""

    class _Config(_Answer):
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
    """Return the instances of an answer to `Query.instances`, in Consul's order.

    Raises:
        ValueError: anything in it is not what Consul writes.
    """
    return _read(_INSTANCES, body)


def denied(body: bytes) -> list[str]:
    """Return what the token may not read, of an answer to `Query.permission`: `service web`, `node n1`."""
    return [
        f"{one.resource} {one.name}" if one.name else f"any {one.resource}"
        for one in _read(_PERMISSIONS, body)
        if not one.allowed
    ]


def agent(body: bytes) -> Agent:
    """Return what an answer to `AGENT` tells."""
    return _read(_AGENT, body)


def leader(body: bytes) -> str:
    """Return the leader's address, of an answer to `LEADER`; empty: there is none."""
    return _read(_TEXT, body)


def services(body: bytes) -> list[str]:
    """Return the names that an answer to `Query.services` has."""
    known: dict[str, list[str] | None] = _read(_SERVICES, body)
    return list(known)


def nodes(of: Iterable[Instance]) -> set[str]:
    """Return the names of the nodes of instances."""
    return {instance.node.name for instance in of}


def _read(adapter: TypeAdapter[T], body: bytes) -> T:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        problem = f"{where}: {first['msg']}" if where else first["msg"]
        raise ValueError(f"not an answer of Consul's ({problem})") from None
