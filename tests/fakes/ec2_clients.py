"""The clients of an AWS in memory, instead of aiobotocore's: they take what those take, and answer what those parse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from dynsrv.sources.ec2.account import Account, Clients
from dynsrv.sources.ec2.aws import Aws
from dynsrv.sources.ec2.thread import LoopThread
from tests.fakes.ec2 import FakeAws, refusal

T = TypeVar("T")

REGION = "eu-central-1"


class SameLoop(LoopThread):
    """No thread: coroutines run in the loop of the test, by its clock."""

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Start *coroutine*."""
        return asyncio.create_task(coroutine)


def an_aws(fake: FakeAws, *, region: str | None = REGION) -> Aws:
    """The real one, with *fake* behind it."""
    return Aws(Account(region), clients=partial(FakeClients, fake), thread=SameLoop)


class FakeClients(Clients):
    """The clients of one account."""

    def __init__(self, aws: FakeAws, account: Account) -> None:
        super().__init__(account)
        self._aws = aws
        self._closed = False
        aws.open += 1
        aws.opened += 1

    async def get(self, service: str) -> Any:
        """Return the client of a service."""
        assert not self._closed, "asked after it was closed"
        return {"ec2": _Ec2, "autoscaling": _AutoScaling}[service](self._aws)

    async def credentials_method(self) -> str:
        """Return where the credentials come from."""
        assert not self._closed, "asked after it was closed"
        await self._aws.ask("credentials")
        return "env"

    async def close(self) -> None:
        """Take note of it."""
        assert not self._closed, "closed twice"
        self._closed = True
        await self._aws.ask("close")
        self._aws.open -= 1


class _Client:
    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def get_paginator(self, operation: str) -> _Paginator:
        return _Paginator(getattr(self, operation))

    async def _pages(self, operation: str, things: Sequence[T], size: int, **keys: Any) -> AsyncIterator[Sequence[T]]:
        pages = list(_cut(things, min(size, self._aws.page or size)))
        for number, page in enumerate(pages, start=1):
            await self._aws.ask(operation, page=number, pages=len(pages), **keys)
            yield page


def _cut(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for begin in range(0, max(1, len(things)), size):
        yield things[begin : begin + size]


class _Paginator:
    def __init__(self, pages: Any) -> None:
        self._pages = pages

    def paginate(self, *, PaginationConfig: Mapping[str, int], **keys: Any) -> Any:  # noqa: N803 - botocore's word
        return self._pages(size=PaginationConfig["PageSize"], **keys)


class _Ec2(_Client):
    async def describe_instances(
        self,
        *,
        Filters: Sequence[Mapping[str, Any]],  # noqa: N803 - botocore's word, as all of these
        size: int,
    ) -> AsyncIterator[dict[str, Any]]:
        if not 5 <= size <= 1000:
            raise refusal("InvalidParameterValue", f"Value ( {size} ) for parameter maxResults is invalid.")
        found = self._aws.matching(Filters)
        async for page in self._pages("DescribeInstances", found, size, Filters=Filters):
            yield {"Reservations": [{"ReservationId": "r-1", "Instances": [one]} for one in page]}


class _AutoScaling(_Client):
    async def describe_auto_scaling_groups(
        self,
        *,
        AutoScalingGroupNames: Sequence[str],  # noqa: N803
        size: int,
    ) -> AsyncIterator[dict[str, Any]]:
        if not 1 <= size <= 100:
            raise refusal("ValidationError", "1 validation error detected: Value at 'maxRecords' failed")
        groups = [name for name in self._aws.groups if name in AutoScalingGroupNames]
        keys = {"AutoScalingGroupNames": AutoScalingGroupNames}
        async for page in self._pages("DescribeAutoScalingGroups", groups, size, **keys):
            yield {"AutoScalingGroups": [self._group(name) for name in page]}

    def _group(self, name: str) -> dict[str, Any]:
        members = [
            {"InstanceId": one, "LifecycleState": state, "HealthStatus": "Healthy"}
            for one, state in self._aws.groups[name].items()
        ]
        return {"AutoScalingGroupName": name, "MinSize": 0, "Instances": members}

    async def describe_lifecycle_hooks(self, *, AutoScalingGroupName: str) -> dict[str, Any]:  # noqa: N803
        await self._aws.ask("DescribeLifecycleHooks", AutoScalingGroupName=AutoScalingGroupName)
        if AutoScalingGroupName not in self._aws.groups:
            raise refusal("ValidationError", f"AutoScalingGroup name not found - {AutoScalingGroupName}")
        hooks = [one for one in self._aws.hooks if one["AutoScalingGroupName"] == AutoScalingGroupName]
        return {"LifecycleHooks": hooks}

    async def record_lifecycle_action_heartbeat(
        self,
        *,
        AutoScalingGroupName: str,  # noqa: N803
        LifecycleHookName: str,  # noqa: N803
        InstanceId: str,  # noqa: N803
    ) -> dict[str, Any]:
        keys = {"AutoScalingGroupName": AutoScalingGroupName, "LifecycleHookName": LifecycleHookName}
        await self._aws.ask("RecordLifecycleActionHeartbeat", **keys, InstanceId=InstanceId)
        self._aws.heartbeat(AutoScalingGroupName, LifecycleHookName, InstanceId)
        return {}

    async def complete_lifecycle_action(
        self,
        *,
        AutoScalingGroupName: str,  # noqa: N803
        LifecycleHookName: str,  # noqa: N803
        InstanceId: str,  # noqa: N803
        LifecycleActionResult: str,  # noqa: N803
    ) -> dict[str, Any]:
        if LifecycleActionResult not in {"CONTINUE", "ABANDON"}:
            raise refusal("ValidationError", "The parameter LifecycleActionResult must be CONTINUE or ABANDON")
        keys = {"AutoScalingGroupName": AutoScalingGroupName, "LifecycleHookName": LifecycleHookName}
        result = {"LifecycleActionResult": LifecycleActionResult}
        await self._aws.ask("CompleteLifecycleAction", **keys, InstanceId=InstanceId, **result)
        self._aws.complete(AutoScalingGroupName, LifecycleHookName, InstanceId)
        return {}
