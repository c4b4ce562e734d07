"""What would be done, and why? The engine of `dynsrv plan` and `dynsrv status`, which changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from dynsrv.cli.running_daemon import RunningDaemon
from dynsrv.cli.session import Backend
from dynsrv.errors import DynsrvError
from dynsrv.haproxy.proxy import HAProxy
from dynsrv.haproxy.support import check_keywords
from dynsrv.planning import Desired, make_plan
from dynsrv.reconcile.history import History
from dynsrv.reconcile.view import BackendView

_SOURCE_TIMEOUT = 10.0


async def plan_all(backends: Iterable[Backend], daemon: RunningDaemon) -> list[BackendView]:
    """Return the current state and the plan of each backend on each of its proxies.

    What the guard of the running *daemon* blocks is blocked in the plan, too.
    """
    views = await asyncio.gather(*(_plan_backend(backend, daemon) for backend in backends))
    return [one for several in views for one in several]


async def _plan_backend(backend: Backend, daemon: RunningDaemon) -> list[BackendView]:
    try:
        desired = await backend.desired(timeout=_SOURCE_TIMEOUT)
    except DynsrvError as error:
        return await asyncio.gather(*(_observe_on(proxy, backend, error) for proxy in backend.proxies))
    return await asyncio.gather(*(_plan_on(proxy, backend, desired, daemon) for proxy in backend.proxies))


async def _observe_on(proxy: HAProxy, backend: Backend, failure: DynsrvError) -> BackendView:
    """Return what *proxy* has, although *failure* leaves the desired servers unknown."""
    try:
        observed = await proxy.observe(backend.name, with_maxconn=True)
    except DynsrvError as error:
        both = DynsrvError(f"{failure}; {error}")
        return BackendView(backend.name, proxy.name, backend.policy, error=both)
    return BackendView(backend.name, proxy.name, backend.policy, observed=observed, error=failure, seen_at=time.time())


async def _plan_on(proxy: HAProxy, backend: Backend, desired: Desired, daemon: RunningDaemon) -> BackendView:
    try:
        observed = await proxy.observe(backend.name, with_maxconn=True)
        check_keywords(observed, backend.policy.options, proxy=proxy.name)
        now = time.time()
        history = History(backend.policy).observe(observed, now=now)
        plan = make_plan(desired=desired, observed=observed, history=history, now=now, policy=backend.policy)
        if plan.adds:
            await proxy.check_accepts(observed)
    except DynsrvError as error:
        return BackendView(backend.name, proxy.name, backend.policy, desired=desired, error=error)
    plan = daemon.guarded(plan, backend=backend.name, proxy=proxy.name, process=observed.process)
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
