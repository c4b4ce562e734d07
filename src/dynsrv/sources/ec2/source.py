"""Which endpoints has one backend in EC2? A poll, mapped as its settings say."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING

from dynsrv.errors import SourceError
from dynsrv.model import Server, Snapshot
from dynsrv.sources.ec2.account import Account
from dynsrv.sources.ec2.aws import Aws
from dynsrv.sources.ec2.endpoints import TERMINATING_WAIT, InstanceMapper
from dynsrv.sources.ec2.lifecycle import BackendShare, LifecycleHooks
from dynsrv.sources.ec2.poll import Poll
from dynsrv.sources.ec2.responses import Inventory
from dynsrv.sources.source import Source, SourceContext

if TYPE_CHECKING:
    from dynsrv.sources.ec2.settings import Ec2SourceSettings


class Ec2Source(Source):
    """The instances of one poll, for one backend. Sources with equal requests share a *poll*.

    With *hooks*, Auto Scaling does not terminate an instance before HAProxy has drained it; *hook* is the name of the
    lifecycle hook that dynsrv completes, None: the only one of the group.
    """

    def __init__(
        self,
        poll: Poll,
        mapper: InstanceMapper,
        *,
        backend: str,
        hooks: LifecycleHooks | None = None,
        hook: str | None = None,
    ) -> None:
        self._poll = poll
        self._mapper = mapper
        self._hooks = hooks
        self._share = BackendShare(backend, poll.groups, hook=hook)
        if hooks is not None:
            hooks.join(self._share)

    def __repr__(self) -> str:
        return f"<Ec2Source {self._poll!r} for {self._share.backend}>"

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """Yield the endpoints of the instances, now and after each poll.

        Raises:
            SourceError: AWS does not answer, or not usefully. Its reason is credentials, denied, throttled, request,
                server, unreachable, timeout, invalid or client.
        """
        async with aclosing(self._poll.subscribe()) as inventories:
            async for inventory in inventories:
                yield self._snapshot(inventory)
                # After the yield: a caller that needs only one snapshot, such as `dynsrv plan`, does not get here.
                if self._hooks is not None:
                    self._hooks.ensure_running()

    async def inspect(self) -> AsyncGenerator[str, None]:
        """Yield a sentence each on the credentials, the instances, the groups and their lifecycle hooks.

        Raises:
            SourceError: the first that is not in order.
        """
        aws = self._poll.aws
        async with aws:
            yield f"the credentials come from {await aws.credentials()}"
            inventory = await self._poll.fetch()
            if not inventory.instances:
                raise SourceError("request", "EC2 has no instance that matches")
            yield f"EC2 answers: {_counted('instance', (each.state for each in inventory.instances))}"
            for group in self._poll.groups:
                states = (each.state for each in (inventory.members or {}).values() if each.group == group)
                yield f"the Auto Scaling group {group} has {_counted('instance', states)}"
                if self._hooks is not None:
                    hook = await aws.hook(group, self._share.hook)
                    yield f"its lifecycle hook {hook.name} waits for dynsrv, {hook.heartbeat} s after each heartbeat"

    def observed(self, servers: Iterable[Server]) -> None:
        """Note the *servers* that HAProxy still has: Auto Scaling may terminate the instances of all others."""
        self._share.observed(servers)

    def close(self) -> None:
        """Let Auto Scaling terminate instances without waiting for this backend."""
        if self._hooks is not None:
            self._hooks.leave(self._share)

    def _snapshot(self, inventory: Inventory) -> Snapshot:
        snapshot = self._mapper.snapshot(inventory)
        if not snapshot.endpoints and snapshot.notes:
            # That is a mistake, and not a fleet without instances.
            raise SourceError("invalid", f"no instance can be used: {'; '.join(snapshot.notes[:3])}")
        if self._hooks is not None:
            members = inventory.members or {}
            waiting = {each for each, member in members.items() if member.state == TERMINATING_WAIT}
            terminating = [each for each in inventory.instances if each.id in waiting]
            self._share.update(inventory, {each.id: self._mapper.locations(each) for each in terminating})
        return snapshot


def _counted(thing: str, states: Iterable[str]) -> str:
    counts = Counter(states)
    number = counts.total()
    listed = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    return f"{number} {thing}{'' if number == 1 else 's'}{f': {listed}' if listed else ''}"


def ec2_source(settings: Ec2SourceSettings, context: SourceContext) -> Ec2Source:
    """Return the source for the backend of *context*. It shares the account, polls and hooks with equal ones."""
    shared = context.shared
    account = Account(settings.region, settings.profile, settings.role_arn, settings.external_id, settings.endpoint_url)
    aws = shared.get(account, lambda: Aws(account))
    filters, groups = tuple(sorted(settings.filters.items())), tuple(sorted(settings.auto_scaling_group or ()))
    poll = shared.get(
        (account, filters, groups, settings.interval),
        lambda: Poll(aws, filters=filters, groups=groups, interval=settings.interval),
    )
    mapper = InstanceMapper(
        port=settings.port,
        port_tag=settings.port_tag,
        address=settings.address,
        weight_tag=settings.weight_tag,
        removes_terminating=settings.complete_lifecycle,
        rules=context.rules,
    )
    hooks = None
    if settings.complete_lifecycle:
        hooks = shared.get((account, "lifecycle"), lambda: LifecycleHooks(aws))
    return Ec2Source(poll, mapper, backend=context.backend, hooks=hooks, hook=settings.lifecycle_hook)
