"""An AWS in memory: instances, Auto Scaling groups and lifecycle actions. It refuses what the real one refuses.

It stands behind the real `Aws`, by the clients of `ec2_clients`.
"""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

GROUP = "web"
HEARTBEAT = 300
"""Seconds that the hooks of most tests wait."""

_FILTERS = ("tag:*", "instance-state-name", "instance-id", "vpc-id", "availability-zone")
_GROUP_TAG = "aws:autoscaling:groupName"
_TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


def an_instance(
    number: int = 1,
    *,
    id: str | None = None,
    state: str = "running",
    address: str | None = None,
    public: str = "",
    ipv6: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """One instance as botocore parses it: `i-NUMBER` at 10.0.0.NUMBER. An address that it has not is left out."""
    address = f"10.0.0.{number}" if address is None else address
    keys: dict[str, Any] = {
        "InstanceId": f"i-{number}" if id is None else id,
        "InstanceType": "t3.micro",
        "State": {"Code": 16, "Name": state},
        "NetworkInterfaces": [{"Ipv6Addresses": [{"Ipv6Address": one, "IsPrimaryIpv6": False}]} for one in ipv6],
        "Tags": [{"Key": key, "Value": value} for key, value in (tags or {}).items()],
    }
    if address:
        keys["PrivateIpAddress"] = address
    if public:
        keys["PublicIpAddress"] = public
    return keys


def refusal(code: str, message: str = "No.", *, operation: str = "", status: int = 400) -> ClientError:
    """What botocore raises when AWS says no."""
    error = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(error, operation)  # type: ignore[no-untyped-call,unused-ignore]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, for one page: when it came, by the loop's clock, and what it said."""

    at: float
    operation: str
    keys: Mapping[str, Any]


@dataclass(slots=True)
class Action:
    """What Auto Scaling waits for: each hook with when its time is over."""

    group: str
    until: dict[str, float] = field(default_factory=dict)


class FakeAws:
    """One account in one region: instances, Auto Scaling groups with their members, and hooks."""

    def __init__(self, *instances: dict[str, Any]) -> None:
        self.instances = {one["InstanceId"]: one for one in instances}
        self.groups: dict[str, dict[str, str]] = {}
        """The members of each group, by id, with their lifecycle state."""
        self.hooks: list[dict[str, Any]] = []
        self.actions: dict[str, Action] = {}
        """What Auto Scaling waits for before it ends an instance, by its id."""
        self.page: int | None = None
        """How many things a page has; None: as many as were asked for."""
        self.latency = 0.0
        """Seconds until each page is answered."""
        self.latencies: dict[str, float] = {}
        """The same for one operation."""
        self.troubles: dict[str, Exception] = {}
        """What an operation fails with; of one that has pages, with the last page."""
        self.asked: list[Asked] = []
        self.completed: list[str] = []
        """The instances that Auto Scaling was let go on with."""
        self.expired: list[str] = []
        """Those of which it went on by itself, since their time was over."""
        self.before_completion: Callable[[str], object] = lambda _: None
        self.open = 0
        """How many have clients now."""
        self.opened = 0

    # ---- what happens

    def group(self, *numbers: int, name: str = GROUP, tags: Mapping[str, str] | None = None) -> None:
        """Let there be a group with instances in service."""
        self.groups.setdefault(name, {})
        for number in numbers:
            self.put(an_instance(number, tags=tags), name=name)

    def put(self, instance: dict[str, Any], state: str = "InService", *, name: str = GROUP) -> None:
        """Let an instance be a member of a group."""
        known = instance["InstanceId"]
        tags = [tag for tag in instance["Tags"] if tag["Key"] != _GROUP_TAG]
        self.instances[known] = {**instance, "Tags": [*tags, {"Key": _GROUP_TAG, "Value": name}]}
        self.groups.setdefault(name, {})[known] = state

    def hook(
        self,
        name: str = "drain",
        *,
        group: str = GROUP,
        heartbeat: int = HEARTBEAT,
        transition: str = _TERMINATING,
    ) -> None:
        """Let a group have a lifecycle hook."""
        keys = {"LifecycleHookName": name, "AutoScalingGroupName": group, "LifecycleTransition": transition}
        self.hooks.append({**keys, "HeartbeatTimeout": heartbeat, "DefaultResult": "CONTINUE"})

    def terminate(self, number: int, *, name: str = GROUP) -> None:
        """Let Auto Scaling end an instance: it waits if there is a hook."""
        known = f"i-{number}"
        hooks = [one for one in self.hooks if one["AutoScalingGroupName"] == name]
        until = {
            one["LifecycleHookName"]: self._now() + one["HeartbeatTimeout"]
            for one in hooks
            if one["LifecycleTransition"] == _TERMINATING
        }
        self.groups[name][known] = "Terminating:Wait"
        self.actions[known] = Action(name, until)
        self._go_on()

    def end(self, number: int) -> None:
        """Let an instance be gone for good."""
        known = f"i-{number}"
        self.instances[known] = {**self.instances[known], "State": {"Code": 48, "Name": "terminated"}}
        self.actions.pop(known, None)
        for members in self.groups.values():
            members.pop(known, None)

    def requests(self, *operations: str, since: float = 0.0) -> list[Asked]:
        """Return what was asked, of all operations or of some."""
        return [one for one in self.asked if one.at >= since and (not operations or one.operation in operations)]

    def times(self, operation: str) -> list[float]:
        """Return when an operation was asked for."""
        return [one.at for one in self.requests(operation)]

    # ---- what is asked

    async def ask(self, operation: str, **keys: Any) -> None:
        """Take note of a request, and answer after a while.

        Raises:
            Exception: the trouble of this operation.
        """
        self.asked.append(Asked(self._now(), operation, keys))
        await asyncio.sleep(self.latencies.get(operation, self.latency))
        self._go_on()
        if keys.get("page") == keys.get("pages") and (trouble := self.troubles.get(operation)):
            raise trouble

    def matching(self, filters: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the instances that match all filters, as EC2 understands them."""
        found = list(self.instances.values())
        for one in filters:
            if not any(fnmatch.fnmatchcase(one["Name"], known) for known in _FILTERS):
                raise refusal("InvalidParameterValue", f"The filter '{one['Name']}' is invalid")
            found = [instance for instance in found if _matches(instance, one["Name"], one["Values"])]
        return found

    def heartbeat(self, group: str, hook: str, instance: str) -> None:
        """Wait as long again for an instance."""
        action = self._action(group, hook, instance)
        keys = (group, hook)
        waits = (one for one in self.hooks if (one["AutoScalingGroupName"], one["LifecycleHookName"]) == keys)
        action.until[hook] = self._now() + next(waits)["HeartbeatTimeout"]

    def complete(self, group: str, hook: str, instance: str) -> None:
        """Let Auto Scaling go on with an instance, as far as one hook is concerned."""
        action = self._action(group, hook, instance)
        self.before_completion(instance)
        self.completed.append(instance)
        del action.until[hook]
        self._go_on()

    def _action(self, group: str, hook: str, instance: str) -> Action:
        action = self.actions.get(instance)
        if action is None or action.group != group or hook not in action.until:
            raise refusal("ValidationError", f"No active Lifecycle Action found with instance ID {instance}")
        return action

    def _go_on(self) -> None:
        """End the instances for which nobody has to be waited any more."""
        for known, action in list(self.actions.items()):
            if not any(until > self._now() for until in action.until.values()):
                if action.until:
                    self.expired.append(known)
                del self.actions[known]
                self.groups[action.group][known] = "Terminating:Proceed"
                self.instances[known] = {**self.instances[known], "State": {"Code": 32, "Name": "shutting-down"}}

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _matches(instance: Mapping[str, Any], name: str, values: Iterable[str]) -> bool:
    tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    value = {"instance-state-name": instance["State"]["Name"], "instance-id": instance["InstanceId"]}.get(name)
    if name.startswith("tag:"):
        value = tags.get(name.removeprefix("tag:"))
    return value is not None and any(fnmatch.fnmatchcase(value, one) for one in values)
