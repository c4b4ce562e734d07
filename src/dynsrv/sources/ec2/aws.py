"""What is AWS asked? Calls of EC2 and Auto Scaling, whose results are complete, or else they fail.

A page that fails makes the call fail: a complete old result beats a part of a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self, TypeVar

from dynsrv.documents.messages import listed
from dynsrv.errors import SourceError
from dynsrv.sources.ec2 import responses
from dynsrv.sources.ec2.account import Account, Clients
from dynsrv.sources.ec2.failures import NO_ACTION, translating_errors
from dynsrv.sources.ec2.responses import Hook, Instance, Member
from dynsrv.sources.ec2.thread import LoopThread

T = TypeVar("T")

PAGE = 100
"""Instances per page. A larger page would block the thread for longer."""

TIMEOUT = 60.0
"""Seconds for all pages together."""

ACTION_TIMEOUT = 15.0
"""Seconds for a heartbeat or a completion: the shortest timeout of a lifecycle hook is 30."""

Filters = tuple[tuple[str, tuple[str, ...]], ...]
"""EC2's filters: pairs of a name and the values, one of which has to match."""

_TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


class Aws:
    """One account in one region. Its connections are open while at least one user is inside the context.

    Each method raises a `SourceError` of `translating_errors` if the call fails.
    """

    def __init__(
        self,
        account: Account,
        *,
        clients: Callable[[Account], Clients] = Clients,
        thread: Callable[[str], LoopThread] = LoopThread,
    ) -> None:
        self.account = account
        self._create_clients = clients
        self._thread = thread(f"aws {account.region or ''}".strip())
        self._users = 0
        self._clients: Clients | None = None

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._users -= 1
        if not self._users and self._clients is not None:
            clients, self._clients = self._clients, None
            await self._thread.run_to_completion(clients.close())

    async def credentials(self) -> str:
        """Return where the credentials come from, by botocore's name: env, iam-role, assume-role, …

        Raises:
            SourceError: also if there are none; the reason is credentials.
        """
        return await self._call("credentials", lambda clients: clients.credentials_method())

    async def instances(self, filters: Filters) -> tuple[Instance, ...]:
        """Return the instances that match, in whatever state."""

        async def request(clients: Clients) -> tuple[Instance, ...]:
            conditions = [{"Name": name, "Values": list(values)} for name, values in filters]
            pages = (await clients.get("ec2")).get_paginator("describe_instances")
            results = pages.paginate(Filters=conditions, PaginationConfig={"PageSize": PAGE})
            found = [instance async for page in results for instance in responses.instances(page)]
            return tuple({instance.id: instance for instance in found}.values())  # one may have moved to a later page

        return await self._call("DescribeInstances", request)

    async def members(self, groups: Sequence[str]) -> dict[str, Member]:
        """Return the members of *groups*, by the ids of the instances.

        Raises:
            SourceError: also if one of the groups does not exist; the reason is request.
        """

        async def request(clients: Clients) -> dict[str, Member]:
            pages = (await clients.get("autoscaling")).get_paginator("describe_auto_scaling_groups")
            results = pages.paginate(AutoScalingGroupNames=list(groups), PaginationConfig={"PageSize": PAGE})
            found = [group async for page in results for group in responses.groups(page)]
            if missing := set(groups) - {group.name for group in found}:
                raise SourceError("request", f"there is no Auto Scaling group {listed(sorted(missing))}")
            return {one.id: Member(group.name, one.state) for group in found for one in group.members}

        return await self._call("DescribeAutoScalingGroups", request)

    async def hook(self, group: str, name: str | None) -> Hook:
        """Return the termination hook of *group* with this *name*; None: its only one.

        Raises:
            SourceError: also if there is none, or several without a *name*; the reason is request.
        """

        async def request(clients: Clients) -> Hook:
            scaling = await clients.get("autoscaling")
            hooks = responses.hooks(await scaling.describe_lifecycle_hooks(AutoScalingGroupName=group))
            terminating = [hook for hook in hooks if hook.transition == _TERMINATING]
            chosen = [hook for hook in terminating if name in {None, hook.name}]
            if len(chosen) == 1:
                return chosen[0]
            names = listed(hook.name for hook in terminating)
            if not terminating:
                problem = "has no termination lifecycle hook; add one, or remove complete_lifecycle"
            elif chosen:
                problem = f"has several termination lifecycle hooks: {names}; name dynsrv's in the key lifecycle_hook"
            else:
                problem = f"has no termination lifecycle hook {name}, only {names}; correct the key lifecycle_hook"
            raise SourceError("request", f"the Auto Scaling group {group} {problem}")

        return await self._call("DescribeLifecycleHooks", request, timeout=ACTION_TIMEOUT)

    async def heartbeat(self, hook: Hook, instance: str) -> bool:
        """Restart the timeout of a lifecycle action; return whether the action was still pending."""
        return await self._act("RecordLifecycleActionHeartbeat", hook, instance)

    async def complete(self, hook: Hook, instance: str) -> bool:
        """Complete a lifecycle action; return whether it was still pending."""
        return await self._act("CompleteLifecycleAction", hook, instance, LifecycleActionResult="CONTINUE")

    async def _act(self, operation: str, hook: Hook, instance: str, **more: str) -> bool:
        async def request(clients: Clients) -> bool:
            from botocore import xform_name  # noqa: PLC0415 - of an extra

            method = getattr(await clients.get("autoscaling"), xform_name(operation))
            await method(AutoScalingGroupName=hook.group, LifecycleHookName=hook.name, InstanceId=instance, **more)
            return True

        try:
            return await self._call(operation, request, timeout=ACTION_TIMEOUT)
        except SourceError as error:
            if error.reason == "request" and NO_ACTION in str(error):
                return False
            raise

    async def _call(
        self, operation: str, request: Callable[[Clients], Coroutine[Any, Any, T]], *, timeout: float = TIMEOUT
    ) -> T:
        if self._clients is None:
            self._clients = self._create_clients(self.account)
        clients = self._clients

        async def translated() -> T:
            with translating_errors(f"{operation} in {self.account.region or 'the default region'}"):
                async with asyncio.timeout(timeout):
                    return await request(clients)

        return await self._thread.run(translated())
