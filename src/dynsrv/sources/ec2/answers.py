"""What did AWS answer? What its client parsed, as checked, frozen values, and nothing of what they mean for HAProxy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dynsrv.errors import SourceError


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


M = TypeVar("M", bound=_Answer)


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
        return value  # which is then refused


class Instance(_Answer):
    """One instance of EC2's. An address that it has not is empty; of IPv6, it is the first of its interfaces'.

    *state* is in EC2's words: pending, running, shutting-down, terminated, stopping or stopped.
    """

    # Flat, and with a mapping of texts alone: thousands of these are kept, and garbage collection looks into each part.
    id: str = Field(alias="InstanceId")
    state: Annotated[str, BeforeValidator(_name)] = Field(alias="State")
    private_address: str = Field("", alias="PrivateIpAddress")
    public_address: str = Field("", alias="PublicIpAddress")
    ipv6_address: Annotated[str, BeforeValidator(_first_ipv6)] = Field("", alias="NetworkInterfaces")
    tags: Annotated[Mapping[str, str], BeforeValidator(_tags)] = Field({}, alias="Tags")


class _Reservation(_Answer):
    instances: tuple[Instance, ...] = Field((), alias="Instances")


class _InstancesPage(_Answer):
    # Required: whatever else answers with 200, such as a login page, is parsed to an answer without it.
    reservations: tuple[_Reservation, ...] = Field(alias="Reservations")


class _GroupMember(_Answer):
    id: str = Field(alias="InstanceId")
    state: str = Field(alias="LifecycleState")


class Group(_Answer):
    """An Auto Scaling group with its members."""

    name: str = Field(alias="AutoScalingGroupName")
    members: tuple[_GroupMember, ...] = Field((), alias="Instances")


class _GroupsPage(_Answer):
    groups: tuple[Group, ...] = Field(alias="AutoScalingGroups")


class Hook(_Answer):
    """A lifecycle hook of a group. *heartbeat* is in seconds: Auto Scaling waits for so long, and then goes on."""

    name: str = Field(alias="LifecycleHookName")
    group: str = Field(alias="AutoScalingGroupName")
    transition: str = Field(alias="LifecycleTransition")
    heartbeat: int = Field(3600, alias="HeartbeatTimeout")


class _Hooks(_Answer):
    hooks: tuple[Hook, ...] = Field(alias="LifecycleHooks")


@dataclass(frozen=True, slots=True)
class Member:
    """The place of an instance in Auto Scaling: its group, and its state there (InService, Terminating:Wait, …)."""

    group: str
    state: str


@dataclass(frozen=True, slots=True, eq=False)
class Inventory:
    """All that AWS answered to one look, which began at *asked_at*, in seconds of the event loop's clock.

    *members* has the place in Auto Scaling by an instance's id; it is None where no group was asked for.
    """

    asked_at: float
    instances: tuple[Instance, ...]
    members: Mapping[str, Member] | None = None


def instances(page: Mapping[str, Any]) -> tuple[Instance, ...]:
    """Return the instances of one page of DescribeInstances.

    Raises:
        SourceError: it is not what EC2 writes; the reason is invalid. So do all of these.
    """
    return tuple(one for reservation in _read(_InstancesPage, page).reservations for one in reservation.instances)


def groups(page: Mapping[str, Any]) -> tuple[Group, ...]:
    """Return the groups of one page of DescribeAutoScalingGroups."""
    return _read(_GroupsPage, page).groups


def hooks(answer: Mapping[str, Any]) -> tuple[Hook, ...]:
    """Return the hooks of an answer to DescribeLifecycleHooks."""
    return _read(_Hooks, answer).hooks


def _read(model: type[M], answer: Mapping[str, Any]) -> M:
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        problem = f"the answer is not one of AWS' ({where}: {first['msg']}); is there a proxy or a login page between?"
        raise SourceError("invalid", problem) from None
