"""Which instances are there now? Asked again and again for all who want to know, more often while some change."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from dynsrv.sources.ec2.answers import Inventory
from dynsrv.sources.ec2.aws import Aws, Filters
from dynsrv.sources.shared_watch import SharedWatch

FAST_INTERVAL = 5.0
"""Seconds between two looks at most while instances come and go, …"""
FAST_FOR = 60.0
"""… and for so many seconds after."""

SHARE = 4.0
"""A pause is so many times as long as the look before it took, if the interval is: AWS' answers cost much to read."""

GROUP_TAG = "tag:aws:autoscaling:groupName"
"""AWS gives each instance of a group this tag."""

_SETTLED = {"running", "stopped", "terminated"}
_SETTLED_MEMBERS = {"InService", "Standby"}


class Poll(SharedWatch[Inventory]):
    """The instances that match *filters*, and that are in one of the Auto Scaling *groups*, if there are any.

    *interval* is the time between two looks in seconds, more or less a tenth: many dynsrvs are not to ask at once.
    """

    def __init__(self, aws: Aws, *, filters: Filters, groups: Sequence[str], interval: float) -> None:
        super().__init__()
        self.aws = aws
        self.groups = tuple(groups)
        self._filters = (*filters, (GROUP_TAG, self.groups)) if groups else filters
        self._interval = interval
        self._known: tuple[float, Inventory] | None = None  # the last look, and when the next is due

    def __repr__(self) -> str:
        return f"<Poll of {self._filters}, {self.followers} followers>"

    async def look(self) -> Inventory:
        """Return what AWS says now.

        Raises:
            SourceError: AWS cannot tell.
        """
        asked_at = asyncio.get_running_loop().time()
        # The groups first: of an instance that ends meanwhile, EC2 then knows more.
        members = await self.aws.members(self.groups) if self.groups else None
        return Inventory(asked_at, await self.aws.instances(self._filters), members)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        if self._failures:  # besides what each follower waits, since there may be many of them
            await asyncio.sleep(_random(0.0, min(self._interval, 2.0 ** min(self._failures, 10) / 4)))
        elif self._known is not None and clock() < self._known[0]:
            # Somebody followed it a moment ago, and could not use what AWS said: that is no reason to ask sooner.
            due, look = self._known
            self._tell(look)
            await asyncio.sleep(due - clock())
        fast_until = clock()
        before: Inventory | None = None
        async with self.aws:
            while True:
                look = await self.look()
                took = clock() - look.asked_at
                if _changing(look) or (before is not None and not _equal(look, before)):
                    fast_until = clock() + FAST_FOR
                before = look
                pause = max(FAST_INTERVAL, SHARE * took) if clock() < fast_until else self._interval
                pause = min(pause, self._interval) * _random(0.9, 1.1)
                self._known = (clock() + pause, look)
                self._tell(look)
                await asyncio.sleep(pause)


def _changing(look: Inventory) -> bool:
    """Whether something is on its way from one state to another."""
    if any(one.state not in _SETTLED for one in look.instances):
        return True
    return any(member.state not in _SETTLED_MEMBERS for member in (look.members or {}).values())


def _equal(one: Inventory, other: Inventory) -> bool:
    first, second = ({instance.id: instance for instance in look.instances} for look in (one, other))
    return one.members == other.members and first == second


def _random(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 - no secret
