"""When may Auto Scaling end an instance? When no HAProxy has a server of it any more; until then it is asked to wait.

An instance in Terminating:Wait is wanted by nobody any more, so that its servers drain and are deleted as those of any
endpoint that goes. It may serve several backends, each with a look of its own at AWS: its lifecycle action is
completed when each of them has looked since the first saw it wait, and has no server of it on any proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from weakref import WeakSet

import structlog

from dynsrv.errors import SourceError
from dynsrv.model import Location, Server
from dynsrv.sources.ec2.answers import Hook, Look
from dynsrv.sources.ec2.aws import Aws

PATIENCE = 600.0
"""Seconds after which it is told once that an instance still waits, and for whom."""

log = structlog.get_logger()


class Share:
    """What one *backend* has to do with the instances of *groups* that wait to end."""

    def __init__(self, backend: str, groups: Collection[str]) -> None:
        self.backend = backend
        self.groups = frozenset(groups)
        self._look: Look | None = None
        self._waiting: Mapping[str, frozenset[Location]] = {}
        self._left: frozenset[Location] | None = None  # None: not known since another began to wait

    def take(self, look: Look, waiting: Mapping[str, frozenset[Location]]) -> None:
        """Take note of a look, and of the instances that wait: where their servers are, by id."""
        if waiting.keys() - self._waiting.keys():
            self._left = None
        self._look, self._waiting = look, waiting

    def still_there(self, servers: Iterable[Server]) -> None:
        """Take note of all servers of the backend's, on all its proxies."""
        wanted = frozenset[Location]().union(*self._waiting.values())
        locations = ((server.address, server.port) for server in servers) if wanted else ()
        self._left = wanted.intersection(locations)

    @property
    def waiting(self) -> dict[str, str]:
        """The group of each instance that waits, by its id."""
        members = (self._look.members or {}) if self._look else {}
        return {instance: members[instance].group for instance in self._waiting}

    @property
    def looked_at(self) -> float:
        """When the look began that it goes by."""
        return self._look.asked_at if self._look else float("-inf")

    def let_go(self, instance: str, *, since: float) -> bool:
        """Whether this backend has no server of an instance that is known to wait *since* then."""
        if self._look is None or self._look.asked_at < since:
            return False
        if instance in self._waiting:
            return self._left is not None and not self._waiting[instance] & self._left
        return all(one.id != instance for one in self._look.instances)


@dataclass(slots=True)
class _Waiting:
    group: str
    since: float
    heartbeat_due: float
    over: bool = False
    told: bool = False  # that it takes long


class Farewells:
    """Completes the lifecycle actions of instances that wait to end, and records heartbeats until it may.

    *hook* names the one that is dynsrv's to complete; None: the group's only one.
    """

    def __init__(self, aws: Aws, *, hook: str | None) -> None:
        self._aws = aws
        self._hook = hook
        self._shares: WeakSet[Share] = WeakSet()
        self._waiting: dict[str, _Waiting] = {}
        self._complaints: dict[str, str] = {}
        self._attending = asyncio.Lock()

    def join(self, share: Share) -> None:
        """From now on, nothing is completed without *share*."""
        self._shares.add(share)

    def leave(self, share: Share) -> None:
        """Go on without *share*: its backend is not managed any more."""
        self._shares.discard(share)

    async def hook(self, group: str) -> Hook:
        """Return the hook of *group* that is dynsrv's.

        Raises:
            SourceError: AWS cannot tell, or nobody can.
        """
        return await self._aws.hook(group, self._hook)

    async def attend(self) -> None:
        """Do what is due for each instance that waits. What AWS refuses is logged, and tried again the next time."""
        async with self._attending:
            now = asyncio.get_running_loop().time()
            self._look_around(now)
            if not self._waiting:
                return
            hooks: dict[str, Hook] = {}
            async with self._aws:
                for instance, one in self._waiting.items():
                    try:
                        await self._attend(instance, one, hooks, now=now)
                        self._complaints.pop(instance, None)
                    except SourceError as error:
                        self._complain(instance, one.group, str(error))

    def _look_around(self, now: float) -> None:
        """Find out who waits."""
        waiting: dict[str, _Waiting] = {}
        for share in sorted(self._shares, key=lambda share: share.looked_at):
            for instance, group in share.waiting.items():
                known = self._waiting.get(instance) or waiting.get(instance)
                if known is None:
                    known = _Waiting(group, since=share.looked_at, heartbeat_due=now)
                    log.info("an instance waits to end; first its servers drain", instance=instance, group=group)
                waiting[instance] = known
        for instance in self._complaints.keys() - waiting.keys():
            del self._complaints[instance]
        self._waiting = waiting

    async def _attend(self, instance: str, one: _Waiting, hooks: dict[str, Hook], *, now: float) -> None:
        if one.over:
            return
        concerned = [share for share in self._shares if one.group in share.groups]
        holding = sorted(share.backend for share in concerned if not share.let_go(instance, since=one.since))
        bound = log.bind(instance=instance, group=one.group, waited=round(now - one.since, 1))
        if holding and now - one.since > PATIENCE and not one.told:
            one.told = True
            bound.warning("an instance waits long to end: it has servers left, or a proxy is silent", backends=holding)
        if holding and now < one.heartbeat_due:
            return
        if one.group not in hooks:
            hooks[one.group] = await self.hook(one.group)
        hook = hooks[one.group]
        if not holding:
            waited_for = await self._aws.complete(hook, instance)
            one.over = True
            if waited_for:
                sentence = "lifecycle action completed: no HAProxy has a server of the instance any more"
            else:
                sentence = "an instance waits no more: its lifecycle action was over already"
            bound.info(sentence, hook=hook.name)
        elif await self._aws.heartbeat(hook, instance):
            one.heartbeat_due = now + hook.heartbeat / 2
        else:
            one.over = True
            sentence = "an instance ends before HAProxy let go of it: its lifecycle action is over"
            bound.warning(sentence, hook=hook.name, backends=holding)

    def _complain(self, instance: str, group: str, error: str) -> None:
        """Log *error*, once until it is another."""
        if self._complaints.get(instance) != error:
            self._complaints[instance] = error
            sentence = "an instance that waits to end could not be attended to; it is tried again"
            log.warning(sentence, instance=instance, group=group, error=error)
