"""Everything that `dynsrv run` keeps at work, on HAProxys in memory, one pass at a time; and what is told of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from dynsrv.daemon.operations import Operations
from dynsrv.daemon.runner import BackendRunner, DesiredRunner, ProxyRunner, RunningSet, SourceRunner
from dynsrv.daemon.status import Status
from dynsrv.errors import SourceError
from dynsrv.model import Endpoint, Snapshot
from dynsrv.planning import Policy
from dynsrv.reconcile.view import BackendView
from dynsrv.web.server import application
from tests.fakes.behind import Behind
from tests.fakes.builders import a_policy
from tests.fakes.factory import FakeFactory, a_backend_spec, a_proxy_spec

UNCHECKED = a_policy(options=())


class ABackend:
    """One backend of everything that runs, on all its proxies."""

    def __init__(self, name: str, running: RunningSet, number: int) -> None:
        self._runners = [one for one in running.backends.values() if one.spec.desired.key == (name, number)]
        self.feed = running.sources[name, number].feed
        self.desired = running.desired[name, number].state
        self.reconcilers = [one.reconciler for one in self._runners]

    def views(self) -> list[BackendView]:
        """What the last passes saw, on each proxy."""
        return [one.view() for one in self._runners]


class AtWork:
    """The backend `be_app` on *behinds*, by default one, and whatever else is managed later on."""

    def __init__(self, *behinds: Behind, policy: Policy = UNCHECKED) -> None:
        self._factory = FakeFactory()
        self.metrics = self._factory.metrics
        self.audit_log = self._factory.audit_log
        self.behinds: list[Behind] = []
        self.running = RunningSet()
        self.status = Status(self.running, self.metrics.registry, self.audit_log)
        self.controls = Operations(self.running)
        self.backends: list[ABackend] = []
        self.backend = self.manage(*(behinds or (Behind(),)), policy=policy)
        """That of `be_app`."""

    @property
    def behind(self) -> Behind:
        """The first HAProxy, and all before it."""
        return self.behinds[0]

    def manage(self, *behinds: Behind, name: str = "be_app", policy: Policy = UNCHECKED) -> ABackend:
        """Manage a backend on *behinds*."""
        running, factory = self.running, self._factory
        number = sum(backend == name for backend, _ in running.desired)
        for behind in behinds:
            proxy = a_proxy_spec(behind.proxy.name)
            if proxy.key not in running.proxies:
                factory.behinds[proxy.key] = behind
                running.proxies[proxy.key] = ProxyRunner(proxy, factory)
                self.behinds.append(behind)
            spec = a_backend_spec(name, proxy, number=number, policy=policy)
            key = spec.desired.key
            if key not in running.sources:
                (source,) = spec.desired.sources
                running.sources[key] = SourceRunner(source, factory)
                running.desired[key] = DesiredRunner(spec.desired, factory, [running.sources[key].feed])
            running.backends[spec.key] = BackendRunner(spec, factory, running.desired[key], running.proxies[proxy.key])
        self.backends.append(ABackend(name, running, number))
        return self.backends[-1]

    # ---- what happens

    def want(self, *endpoints: Endpoint, notes: Sequence[str] = ()) -> None:
        """Let the source of `be_app` want these."""
        self.backend.feed.publish(Snapshot(endpoints, tuple(notes)))

    def break_source(self, error: SourceError) -> None:
        """Let the source of `be_app` fail from now on."""
        self.backend.feed.failure = error

    async def passes(self, count: int = 1) -> None:
        """Ask every HAProxy who it is, and make passes over all backends whose source has answered."""
        for runner in self.running.proxies.values():
            await runner.watch.probe()
        for _ in range(count):
            for backend in self.backends:
                await backend.desired.update()
                if backend.desired.servers is not None:
                    for reconciler in backend.reconcilers:
                        await reconciler.attempt(backend.desired.servers)

    async def settle(self, *endpoints: Endpoint) -> None:
        """Let the source want these, and make passes until that is so everywhere."""
        self.want(*endpoints)
        for _ in range(10):
            await self.passes()
            if all(look.converged for look in self.backend.views()):
                return
            for behind in self.behinds:
                behind.haproxy.advance(1)
                behind.haproxy.run_checks()
        raise AssertionError("not converged")

    def woken(self) -> list[str]:
        """Return the proxies on which `be_app` is to be looked at again at once, and let that be over."""
        names = []
        for reconciler in self.backend.reconcilers:
            if reconciler._wake.is_set():
                names.append(reconciler.proxy.name)
                reconciler._wake.clear()
        return names

    # ---- what is told

    def site(self) -> web.Application:
        """Return the application, to which nobody may write."""
        return application(self.status, self.controls, token_file=None)

    async def told(self) -> dict[str, Any]:
        """Return what /api/v1/status tells now."""
        request = make_mocked_request("GET", "/api/v1/status")
        match = await self.site().router.resolve(request)
        response = await match.handler(request)
        assert isinstance(response, web.Response)
        assert response.text is not None
        told: dict[str, Any] = json.loads(response.text)
        return told

    async def told_of(self, server: str) -> dict[str, Any]:
        """Return what is told of one server of the first backend."""
        servers = (await self.told())["backends"][0]["servers"]
        return next(one for one in servers if one["name"] == server)
