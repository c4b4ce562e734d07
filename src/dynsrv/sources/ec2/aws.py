"""What is asked of AWS? Calls of EC2 and Auto Scaling, each answered as a whole or not at all.

Half of an answer is never told: a page that fails makes the call fail, since what is known already beats a part of
what is new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self, TypeVar

from dynsrv.errors import SourceError
from dynsrv.sources.ec2 import answers
from dynsrv.sources.ec2.account import Account, Clients
from dynsrv.sources.ec2.answers import Hook, Instance, Member
from dynsrv.sources.ec2.failures import NO_ACTION, failures_told
from dynsrv.sources.ec2.thread import LoopThread

T = TypeVar("T")

PAGE = 100
"""Instances that are asked for at once. Of larger pages, each would stop the event loop for longer."""

TIMEOUT = 60.0
"""Seconds for all pages together."""

ACTION_TIMEOUT = 15.0
"""Seconds for a heartbeat or a completion: the shortest time-out of a lifecycle hook is 30."""

Filters = tuple[tuple[str, tuple[str, ...]], ...]
"""EC2's own: pairs of a name and the values of which one has to match."""

_TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


class Aws:
    """One account in one region. It is open while somebody uses it as a context.

    Each method raises `SourceError` when AWS cannot tell, with a reason of `failures_told`.
    """

    def __init__(self, account: Account, *, clients: Callable[[Account], Clients] = Clients) -> None:
        self.account = account
        self._make_clients = clients
        self._thread = LoopThread(f"aws {account.region or ''}".strip())
        self._users = 0
        self._clients: Clients | None = None

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._users -= 1
        if not self._users and self._clients is not None:
            clients, self._clients = self._clients, None
            await self._thread.finish(clients.close())

    async def credentials(self) -> str:
        """Return where the credentials come from, in botocore's words: env, iam-role, assume-role, …

        Raises:
            SourceError: also if there are none; the reason is credentials.
        """
        return await self._do("credentials", lambda clients: clients.method())

    async def instances(self, filters: Filters) -> tuple[Instance, ...]:
        """Return the instances that match, in any state."""

        async def ask(clients: Clients) -> tuple[Instance, ...]:
            wanted = [{"Name": name, "Values": list(values)} for name, values in filters]
            pages = (await clients.get("ec2")).get_paginator("describe_instances")
            asked = pages.paginate(Filters=wanted, PaginationConfig={"PageSize": PAGE})
            found = [instance async for page in asked for instance in answers.instances(page)]
            return tuple({instance.id: instance for instance in found}.values())  # one that moved on to a later page

        return await self._do("DescribeInstances", ask)

    async def members(self, groups: Sequence[str]) -> dict[str, Member]:
        """Return what Auto Scaling knows of the instances of *groups*, by their ids.

        Raises:
            SourceError: also if one of the groups does not exist; the reason is request.
        """

        async def ask(clients: Clients) -> dict[str, Member]:
            pages = (await clients.get("autoscaling")).get_paginator("describe_auto_scaling_groups")
            asked = pages.paginate(AutoScalingGroupNames=list(groups), PaginationConfig={"PageSize": PAGE})
            found = [group async for page in asked for group in answers.groups(page)]
            if missing := set(groups) - {group.name for group in found}:
                raise SourceError("request", f"there is no Auto Scaling group {', '.join(sorted(missing))}")
            return {one.id: Member(group.name, one.state) for group in found for one in group.members}

        return await self._do("DescribeAutoScalingGroups", ask)

    async def hook(self, group: str, name: str | None) -> Hook:
        """Return the hook of *group* that holds instances before they end: the one of *name*, or the only one.

        Raises:
            SourceError: also if there is none, or if several could be meant; the reason is request.
        """

        async def ask(clients: Clients) -> Hook:
            scaling = await clients.get("autoscaling")
            hooks = answers.hooks(await scaling.describe_lifecycle_hooks(AutoScalingGroupName=group))
            terminating = [hook for hook in hooks if hook.transition == _TERMINATING]
            chosen = [hook for hook in terminating if name in {None, hook.name}]
            if len(chosen) == 1:
                return chosen[0]
            names = ", ".join(hook.name for hook in terminating)
            if not terminating:
                problem = "has no lifecycle hook at termination; put one, or leave complete_lifecycle out"
            elif chosen:
                problem = (
                    f"has several lifecycle hooks at termination: {names}; name dynsrv's in the key lifecycle_hook"
                )
            else:
                problem = f"has no lifecycle hook {name} at termination, only {names}; correct the key lifecycle_hook"
            raise SourceError("request", f"the Auto Scaling group {group} {problem}")

        return await self._do("DescribeLifecycleHooks", ask, timeout=ACTION_TIMEOUT)

    async def heartbeat(self, hook: Hook, instance: str) -> bool:
        """Ask Auto Scaling to wait as long again; return whether it still waited."""
        return await self._act("RecordLifecycleActionHeartbeat", hook, instance)

    async def complete(self, hook: Hook, instance: str) -> bool:
        """Let Auto Scaling go on; return whether it still waited."""
        return await self._act("CompleteLifecycleAction", hook, instance, LifecycleActionResult="CONTINUE")

    async def _act(self, operation: str, hook: Hook, instance: str, **more: str) -> bool:
        async def ask(clients: Clients) -> bool:
            from botocore import xform_name  # noqa: PLC0415 - of an extra

            method = getattr(await clients.get("autoscaling"), xform_name(operation))
            await method(AutoScalingGroupName=hook.group, LifecycleHookName=hook.name, InstanceId=instance, **more)
            return True

        try:
            return await self._do(operation, ask, timeout=ACTION_TIMEOUT)
        except SourceError as error:
            if error.reason == "request" and NO_ACTION in str(error):
                return False
            raise

    async def _do(
        self, operation: str, ask: Callable[[Clients], Coroutine[Any, Any, T]], *, timeout: float = TIMEOUT
    ) -> T:
        if self._clients is None:
            self._clients = self._make_clients(self.account)
        clients = self._clients

        async def told() -> T:
            with failures_told(f"{operation} in {self.account.region or 'the default region'}"):
                async with asyncio.timeout(timeout):
                    return await ask(clients)

        return await self._thread.run(told())
