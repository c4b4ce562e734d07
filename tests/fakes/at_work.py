"""Everything that `dynsrv run` keeps at work, on HAProxys in memory, one pass at a time; and what is told of it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from dynsrv.daemon.operations import Operations
from dynsrv.daemon.runner import Running, Unit
from dynsrv.daemon.status import Status
from dynsrv.errors import SourceError
from dynsrv.haproxy.liveness import ProcessWatch
from dynsrv.metrics import Metrics
from dynsrv.model import Endpoint, Snapshot
from dynsrv.planning import Policy
from dynsrv.reconcile.audit import AuditLog
from dynsrv.settings import BackendSettings, ProxySettings
from dynsrv.settings.process import ResyncSettings
from dynsrv.web.server import application
from dynsrv.wiring import App, ManagedBackend, ManagedProxy
from tests.fakes.behind import Behind
from tests.fakes.builders import a_policy
from tests.fakes.sources import ScriptedSource

UNCHECKED = a_policy(options=())
_PLACE = {"directory": Path("/etc/dynsrv")}


class AtWork:
    """The backend `be_app` on *behinds*, by default one, and whatever else is managed later on."""

    def __init__(self, *behinds: Behind, policy: Policy = UNCHECKED) -> None:
        self.metrics = Metrics()
        self.audit_log = AuditLog()
        self.behinds: list[Behind] = []
        self._app = SimpleNamespace(metrics=self.metrics, audit_log=self.audit_log, proxies={})
        self.running = Running(cast(App, self._app))
        self.status = Status(self.running)
        self.controls = Operations(self.running)
        self.unit = self.manage(*(behinds or (Behind(),)), policy=policy)
        """That of `be_app`."""

    @property
    def behind(self) -> Behind:
        """The first HAProxy, and all before it."""
        return self.behinds[0]

    def manage(self, *behinds: Behind, name: str = "be_app", policy: Policy = UNCHECKED) -> Unit:
        """Manage a backend on *behinds*."""
        for behind in behinds:
            proxy = behind.proxy
            if proxy.name not in self._app.proxies:
                address = {"name": proxy.name, "address": f"/run/haproxy/{proxy.name}.sock"}
                settings = ProxySettings.model_validate(address, context=_PLACE)
                self._app.proxies[proxy.name] = ManagedProxy(settings, 1.0, behind.client, proxy)
                self.running.probes[proxy] = ProcessWatch(proxy, interval=1.0, metrics=self.metrics)
                self.behinds.append(behind)
        source = {"kind": "file", "path": "servers.yaml"}
        backend = ManagedBackend(
            BackendSettings.model_validate({"name": name, "source": source}, context=_PLACE),
            ResyncSettings(),
            ScriptedSource(),
            policy,
            tuple(behind.proxy for behind in behinds),
        )
        unit = self.running.units[backend] = Unit(backend, self.running.app)
        return unit

    # ---- what happens

    def want(self, *endpoints: Endpoint, notes: Sequence[str] = ()) -> None:
        """Let the source of `be_app` want these."""
        self.unit.feed.publish(Snapshot(endpoints, tuple(notes)))

    def break_source(self, error: SourceError) -> None:
        """Let the source of `be_app` fail from now on."""
        self.unit.feed.failure = error

    async def passes(self, count: int = 1) -> None:
        """Ask every HAProxy who it is, and make passes over all backends whose source has answered."""
        for probe in self.running.probes.values():
            await probe.look()
        for _ in range(count):
            for unit in self.running.units.values():
                await unit.desired.update()
                if unit.desired.servers is not None:
                    for reconciler in unit.reconcilers:
                        await reconciler.attempt(unit.desired.servers)

    async def settle(self, *endpoints: Endpoint) -> None:
        """Let the source want these, and make passes until that is so everywhere."""
        self.want(*endpoints)
        for _ in range(10):
            await self.passes()
            if all(look.converged for look in self.unit.views()):
                return
            for behind in self.behinds:
                behind.haproxy.advance(1)
                behind.haproxy.run_checks()
        raise AssertionError("not converged")

    def woken(self) -> list[str]:
        """Return the proxies on which `be_app` is to be looked at again at once, and let that be over."""
        names = []
        for reconciler in self.unit.reconcilers:
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


def in_a_minute() -> float:
    """Return a Unix time that is not over when the test is."""
    return time.time() + 60
