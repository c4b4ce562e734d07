"""What may an operator ask of what runs? To hold a server and to release it, to override the guard, to look again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from dynsrv.api_model import OperationResult
from dynsrv.daemon.runner import BackendRunner, RunningSet
from dynsrv.errors import DynsrvError
from dynsrv.logs import Event, get_logger
from dynsrv.model import AdminState, Backend, Server
from dynsrv.planning import held
from dynsrv.reconcile.reconciler import Reconciler
from dynsrv.steps import Admit, Disable, Drain, Outcome, Step
from dynsrv.web.interfaces import ActionRefused, ActionResult

log = get_logger()


class Operations:
    """Acts on what is *running*, once. Each method returns what became of it, a mapping for each proxy.

    All raise `ActionRefused` where there is nothing to act on, or nothing that may be done, on any proxy. What may be
    done on some is done there, and reported as refused for the others.
    """

    def __init__(self, running: RunningSet) -> None:
        self._running = running

    async def hold(self, backend: str, server: str, *, state: AdminState, proxy: str | None) -> ActionResult:
        """Put a server into drain or maintenance, where it stays until it is released or set ready by hand."""

        def step(found: Server) -> Step:
            if found.admin is not AdminState.READY:
                raise ActionRefused(409, f"the server {server} is in {found.admin} already")
            if found.weight == 0:
                raise ActionRefused(
                    409, f"the server {server} has weight 0; dynsrv could not tell your drain from its own"
                )
            reason = "held by an operator through the API"
            return Drain(server, reason) if state is AdminState.DRAIN else Disable(server, reason)

        return await self._each(backend, server, proxy, step)

    async def release(self, backend: str, server: str, *, proxy: str | None) -> ActionResult:
        """Let a server that an operator holds get requests again."""

        def step(found: Server) -> Step:
            if not held(found):
                raise ActionRefused(409, f"the server {server} is not held by an operator")
            return Admit(server, "released by an operator through the API")

        return await self._each(backend, server, proxy, step)

    def override_guard(self, backend: str, *, seconds: float, proxy: str | None) -> ActionResult:
        """Let the guard let everything through for so many seconds; 0: not any more."""
        pairs = self._reconcilers(backend, proxy)
        for _, one in pairs:
            one.override_until = time.time() + seconds if seconds else 0.0
            one.wake()
        if seconds:
            log.warning(Event.GUARD_OVERRIDDEN, backend=backend, proxy=proxy, seconds=seconds)
        else:
            log.warning(Event.GUARD_OVERRIDE_ENDED, backend=backend, proxy=proxy)
        return [_done(one) for _, one in pairs]

    def reconcile(self, *, backend: str | None, proxy: str | None) -> ActionResult:
        """Look at HAProxy again now."""
        pairs = self._reconcilers(backend, proxy)
        for _, one in pairs:
            one.wake()
        return [_done(one) for _, one in pairs]

    async def _each(self, backend: str, server: str, proxy: str | None, step: Callable[[Server], Step]) -> ActionResult:
        pairs = self._reconcilers(backend, proxy)
        found = await asyncio.gather(*(self._act(runner, one, server, step) for runner, one in pairs))
        denied = [one for one in found if isinstance(one, ActionRefused)]
        if len(denied) == len(found):
            raise max(denied, key=lambda one: one.status)  # a wrong state tells more than an absence
        return [
            _done(one, outcome=Outcome.REFUSED, detail=str(became)) if isinstance(became, ActionRefused) else became
            for (_, one), became in zip(pairs, found, strict=True)
        ]

    async def _act(
        self, runner: BackendRunner, reconciler: Reconciler, server: str, step: Callable[[Server], Step]
    ) -> OperationResult | ActionRefused:
        """Do one step on one proxy, or return why not."""
        if not runner.spec.desired.policy.owns(server):
            return ActionRefused(403, f"the server {server} is not dynsrv's, which never touches others")

        def choose(observed: Backend) -> Step:
            found = next((one for one in observed.servers if one.name == server), None)
            if found is None:
                raise ActionRefused(404, f"there is no server {server} in the backend {reconciler.backend}")
            return step(found)

        try:
            result = await reconciler.perform(choose)
        except ActionRefused as denied:
            return denied
        except DynsrvError as error:
            return _done(reconciler, outcome="error", detail=str(error))
        return _done(reconciler, outcome=result.outcome, detail=result.detail)

    def _reconcilers(self, backend: str | None, proxy: str | None) -> list[tuple[BackendRunner, Reconciler]]:
        runners = [one for one in self._running.backends.values() if backend in {None, one.spec.name}]
        if not runners:
            raise ActionRefused(404, f"there is no backend {backend} in dynsrv's configuration")
        found = [(one, one.reconciler) for one in runners if proxy in {None, one.spec.proxy.key}]
        if not found:
            raise ActionRefused(
                404, f"no backend{f' {backend}' if backend is not None else ''} is managed on a proxy {proxy}"
            )
        return found


def _done(
    reconciler: Reconciler, *, outcome: Outcome | Literal["error"] = Outcome.DONE, detail: str = ""
) -> OperationResult:
    return OperationResult(backend=reconciler.backend, proxy=reconciler.proxy.name, outcome=outcome, detail=detail)
