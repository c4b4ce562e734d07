"""What may an operator ask for? To hold or release a server, to override the guard, and to reconcile now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from dynsrv.api_model import OperationResult
from dynsrv.daemon.runner import RunningSet
from dynsrv.errors import ActionRefused, DynsrvError
from dynsrv.logs import Event, get_logger
from dynsrv.model import AdminState, Server
from dynsrv.planning import held
from dynsrv.reconcile.reconciler import Reconciler
from dynsrv.steps import Admit, Disable, Drain, Outcome, Step
from dynsrv.web.interfaces import ActionResult

log = get_logger()


class Operations:
    """Has the reconcilers of what is *running* do it, each on its proxy. Each method returns the result of each proxy.

    All raise `ActionRefused` if it can be done on no proxy. If it can be done on some, it is done there, and the result
    of the others is a refusal.
    """

    def __init__(self, running: RunningSet) -> None:
        self._running = running

    async def hold(self, backend: str, server: str, *, state: AdminState, proxy: str | None) -> ActionResult:
        """Put a server into drain or maintenance, where it stays until it is released, or set to ready by hand."""

        def step(found: Server) -> Step:
            if found.admin is not AdminState.READY:
                raise ActionRefused("conflict", f"the server {server} is in {found.admin} already")
            if found.weight == 0:
                problem = f"the server {server} has weight 0; dynsrv could not tell your drain from its own"
                raise ActionRefused("conflict", problem)
            reason = "held by an operator through the API"
            return Drain(server, reason) if state is AdminState.DRAIN else Disable(server, reason)

        return await self._each(backend, server, proxy, step)

    async def release(self, backend: str, server: str, *, proxy: str | None) -> ActionResult:
        """Enable a server that an operator holds."""

        def step(found: Server) -> Step:
            if not held(found):
                raise ActionRefused("conflict", f"the server {server} is not held by an operator")
            return Admit(server, "released by an operator through the API")

        return await self._each(backend, server, proxy, step)

    def override_guard(self, backend: str, *, seconds: float, proxy: str | None) -> ActionResult:
        """Override the guard for so many seconds; 0 ends an override."""
        reconcilers = self._reconcilers(backend, proxy)
        for one in reconcilers:
            one.override_guard(seconds=seconds)
        if seconds:
            log.warning(Event.GUARD_OVERRIDDEN, backend=backend, proxy=proxy, seconds=seconds)
        else:
            log.warning(Event.GUARD_OVERRIDE_ENDED, backend=backend, proxy=proxy)
        return [_done(one) for one in reconcilers]

    def reconcile(self, *, backend: str | None, proxy: str | None) -> ActionResult:
        """Make a pass now."""
        reconcilers = self._reconcilers(backend, proxy)
        for one in reconcilers:
            one.wake()
        return [_done(one) for one in reconcilers]

    async def _each(self, backend: str, server: str, proxy: str | None, step: Callable[[Server], Step]) -> ActionResult:
        reconcilers = self._reconcilers(backend, proxy)
        results = await asyncio.gather(*(_perform(one, server, step) for one in reconcilers))
        refused = [one for one in results if isinstance(one, ActionRefused)]
        if len(refused) == len(results):
            # a wrong state on one proxy says more than that another proxy has no such server
            raise next((one for one in refused if one.reason == "conflict"), refused[0])
        return [
            _done(one, outcome=Outcome.REFUSED, detail=str(result)) if isinstance(result, ActionRefused) else result
            for one, result in zip(reconcilers, results, strict=True)
        ]

    def _reconcilers(self, backend: str | None, proxy: str | None) -> list[Reconciler]:
        runners = [one for one in self._running.backends.values() if backend in {None, one.spec.name}]
        if not runners:
            raise ActionRefused("not_found", f"there is no backend {backend} in dynsrv's configuration")
        found = [one.reconciler for one in runners if proxy in {None, one.spec.proxy.key}]
        if not found:
            named = "" if backend is None else f" {backend}"
            raise ActionRefused("not_found", f"no backend{named} is managed on a proxy {proxy}")
        return found


async def _perform(
    reconciler: Reconciler, server: str, step: Callable[[Server], Step]
) -> OperationResult | ActionRefused:
    """Do one step on one proxy, or return why not."""
    try:
        result = await reconciler.perform(server, step)
    except ActionRefused as refused:
        return refused
    except DynsrvError as error:
        return _done(reconciler, outcome="error", detail=str(error))
    return _done(reconciler, outcome=result.outcome, detail=result.detail)


def _done(
    reconciler: Reconciler, *, outcome: Outcome | Literal["error"] = Outcome.DONE, detail: str = ""
) -> OperationResult:
    return OperationResult(backend=reconciler.backend, proxy=reconciler.proxy.name, outcome=outcome, detail=detail)
