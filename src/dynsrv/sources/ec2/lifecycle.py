"""When may Auto Scaling end an instance? When no HAProxy has a server of it any more; until then it is asked to wait.

An instance in Terminating:Wait is wanted by nobody any more, so that its servers drain and are deleted as those of any
endpoint that goes. It may serve several backends, each with a look of its own at AWS: its lifecycle action is
completed when each of them has looked since the first saw it wait, and has no server of it on any proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from weakref import WeakSet

from dynsrv.errors import SourceError
from dynsrv.logs import Event, get_logger
from dynsrv.model import Location, Server
from dynsrv.sources.ec2.answers import Hook, Inventory
from dynsrv.sources.ec2.aws import Aws

PATIENCE = 600.0
"""Seconds after which it is logged once that an instance still waits, and for which backends."""

AT_ONCE = 8
"""Instances that are attended to at the same time."""

PERIOD = 1.0
"""Seconds between two checks of what HAProxy still has."""

PAUSE = 5.0
"""Seconds after which AWS is asked again when it refused something."""

log = get_logger()


class Share:
    """What one *backend* has to do with the instances of *groups* that wait to end.

    *hook* is the name of the lifecycle hook that is dynsrv's to complete; None: the group's only one.
    """

    def __init__(self, backend: str, groups: Collection[str], *, hook: str | None = None) -> None:
        self.backend = backend
        self.groups = frozenset(groups)
        self.hook = hook
        self._look: Inventory | None = None
        self._waiting: Mapping[str, frozenset[Location]] = {}
        self._left: frozenset[str] | None = None  # of those that wait; None: not known since another began to

    def take(self, look: Inventory, waiting: Mapping[str, frozenset[Location]]) -> None:
        """Take note of a look, and of the instances that wait: where their servers are, by id."""
        if waiting.keys() - self._waiting.keys():
            self._left = None
        self._look, self._waiting = look, waiting

    def observed(self, servers: Iterable[Server]) -> None:
        """Take note of all servers of the backend's, on all its proxies."""
        if not self._waiting:
            self._left = frozenset()
            return
        there = list(servers)
        self._left = frozenset(
            instance
            for instance, locations in self._waiting.items()
            # By name, too: its tags may have named other ports when the server was added.
            if any((one.address, one.port) in locations or _is_of(one.name, instance) for one in there)
        )

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
            return self._left is not None and instance not in self._left
        return all(one.id != instance for one in self._look.instances)


def _is_of(server: str, instance: str) -> bool:
    """Whether a server's name is made of an instance's id: the prefix before it, maybe a port and more behind it."""
    _, found, rest = server.partition(instance)
    return bool(found) and (not rest or rest.startswith("-"))


@dataclass(slots=True)
class _Action:
    """A lifecycle action: of one instance, for one hook."""

    heartbeat_due: float
    over: bool = False


@dataclass(slots=True, eq=False)
class _Waiting:
    """An instance in Terminating:Wait, with its lifecycle actions by the names of their hooks."""

    id: str
    group: str
    since: float
    actions: dict[str, _Action] = field(default_factory=dict)
    attended: bool = False  # a request to AWS about it is in progress
    told: bool = False  # that it takes long


