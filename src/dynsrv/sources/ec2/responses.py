"""What does AWS return? As validated, frozen values; what they mean for HAProxy is decided elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dynsrv.errors import SourceError


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


M = TypeVar("M", bound=_Response)


def _tags(value: object) -> object:
    if not isinstance(value, list) or not all(isinstance(tag, dict) for tag in value):
        return value
    return {tag.get("Key"): tag.get("Value", "") for tag in value}


def _name(state: object) -> object:
    return state.get("Name") if isinstance(state, dict) else state


def _first_ipv6(value: Any) -> Any:
    try:
        return next((one["Ipv6Address"] for interface in value for one in interface.get("Ipv6Addresses", ())), "")
    except (AttributeError, KeyError, TypeError):
        return value  # which validation rejects


class Instance(_Response):
    """One EC2 instance. A missing address is empty; the IPv6 address is the first of its network interfaces.

    *state* is one of pending, running, shutting-down, terminated, stopping and stopped.
    """

    # Flat, and with a mapping of texts only: thousands of these are kept, and garbage collection scans each part.
    id: str = Field(alias="InstanceId")
    state: Annotated[str, BeforeValidator(_name)] = Field(alias="State")
    private_address: str = Field("", alias="PrivateIpAddress")
    public_address: str = Field("", alias="PublicIpAddress")
    ipv6_address: Annotated[str, BeforeValidator(_first_ipv6)] = Field("", alias="NetworkInterfaces")
    tags: Annotated[Mapping[str, str], BeforeValidator(_tags)] = Field({}, alias="Tags")


class _Reservation(_Response):
    instances: tuple[Instance, ...] = Field((), alias="Instances")


class _InstancesPage(_Response):
    # Required: the client parses any response of status 200, such as a login page, but then this is missing.
    reservations: tuple[_Reservation, ...] = Field(alias="Reservations")


class _GroupMember(_Response):
    id: str = Field(alias="InstanceId")
    state: str = Field(alias="LifecycleState")


class Group(_Response):
    """An Auto Scaling group with its members."""

    name: str = Field(alias="AutoScalingGroupName")
    members: tuple[_GroupMember, ...] = Field((), alias="Instances")


class _GroupsPage(_Response):
    groups: tuple[Group, ...] = Field(alias="AutoScalingGroups")


class Hook(_Response):
    """A lifecycle hook of a group. Auto Scaling waits for *heartbeat* seconds, and then goes on."""

    name: str = Field(alias="LifecycleHookName")
    group: str = Field(alias="AutoScalingGroupName")
    transition: str = Field(alias="LifecycleTransition")
    heartbeat: int = Field(3600, alias="HeartbeatTimeout")


class _Hooks(_Response):
    hooks: tuple[Hook, ...] = Field(alias="LifecycleHooks")


@dataclass(frozen=True, slots=True)
class Member:
    """An instance as a member of an Auto Scaling group: its *state* there is InService, Terminating:Wait, …"""

    group: str
    state: str


@dataclass(frozen=True, slots=True, eq=False)
class Inventory:
    """What one poll returned. It began at *requested_at*, in seconds of the event loop's clock.

    *members* has the membership of instances by their ids; None: no group was requested.
    """

    requested_at: float
    instances: tuple[Instance, ...]
    members: Mapping[str, Member] | None = None


def instances(page: Mapping[str, Any]) -> tuple[Instance, ...]:
    """Return the instances of one page of DescribeInstances.

    Raises:
        SourceError: it is not such a page; the reason is invalid. So do all of these.
    """
    return tuple(one for reservation in _parse(_InstancesPage, page).reservations for one in reservation.instances)


def groups(page: Mapping[str, Any]) -> tuple[Group, ...]:
    """Return the groups of one page of DescribeAutoScalingGroups."""
    return _parse(_GroupsPage, page).groups


def hooks(response: Mapping[str, Any]) -> tuple[Hook, ...]:
    """Return the hooks from a response to DescribeLifecycleHooks."""
    return _parse(_Hooks, response).hooks


def _parse(model: type[M], response: Mapping[str, Any]) -> M:
    try:
        return model.model_validate(response)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        remedy = "is there a proxy or a login page in between?"
        raise SourceError("invalid", f"the response is not from AWS ({where}: {first['msg']}); {remedy}") from None
