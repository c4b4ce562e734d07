"""When may Auto Scaling terminate an instance? When no HAProxy has a server of it left; until then it has to wait.

An instance in Terminating:Wait is no longer an endpoint, so its servers drain and are deleted as any others. It may
belong to several backends, each with a poll of its own: its lifecycle action is completed when each of them has polled
AWS since the first saw the instance wait, and has no server of it on any proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from weakref import WeakSet

from dynsrv.errors import SourceError
from dynsrv.logs import Event, get_logger
from dynsrv.model import Location, Server
from dynsrv.sources.ec2.aws import Aws
from dynsrv.sources.ec2.responses import Hook, Inventory

WARN_AFTER = 600.0
"""Seconds after which a warning says that an instance still waits, and for which backends."""

MAX_CONCURRENT = 8
"""Instances about which AWS is asked at the same time."""

CHECK_INTERVAL = 1.0
"""Seconds between two checks of what is due."""

RETRY_DELAY = 5.0
"""Seconds after a failed request; hooks are cached for as long."""

log = get_logger()


class BackendShare:
    """What one *backend* knows about the terminating instances of *groups*.

    *hook* is the name of the lifecycle hook that dynsrv completes; None: the only one of the group.
    """

    def __init__(self, backend: str, groups: Collection[str], *, hook: str | None = None) -> None:
        self.backend = backend
        self.groups = frozenset(groups)
        self.hook = hook
        self._inventory: Inventory | None = None
        self._terminating: Mapping[str, frozenset[Location]] = {}
        self._in_use: frozenset[str] | None = None  # of these; None: unknown since another one began to terminate

    def update(self, inventory: Inventory, terminating: Mapping[str, frozenset[Location]]) -> None:
        """Take a new inventory; *terminating* has the locations of the servers of each waiting instance, by its id."""
        if terminating.keys() - self._terminating.keys():
            self._in_use = None
        self._inventory, self._terminating = inventory, terminating

    def observed(self, servers: Iterable[Server]) -> None:
        """Note all *servers* of the backend, on all its proxies."""
        if not self._terminating:
            self._in_use = frozenset()
            return
        current = list(servers)
        self._in_use = frozenset(
            instance
            for instance, locations in self._terminating.items()
            # By name, too: when the server was added, the instance's tags may have had other ports.
            if any((each.address, each.port) in locations or _belongs_to(each.name, instance) for each in current)
        )

    @property
    def terminating(self) -> dict[str, str]:
        """The group of each waiting instance, by its id."""
        members = (self._inventory.members or {}) if self._inventory else {}
        return {instance: members[instance].group for instance in self._terminating}

    @property
    def requested_at(self) -> float:
        """When the request for the last inventory began, by the event loop's clock."""
        return self._inventory.requested_at if self._inventory else float("-inf")

    def released(self, instance: str, *, since: float) -> bool:
        """Whether the backend has no server of an instance that has been waiting *since* then."""
        if self._inventory is None or self._inventory.requested_at < since:
            return False
        if instance in self._terminating:
            return self._in_use is not None and instance not in self._in_use
        return all(each.id != instance for each in self._inventory.instances)


def _belongs_to(server: str, instance: str) -> bool:
    """Whether the name of a server contains the id of an instance: after a prefix, and maybe before a suffix."""
    _, found, suffix = server.partition(instance)
    return bool(found) and (not suffix or suffix.startswith("-"))


@dataclass(slots=True)
class _Action:
    """A lifecycle action: of one instance, for one hook."""

    heartbeat_due: float
    ended: bool = False


@dataclass(slots=True, eq=False)
class _Terminating:
    """An instance in Terminating:Wait, with its lifecycle actions by the names of their hooks."""

    id: str
    group: str
    since: float
    actions: dict[str, _Action] = field(default_factory=dict)
    requesting: bool = False  # a request to AWS about it is in progress
    reported: bool = False  # that it takes long


