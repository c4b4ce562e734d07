"""No instance is let go while a HAProxy has a server of it: over stories that nobody would think of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.fakes.ec2 import GROUP, FakeAws, an_instance, refusal
from tests.fakes.loop import FakeTimeLoop
from tests.unit.sources.ec2.stage import AtWork, Proxy, Stage, at

OPERATIONS = (
    "DescribeInstances",
    "DescribeAutoScalingGroups",
    "DescribeLifecycleHooks",
    "RecordLifecycleActionHeartbeat",
    "CompleteLifecycleAction",
)
TROUBLES = (refusal("Throttling"), refusal("InternalError", status=500), OSError(104, "Connection reset by peer"))
HOSTS = range(1, 4)
HEARTBEAT = 200
BACKENDS: tuple[dict[str, Any], ...] = (
    {"name": "be_web", "interval": 5.0, "proxies": ("lb1", "lb2")},
    {"name": "be_both", "interval": 20.0, "groups": (GROUP, "api"), "port": 81},
    {"name": "be_api", "interval": 5.0, "port": 82},
    {"name": "be_slow", "interval": 40.0, "port": 83},
)

choices = st.integers(0, 100)
"""Which of those that are there at the time is meant."""
seconds = st.sampled_from([6.0, 6.0, 3.0, 50.0, 0.0])


class AnyStory(RuleBasedStateMachine):
    """Whatever happens, an action is completed only where no proxy has a server; and in the end all are."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner(loop_factory=FakeTimeLoop)
        self.working: dict[str, AtWork] = {}
        self.violations: list[str] = []
        self.number = 0
        self.hosts: dict[int, int] = {}
        """The host of each instance that has not ended, by its number."""
        self.smooth = True
        """Whether AWS had no trouble, and all backends work."""

    def run(self, story: Coroutine[Any, Any, object]) -> None:
        self._runner.run(story)

    @initialize(
        count=st.integers(1, len(BACKENDS)),
        at_first=st.integers(1, 2),
        busy=st.booleans(),
        lot=st.sampled_from([0.1, 0.5, 1.0]),
    )
    def begin(self, *, count: int, at_first: int, busy: bool, lot: float) -> None:
        # Else, who draws first would be a matter of where things are in memory.
        self.drawn = patch.object(random, "uniform", lambda low, high: low + lot * (high - low))
        self.drawn.start()
        self.fake = FakeAws()
        self.fake.before_completion = self.look_around
        self.fake.group()
        self.fake.group(name="api")
        self.fake.hook(heartbeat=HEARTBEAT)
        self.fake.hook(group="api", heartbeat=HEARTBEAT)
        for _ in range(at_first):
            self.an_instance_comes(0.0)

        async def start() -> None:
            self.stage = Stage(self.fake)
            for spec in BACKENDS[:count]:
                self.make(spec)
                self.working[spec["name"]].start()

        self.run(start())
        self.rest(1.0)
        for proxy in self.proxies:
            proxy.look(2)
            if busy:
                proxy.busy.update(proxy.servers)

    def make(self, spec: dict[str, Any], before: AtWork | None = None) -> None:
        """Make a backend, on the proxies that it had before."""
        backend = self.working[spec["name"]] = self.stage.a_backend(**spec)
        if before is not None:
            for proxy, old in zip(backend.proxies, before.proxies, strict=True):
                old.cut_off()
                proxy.servers, proxy.busy = old.servers, old.busy

    def look_around(self, instance: str) -> None:
        """Look whether an instance may be let go now."""
        host = self.hosts[int(instance.removeprefix("i-"))]
        for backend in self.working.values():
            for proxy in backend.proxies:
                if any(address == at(host)[0] for address, _ in proxy.servers):
                    self.violations.append(f"{instance} was let go, but {backend.name} on {proxy.name} has it")

    def rest(self, seconds: float) -> None:
        """Let time pass, and all that is to happen without time."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            for _ in range(50):
                await asyncio.sleep(0)

        if seconds:
            self.run(wait())
            assert not self.violations, self.violations
            for backend in self.working.values():
                assert backend.works, f"{backend.name} has died"
            assert not (self.smooth and self.fake.expired), f"nobody asked to wait for {self.fake.expired}"

    @property
    def proxies(self) -> list[Proxy]:
        """Those of the backends that work."""
        return [proxy for backend in self.working.values() for proxy in backend.proxies]

    def members(self, *states: str) -> list[int]:
        return [int(one.removeprefix("i-")) for one, state in self.fake.groups[GROUP].items() if state in states]

    # ---- instances

    @precondition(lambda self: len(self.hosts) < len(HOSTS))
    @rule(rest=seconds)
    def an_instance_comes(self, rest: float) -> None:
        self.number += 1
        host = next(host for host in HOSTS if host not in self.hosts.values())
        self.hosts[self.number] = host
        self.fake.put(an_instance(self.number, address=at(host)[0]))
        self.rest(rest)

    @precondition(lambda self: self.members("InService", "Standby"))
    @rule(which=choices, rest=seconds)
    def an_instance_is_to_end(self, which: int, rest: float) -> None:
        members = self.members("InService", "Standby")

        async def terminate() -> None:
            self.fake.terminate(members[which % len(members)])

        self.run(terminate())
        self.rest(rest)

    @precondition(lambda self: self.members("Terminating:Proceed"))
    @rule(which=choices)
    def an_instance_ends(self, which: int) -> None:
        members = self.members("Terminating:Proceed")
        number = members[which % len(members)]
        self.fake.end(number)
        del self.fake.instances[f"i-{number}"], self.hosts[number]

    @precondition(lambda self: self.members("InService", "Standby"))
    @rule(which=choices, state=st.sampled_from(["InService", "Standby"]), rest=seconds)
    def an_instance_is_put_aside_or_back(self, which: int, state: str, rest: float) -> None:
        members = self.members("InService", "Standby")
        self.fake.groups[GROUP][f"i-{members[which % len(members)]}"] = state
        self.rest(rest)

    # ---- AWS

    @rule(operation=st.sampled_from(OPERATIONS), trouble=st.sampled_from((*TROUBLES, 0.5, 5.0, 100.0)), rest=seconds)
    def aws_gets_into_trouble_or_slow(self, operation: str, trouble: Exception | float, rest: float) -> None:
        self.smooth = False
        if isinstance(trouble, Exception):
            self.fake.troubles[operation] = trouble
        else:
            self.fake.latencies[operation] = trouble
        self.rest(rest)

    @precondition(lambda self: self.fake.troubles or self.fake.latencies)
    @rule(rest=seconds)
    def aws_is_well_again(self, rest: float) -> None:
        self.fake.troubles.clear()
        self.fake.latencies.clear()
        self.rest(rest)

    @rule(rest=seconds)
    def the_other_group_goes_or_comes(self, rest: float) -> None:
        if self.fake.groups.pop("api", None) is None:
            self.fake.group(name="api")
        self.rest(rest)

    # ---- proxies

    @rule(rest=seconds)
    def all_proxies_are_looked_at(self, rest: float) -> None:
        for proxy in self.proxies:
            proxy.look(2)
        self.rest(rest)

    @precondition(lambda self: self.proxies)
    @rule(which=choices, rest=seconds)
    def a_proxy_is_looked_at(self, which: int, rest: float) -> None:
        self.proxies[which % len(self.proxies)].look(2)
        self.rest(rest)

    @precondition(lambda self: self.proxies)
    @rule(which=choices, rest=seconds)
    def a_pass_begins_or_ends(self, which: int, rest: float) -> None:
        proxy = self.proxies[which % len(self.proxies)]
        if proxy.in_pass:
            proxy.end()
        else:
            proxy.begin()
        self.rest(rest)

    @precondition(lambda self: self.proxies)
    @rule(which=choices)
    def sessions_begin_or_end(self, which: int) -> None:
        proxy = self.proxies[which % len(self.proxies)]
        proxy.busy = set() if proxy.busy else set(proxy.servers)

    @precondition(lambda self: self.proxies)
    @rule(which=choices)
    def a_haproxy_is_reloaded(self, which: int) -> None:
        proxy = self.proxies[which % len(self.proxies)]
        proxy.cut_off()
        proxy.servers.clear()
        proxy.busy.clear()

    # ---- backends

    @rule(which=choices, rest=seconds, removed=st.booleans())
    def a_backend_is_removed_or_configured_anew(self, which: int, rest: float, *, removed: bool) -> None:
        spec = BACKENDS[which % len(BACKENDS)]
        before = self.working.get(spec["name"])

        async def change() -> None:
            if removed:
                self.working.pop(spec["name"], None)
            else:
                self.make(spec, before)  # as in the daemon: the new one is there before the old one is stopped
            if before is not None:
                await before.stop()
            if not removed:
                self.working[spec["name"]].start()

        self.smooth = self.smooth and not removed
        self.run(change())
        self.rest(rest)

    # ---- what must hold

    def teardown(self) -> None:
        try:
            if hasattr(self, "stage"):
                self.end()
        finally:
            if hasattr(self, "drawn"):
                self.drawn.stop()
            self._runner.close()

    def end(self) -> None:
        """Let all be well again, and look at what becomes of those who wait."""
        self.aws_is_well_again(1.0)
        self.fake.group(name="api")
        for _ in range(4):
            self.rest(50.0)
            for backend in self.working.values():
                for proxy in backend.proxies:
                    proxy.busy.clear()
                backend.look(2)
        self.rest(50.0)
        assert not (self.working and self.fake.actions), f"still waiting: {self.fake.actions}"
        for backend in self.working.values():
            self.run(backend.stop())
        self.working.clear()
        self.rest(1.0)
        assert self.fake.open == 0


TestAnyStory = AnyStory.TestCase
TestAnyStory.settings = settings(stateful_step_count=30)
