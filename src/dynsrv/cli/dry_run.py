"""What does HAProxy have, and what would be done about it? Looks once, and changes nothing."""

from __future__ import annotations

import asyncio
import time

from dynsrv.errors import DynsrvError
from dynsrv.haproxy.proxy import HAProxy
from dynsrv.haproxy.support import check_keywords
from dynsrv.planning import Desired, desired_servers, make_plan
from dynsrv.reconcile.history import History
from dynsrv.reconcile.view import BackendView
from dynsrv.wiring import App, ManagedBackend

_SOURCE_TIMEOUT = 10.0


async def plan_all(app: App, *, only: str | None) -> list[BackendView]:
    """Look at every backend of every proxy, or at the backend *only*, all at the same time."""
    views = await asyncio.gather(*(_look_at(backend) for backend in app.backends if only in {None, backend.name}))
    return [one for several in views for one in several]


async def _look_at(backend: ManagedBackend) -> list[BackendView]:
    try:
        desired = desired_servers(await backend.first_snapshot(timeout=_SOURCE_TIMEOUT), backend.policy)
    except DynsrvError as error:
        return [BackendView(backend.name, proxy.name, backend.policy, error=error) for proxy in backend.proxies]
    return await asyncio.gather(*(_look_on(backend, proxy, desired) for proxy in backend.proxies))


async def _look_on(backend: ManagedBackend, proxy: HAProxy, desired: Desired) -> BackendView:
    try:
        observed = await proxy.observe(backend.name, with_maxconn=True)
        check_keywords(observed, backend.policy.options, proxy=proxy.name)
    except DynsrvError as error:
        return BackendView(backend.name, proxy.name, backend.policy, desired=desired, error=error)
    now = time.time()
    history = History(backend.policy).observe(observed, now=now)
    plan = make_plan(desired=desired, observed=observed, history=history, now=now, policy=backend.policy)
    return BackendView(
        backend.name,
        proxy.name,
        backend.policy,
        desired=desired,
        observed=observed,
        plan=plan,
        drains=history.drains,
        seen_at=now,
    )
