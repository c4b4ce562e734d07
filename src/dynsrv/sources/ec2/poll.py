"""Which instances are there now? AWS is polled for all backends with equal requests, faster while something changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from dynsrv.sources.ec2.aws import Aws, Filters
from dynsrv.sources.ec2.responses import Inventory
from dynsrv.sources.shared_watch import SharedWatch

FAST_INTERVAL = 5.0
"""Seconds between two polls at most while instances start or stop, …"""
FAST_FOR = 60.0
"""… and for so many seconds after that."""

PAUSE_FACTOR = 4.0
"""A pause is at least so many times as long as the poll before it took, up to the interval: responses are expensive."""

GROUP_TAG = "tag:aws:autoscaling:groupName"
"""AWS gives this tag to each instance of a group."""

_STABLE = {"running", "stopped", "terminated"}
_STABLE_MEMBERS = {"InService", "Standby"}


class Poll(SharedWatch[Inventory]):
    """The instances that match *filters*, and that are in one of the Auto Scaling *groups*, if there are any.

    *interval* is the time between two polls in seconds, ± 10 %, so that many instances of dynsrv do not poll at once.
    """

    def __init__(self, aws: Aws, *, filters: Filters, groups: Sequence[str], interval: float) -> None:
        super().__init__()
        self.aws = aws
        self.groups = tuple(groups)
        self._filters = (*filters, (GROUP_TAG, self.groups)) if groups else filters
        self._interval = interval
        self._last: tuple[float, Inventory] | None = None  # and when the next poll is due

    def __repr__(self) -> str:
        return f"<Poll of {self._filters}, {self.subscribers} subscribers>"

    async def fetch(self) -> Inventory:
        """Request the current inventory.

        Raises:
            SourceError: AWS does not provide it.
        """
        requested_at = asyncio.get_running_loop().time()
        # The groups first: if an instance terminates in between, EC2 has the newer state.
        members = await self.aws.members(self.groups) if self.groups else None
        return Inventory(requested_at, await self.aws.instances(self._filters), members)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        if self._failures:  # in addition to the delay of each subscriber, of which there may be many
            await asyncio.sleep(_random(0.0, min(self._interval, 2.0 ** min(self._failures, 10) / 4)))
        elif self._last is not None and clock() < self._last[0]:
            # A former subscriber could not use this inventory, which is no reason to poll sooner.
            due, inventory = self._last
            self._publish(inventory)
            await asyncio.sleep(due - clock())
        fast_until = clock()
        before: Inventory | None = None
        async with self.aws:
            while True:
                inventory = await self.fetch()
                took = clock() - inventory.requested_at
                if _changing(inventory) or (before is not None and not _equal(inventory, before)):
                    fast_until = clock() + FAST_FOR
                before = inventory
                pause = max(FAST_INTERVAL, PAUSE_FACTOR * took) if clock() < fast_until else self._interval
                pause = min(pause, self._interval) * _random(0.9, 1.1)
                self._last = (clock() + pause, inventory)
                self._publish(inventory)
                await asyncio.sleep(pause)


def _changing(inventory: Inventory) -> bool:
    """Whether something is between two stable states."""
    if any(each.state not in _STABLE for each in inventory.instances):
        return True
    return any(member.state not in _STABLE_MEMBERS for member in (inventory.members or {}).values())


def _equal(one: Inventory, other: Inventory) -> bool:
    first, second = ({each.id: each for each in inventory.instances} for inventory in (one, other))
    return one.members == other.members and first == second


def _random(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 - no secret