class LifecycleHooks:
    """Completes the lifecycle actions of terminating instances, and records heartbeats until then.

    It runs independently of polls while instances wait, so that a failing poll does not let a lifecycle action expire.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._shares: WeakSet[BackendShare] = WeakSet()
        self._terminating: dict[str, _Terminating] = {}
        self._reported_errors: dict[str, str] = {}  # by instance
        self._hooks: dict[str, tuple[float, list[Hook]]] = {}  # by group, and until when they are valid
        self._fetching_hooks = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def join(self, share: BackendShare) -> None:
        """From now on, no action is completed unless *share* has released the instance."""
        self._shares.add(share)

    def leave(self, share: BackendShare) -> None:
        """Stop waiting for *share*: its backend is no longer managed."""
        self._shares.discard(share)
        if not self._shares and self._task is not None:
            self._task.cancel()
            self._task = None

    def ensure_running(self) -> None:
        """Start the task if instances wait and it does not run. Its failed requests are logged and retried."""
        self._collect_terminating()
        if self._task is not None and self._task.done():
            self._task.result()
            self._task = None
        if self._task is None and self._terminating:
            self._task = asyncio.create_task(self._run(), name="lifecycle")

    def _collect_terminating(self) -> None:
        terminating: dict[str, _Terminating] = {}
        for share in sorted(self._shares, key=lambda share: share.requested_at):
            for instance, group in share.terminating.items():
                known = self._terminating.get(instance) or terminating.get(instance)
                if known is None:
                    known = _Terminating(instance, group, since=share.requested_at)
                    log.info(Event.INSTANCE_TERMINATING, instance=instance, group=group)
                terminating[instance] = known
        for instance in self._reported_errors.keys() - terminating.keys():
            del self._reported_errors[instance]
        self._terminating = terminating

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        limit = asyncio.Semaphore(MAX_CONCURRENT)
        async with self._aws, asyncio.TaskGroup() as tasks:
            while self._terminating:
                for instance in self._terminating.values():
                    if not instance.requesting and self._due(instance, clock()):
                        instance.requesting = True
                        tasks.create_task(self._process(instance, limit), name=f"lifecycle of {instance.id}")
                await asyncio.sleep(CHECK_INTERVAL)

    def _due(self, instance: _Terminating, now: float) -> bool:
        """Whether a request to AWS about *instance* is due."""
        pending = [action for action in instance.actions.values() if not action.ended]
        if instance.actions and not pending:
            return False
        blocked_by = self._blocked_by(instance)
        if blocked_by and now - instance.since > WARN_AFTER and not instance.reported:
            instance.reported = True
            fields = {"instance": instance.id, "group": instance.group, "waited": round(now - instance.since, 1)}
            log.warning(Event.INSTANCE_DRAIN_SLOW, **fields, backends=blocked_by)
        return not pending or not blocked_by or any(now >= action.heartbeat_due for action in pending)

    async def _process(self, instance: _Terminating, limit: asyncio.Semaphore) -> None:
        try:
            async with limit:
                for hook in await self._hooks_of(instance.group):
                    await self._advance(instance, hook)
            self._reported_errors.pop(instance.id, None)
        except SourceError as error:
            self._report(instance, str(error))
            await asyncio.sleep(RETRY_DELAY)
        finally:
            instance.requesting = False

    async def _hooks_of(self, group: str) -> list[Hook]:
        """Return the hooks of *group* that dynsrv completes, each once."""
        async with self._fetching_hooks:
            valid_until, hooks = self._hooks.get(group, (float("-inf"), []))
            now = asyncio.get_running_loop().time()
            if now >= valid_until:
                names = {share.hook for share in self._shares_of(group)}
                found = [await self._aws.hook(group, name) for name in names]
                hooks = list({hook.name: hook for hook in found}.values())
                self._hooks[group] = (now + RETRY_DELAY, hooks)
            return hooks

    async def _advance(self, instance: _Terminating, hook: Hook) -> None:
        """Complete an action, or record a heartbeat, if that is due."""
        now = asyncio.get_running_loop().time()
        action = instance.actions.setdefault(hook.name, _Action(heartbeat_due=now))
        if action.ended:
            return
        blocked_by = self._blocked_by(instance)
        waited = round(now - instance.since, 1)
        bound = log.bind(instance=instance.id, group=instance.group, hook=hook.name, waited=waited)
        if not blocked_by:
            was_pending = await self._aws.complete(hook, instance.id)
            action.ended = True
            bound.info(Event.LIFECYCLE_COMPLETED if was_pending else Event.LIFECYCLE_ALREADY_ENDED)
        elif now >= action.heartbeat_due:
            if await self._aws.heartbeat(hook, instance.id):
                action.heartbeat_due = now + hook.heartbeat / 2
            else:
                action.ended = True
                bound.warning(Event.LIFECYCLE_EXPIRED, backends=blocked_by)

    def _shares_of(self, group: str) -> list[BackendShare]:
        return [share for share in self._shares if group in share.groups]

    def _blocked_by(self, instance: _Terminating) -> list[str]:
        """Return the backends that have a server of *instance*, or do not know yet."""
        shares = self._shares_of(instance.group)
        return sorted(share.backend for share in shares if not share.released(instance.id, since=instance.since))

    def _report(self, instance: _Terminating, error: str) -> None:
        """Log *error* while the instance waits, unless it is the one that was logged last."""
        if self._terminating.get(instance.id) is instance and self._reported_errors.get(instance.id) != error:
            self._reported_errors[instance.id] = error
            log.warning(Event.LIFECYCLE_FAILED, instance=instance.id, group=instance.group, error=error)
