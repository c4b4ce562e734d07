"""Backends from one AWS in memory, each with its own feed and its own HAProxies, as far as those have servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from dynsrv.metrics import Metrics
from dynsrv.model import Location, Server
from dynsrv.planning import Desired
from dynsrv.reconcile.desired import DesiredState
from dynsrv.sources.ec2.aws import Filters
from dynsrv.sources.ec2.endpoints import InstanceMapper
from dynsrv.sources.ec2.lifecycle import LifecycleHooks
from dynsrv.sources.ec2.poll import Poll
from dynsrv.sources.ec2.source import Ec2Source
from dynsrv.sources.feed import Feed
from tests.fakes.builders import a_backend, a_policy, a_server
from tests.fakes.ec2 import GROUP, FakeAws
from tests.fakes.ec2_clients import an_aws


def at(number: int, port: int = 80) -> Location:
    """Where the server of an instance is."""
    return (f"10.0.0.{number}", port)


class Proxy:
    """The servers that one HAProxy has in one backend. It is looked at, and set right, when the test says so."""

    def __init__(self, name: str, desired: DesiredState) -> None:
        self.name = name
        self.desired = desired
        self.servers: dict[Location, Server] = {}
        self.busy: set[Location] = set()
        """Servers that have sessions: they drain for as long."""
        self._pass: tuple[float, Desired, tuple[Server, ...]] | None = None
        desired.subscribe(name, lambda: None)

    @property
    def in_pass(self) -> bool:
        """Whether a pass has begun and is not over."""
        return self._pass is not None

    def begin(self) -> None:
        """Begin a pass: look at what there is, and at what is wanted."""
        if self.desired.servers is not None:
            self._pass = (self.desired.changed_at, self.desired.servers, tuple(self.servers.values()))

    def end(self) -> None:
        """End a pass: do what was wanted when it began, and tell what there was."""
        if self._pass is None:
            return
        (changed_at, wanted, observed), self._pass = self._pass, None
        for location, target in wanted.items():
            self.servers.setdefault(location, a_server(target.endpoint))
        for location, server in list(self.servers.items()):
            if location not in wanted and location not in self.busy and server.name.startswith("dyn-"):
                del self.servers[location]
        self.desired.on_observed(self.name, a_backend(*observed), changed_at=changed_at)

    def look(self, passes: int = 1) -> None:
        """Make whole passes."""
        for _ in range(passes):
            self.begin()
            self.end()

    def cut_off(self) -> None:
        """Let a pass that has begun be cut off."""
        self._pass = None


class AtWork:
    """One backend at work: its source, its feed, and its proxies."""

    def __init__(self, name: str, source: Ec2Source, proxies: Sequence[str]) -> None:
        self.name = name
        self.source = source
        metrics = Metrics()
        self.feed = Feed(source, backend=name, kind="ec2", metrics=metrics)
        self.desired = DesiredState(
            [self.feed],
            backend=name,
            policy=a_policy(),
            metrics=metrics,
            clock=lambda: asyncio.get_running_loop().time(),
        )
        self.proxies = [Proxy(each, self.desired) for each in proxies]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def proxy(self) -> Proxy:
        """The only one."""
        (proxy,) = self.proxies
        return proxy

    @property
    def works(self) -> bool:
        """Whether it follows its source."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @property
    def stopped(self) -> bool:
        """Whether it was stopped."""
        return bool(self._tasks) and all(task.cancelled() for task in self._tasks)

    def start(self) -> None:
        """Begin to follow the source."""
        self._tasks = [asyncio.create_task(self.feed.run()), asyncio.create_task(self.desired.run())]

    async def stop(self) -> None:
        """End, as a backend that is removed from the configuration.

        Raises:
            Exception: that of which it had died before.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled():
                task.result()
                raise AssertionError("it ended by itself")
        for proxy in self.proxies:
            proxy.cut_off()

    def look(self, passes: int = 1) -> None:
        """Make whole passes on all proxies."""
        for proxy in self.proxies:
            proxy.look(passes)


class Stage:
    """An AWS, and those who follow it."""

    def __init__(self, fake: FakeAws) -> None:
        self.fake = fake
        self.aws = an_aws(fake)
        self.hooks = LifecycleHooks(self.aws)
        self._polls: dict[Any, Poll] = {}

    def a_backend(
        self,
        name: str = "be_app",
        *,
        interval: float = 5.0,
        filters: Filters = (),
        groups: Sequence[str] = (GROUP,),
        proxies: Sequence[str] = ("lb1",),
        completes: bool = True,
        hook: str | None = None,
        **mapper: Any,
    ) -> AtWork:
        """Return a backend; those with equal requests share a poll."""
        key = (interval, filters, tuple(groups))
        if key not in self._polls:
            self._polls[key] = Poll(self.aws, filters=filters, groups=groups, interval=interval)
        usual: Mapping[str, Any] = {} if mapper.keys() & {"port", "port_tag"} else {"port": 80}
        source = Ec2Source(
            self._polls[key],
            InstanceMapper(**usual, **mapper, removes_terminating=completes),
            backend=name,
            hooks=self.hooks if completes else None,
            hook=hook,
        )
        return AtWork(name, source, proxies)

    @asynccontextmanager
    async def running(self, *backends: AtWork) -> AsyncIterator[None]:
        """Let backends work until the servers that they want are there, and then go on until the end of the block."""
        for backend in backends:
            backend.start()
        await asyncio.sleep(1)
        for backend in backends:
            backend.look(2)
        try:
            yield
        finally:
            for backend in backends:
                if not backend.stopped:
                    await backend.stop()