class Farewells:
    """Completes the lifecycle actions of instances that wait to end, and records heartbeats until it may.

    It works for itself while instances wait, so that a look that fails does not make Auto Scaling lose patience.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._shares: WeakSet[Share] = WeakSet()
        self._waiting: dict[str, _Waiting] = {}
        self._complaints: dict[str, str] = {}
        self._hooks: dict[str, tuple[float, list[Hook]]] = {}  # by group, and until when they count
        self._asking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def join(self, share: Share) -> None:
        """From now on, nothing is completed without *share*."""
        self._shares.add(share)

    def leave(self, share: Share) -> None:
        """Go on without *share*: its backend is not managed any more."""
        self._shares.discard(share)
        if not self._shares and self._task is not None:
            self._task.cancel()
            self._task = None

    def attend(self) -> None:
        """See to it that each instance that waits now is attended to.

        What AWS refuses is logged, and tried again.
        """
        self._look_around()
        if self._task is not None and self._task.done():
            self._task.result()
            self._task = None
        if self._task is None and self._waiting:
            self._task = asyncio.create_task(self._run(), name="lifecycle")

    def _look_around(self) -> None:
        """Find out who waits."""
        waiting: dict[str, _Waiting] = {}
        for share in sorted(self._shares, key=lambda share: share.looked_at):
            for instance, group in share.waiting.items():
                known = self._waiting.get(instance) or waiting.get(instance)
                if known is None:
                    known = _Waiting(instance, group, since=share.looked_at)
                    log.info(Event.INSTANCE_TERMINATING, instance=instance, group=group)
                waiting[instance] = known
        for instance in self._complaints.keys() - waiting.keys():
            del self._complaints[instance]
        self._waiting = waiting

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        limit = asyncio.Semaphore(AT_ONCE)
        async with self._aws, asyncio.TaskGroup() as tasks:
            while self._waiting:
                for one in self._waiting.values():
                    if not one.attended and self._due(one, clock()):
                        one.attended = True
                        tasks.create_task(self._attend(one, limit), name=f"lifecycle of {one.id}")
                await asyncio.sleep(PERIOD)

    def _due(self, one: _Waiting, now: float) -> bool:
        """Whether a request to AWS about an instance is due."""
        left = [action for action in one.actions.values() if not action.over]
        if one.actions and not left:
            return False
        holding = self._holding(one)
        if holding and now - one.since > PATIENCE and not one.told:
            one.told = True
            waited = round(now - one.since, 1)
            log.warning(Event.INSTANCE_DRAIN_SLOW, instance=one.id, group=one.group, waited=waited, backends=holding)
        return not left or not holding or any(now >= action.heartbeat_due for action in left)

    async def _attend(self, one: _Waiting, limit: asyncio.Semaphore) -> None:
        try:
            async with limit:
                for hook in await self._hooks_of(one.group):
                    await self._act(one, hook)
            self._complaints.pop(one.id, None)
        except SourceError as error:
            self._complain(one, str(error))
            await asyncio.sleep(PAUSE)
        finally:
            one.attended = False

    async def _hooks_of(self, group: str) -> list[Hook]:
        """Return the hooks of *group* that are dynsrv's to complete, each once."""
        async with self._asking:
            until, hooks = self._hooks.get(group, (float("-inf"), []))
            now = asyncio.get_running_loop().time()
            if now >= until:
                names = {share.hook for share in self._concerned(group)}
                found = [await self._aws.hook(group, name) for name in names]
                hooks = list({hook.name: hook for hook in found}.values())
                self._hooks[group] = (now + PAUSE, hooks)
            return hooks

    async def _act(self, one: _Waiting, hook: Hook) -> None:
        """Complete an action, or record a heartbeat, if that is due."""
        now = asyncio.get_running_loop().time()
        action = one.actions.setdefault(hook.name, _Action(heartbeat_due=now))
        if action.over:
            return
        holding = self._holding(one)
        bound = log.bind(instance=one.id, group=one.group, hook=hook.name, waited=round(now - one.since, 1))
        if not holding:
            waited_for = await self._aws.complete(hook, one.id)
            action.over = True
            if waited_for:
                bound.info(Event.LIFECYCLE_COMPLETED)
            else:
                bound.info(Event.LIFECYCLE_ALREADY_ENDED)
        elif now >= action.heartbeat_due:
            if await self._aws.heartbeat(hook, one.id):
                action.heartbeat_due = now + hook.heartbeat / 2
            else:
                action.over = True
                bound.warning(Event.LIFECYCLE_EXPIRED, backends=holding)

    def _concerned(self, group: str) -> list[Share]:
        return [share for share in self._shares if group in share.groups]

    def _holding(self, one: _Waiting) -> list[str]:
        """Return the backends that have a server of an instance, or that do not know yet."""
        shares = self._concerned(one.group)
        return sorted(share.backend for share in shares if not share.let_go(one.id, since=one.since))

    def _complain(self, one: _Waiting, error: str) -> None:
        """Log *error*, once until it is another, while it matters."""
        if self._waiting.get(one.id) is one and self._complaints.get(one.id) != error:
            self._complaints[one.id] = error
            log.warning(Event.LIFECYCLE_FAILED, instance=one.id, group=one.group, error=error)
