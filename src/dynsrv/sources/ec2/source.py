"""Which servers does EC2 want in one backend? A shared poll, read as this backend's settings say."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING

from dynsrv.errors import SourceError
from dynsrv.model import Server, Snapshot
from dynsrv.sources.ec2.account import Account
from dynsrv.sources.ec2.answers import Inventory
from dynsrv.sources.ec2.aws import Aws
from dynsrv.sources.ec2.endpoints import WAITING_TO_END, Reading
from dynsrv.sources.ec2.lifecycle import Farewells, Share
from dynsrv.sources.ec2.poll import Poll
from dynsrv.sources.source import Source, SourceContext

if TYPE_CHECKING:
    from dynsrv.sources.ec2.settings import Ec2SourceSettings


class Ec2Source(Source):
    """The instances of one poll for one backend. Sources with equal questions share their *poll*.

    With *farewells*, Auto Scaling terminates an instance only after HAProxy has drained it; *hook* is the name of
    the lifecycle hook that is dynsrv's to complete, None: the group's only one.
    """

    def __init__(
        self,
        poll: Poll,
        reading: Reading,
        *,
        backend: str,
        farewells: Farewells | None = None,
        hook: str | None = None,
    ) -> None:
        self._poll = poll
        self._reading = reading
        self._farewells = farewells
        self._share = Share(backend, poll.groups, hook=hook)
        if farewells is not None:
            farewells.join(self._share)

    def __repr__(self) -> str:
        return f"<Ec2Source {self._poll!r} for {self._share.backend}>"

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """Yield what the instances call for: first what AWS says now, then after each of its answers.

        Raises:
            SourceError: AWS cannot tell. Its reason is credentials, denied, throttled, request, server, unreachable,
                timeout, invalid or client.
        """
        async with aclosing(self._poll.subscribe()) as looks:
            async for look in looks:
                yield self._snapshot(look)
                # Behind the yield: who only wants to know what is desired does not come here.
                if self._farewells is not None:
                    self._farewells.attend()

    async def inspect(self) -> AsyncGenerator[str, None]:
        """Yield what is found of the credentials, the instances, the groups and their lifecycle hooks.

        Raises:
            SourceError: the first that is not as it should be.
        """
        aws = self._poll.aws
        async with aws:
            yield f"the credentials come from {await aws.credentials()}"
            look = await self._poll.look()
            if not look.instances:
                raise SourceError("request", "EC2 has no instance that matches")
            yield f"EC2 answers: {_counted('instance', (one.state for one in look.instances))}"
            for group in self._poll.groups:
                states = (one.state for one in (look.members or {}).values() if one.group == group)
                yield f"the Auto Scaling group {group} has {_counted('instance', states)}"
                if self._farewells is not None:
                    hook = await aws.hook(group, self._share.hook)
                    yield f"its lifecycle hook {hook.name} waits for dynsrv, {hook.heartbeat} s after each heartbeat"

    def observed(self, servers: Iterable[Server]) -> None:
        """Take note of what HAProxy still has, for Auto Scaling."""
        self._share.observed(servers)

    def close(self) -> None:
        """Let Auto Scaling go on without this backend."""
        if self._farewells is not None:
            self._farewells.leave(self._share)

    def _snapshot(self, look: Inventory) -> Snapshot:
        snapshot = self._reading.snapshot(look)
        if not snapshot.endpoints and snapshot.notes:
            # Nobody tagged that on purpose: it is not the same as a fleet without instances.
            raise SourceError("invalid", f"no instance can be used: {'; '.join(snapshot.notes[:3])}")
        if self._farewells is not None:
            members = look.members or {}
            waiting = [one for one in look.instances if one.id in members and members[one.id].state == WAITING_TO_END]
            self._share.take(look, {one.id: self._reading.locations(one) for one in waiting})
        return snapshot


def _counted(thing: str, states: Iterable[str]) -> str:
    counts = Counter(states)
    number = counts.total()
    told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    return f"{number} {thing}{'' if number == 1 else 's'}{f': {told}' if told else ''}"


def ec2_source(settings: Ec2SourceSettings, context: SourceContext) -> Ec2Source:
    """Return the source for the backend of *context*; what it can share with others, it does."""
    shared = context.shared
    account = Account(settings.region, settings.profile, settings.role_arn, settings.external_id, settings.endpoint_url)
    aws = shared.get(account, lambda: Aws(account))
    filters, groups = tuple(sorted(settings.filters.items())), tuple(sorted(settings.auto_scaling_group or ()))
    poll = shared.get(
        (account, filters, groups, settings.interval),
        lambda: Poll(aws, filters=filters, groups=groups, interval=settings.interval),
    )
    reading = Reading(
        port=settings.port,
        port_tag=settings.port_tag,
        address=settings.address,
        weight_tag=settings.weight_tag,
        releases=settings.complete_lifecycle,
    )
    farewells = None
    if settings.complete_lifecycle:
        farewells = shared.get((account, "lifecycle"), lambda: Farewells(aws))
    return Ec2Source(poll, reading, backend=context.backend, farewells=farewells, hook=settings.lifecycle_hook)
