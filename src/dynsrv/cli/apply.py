"""How is HAProxy brought in sync, once? The engine of `dynsrv apply`: passes until nothing is left to do."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console

from dynsrv.cli.running_daemon import RunningDaemon
from dynsrv.cli.session import Backend
from dynsrv.errors import DynsrvError
from dynsrv.planning import Desired
from dynsrv.reconcile.reconciler import Reconciler
from dynsrv.reconcile.result import Result


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """The result for one backend on one proxy. *left* has a sentence for everything that is not done."""

    backend: str
    proxy: str
    steps: int
    seconds: float
    converged: bool
    left: tuple[str, ...] = ()
    error: str | None = None


class Apply:
    """One run of `dynsrv apply` over *backends*, *timeout* seconds at most.

    Where the guard of the running *daemon* blocks removals, nothing is changed. *force* overrides every guard.
    """

    def __init__(
        self, backends: Iterable[Backend], *, timeout: float, daemon: RunningDaemon, force: bool = False
    ) -> None:
        self._backends = list(backends)
        self._timeout = timeout
        self._force = force
        self._daemon = daemon
        from rich import progress  # noqa: PLC0415 - output.py imports this module, and shows no progress

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )

    async def run(self) -> list[ApplyResult]:
        """Reconcile, and return the result for each backend on each of its proxies."""
        deadline = time.monotonic() + self._timeout
        with self._progress:
            results = await asyncio.gather(*(self._backend(backend, deadline) for backend in self._backends))
        return [one for several in results for one in several]

    async def _backend(self, backend: Backend, deadline: float) -> list[ApplyResult]:
        try:
            desired = await backend.desired(timeout=self._timeout)
        except DynsrvError as error:
            return [
                ApplyResult(backend.name, proxy.name, 0, 0.0, converged=False, error=str(error))
                for proxy in backend.proxies
            ]
        with backend.reconcilers(force=self._force) as reconcilers:
            return await asyncio.gather(*(self._reconcile(one, desired, deadline) for one in reconcilers))

    async def _reconcile(self, reconciler: Reconciler, desired: Desired, deadline: float) -> ApplyResult:
        task = self._progress.add_task(f"{reconciler.backend} on {reconciler.proxy.name}", total=None)
        began = time.monotonic()
        steps = 0
        if not self._force and (refused := await self._refused_by_daemon(reconciler)):
            return ApplyResult(reconciler.backend, reconciler.proxy.name, 0, 0.0, converged=False, error=refused)
        while True:
            delay = await reconciler.attempt(desired)
            this = reconciler.last
            if this is not None:
                steps += this.done
                self._progress.update(task, completed=steps, total=steps + len(this.waits))
            late = time.monotonic() + delay > deadline
            if _is_final(reconciler) or late:
                break
            await asyncio.sleep(delay)
        return _result(reconciler, steps=steps, seconds=time.monotonic() - began)

    async def _refused_by_daemon(self, reconciler: Reconciler) -> str | None:
        """Return what the guard of the running daemon blocks, which knows what was removed within its window."""
        backend, proxy = reconciler.backend, reconciler.proxy
        try:
            process = (await proxy.observe(backend, with_maxconn=False)).process
        except DynsrvError:
            return None  # the first pass reports it
        plan = self._daemon.guards(backend, proxy.name, process)
        if plan is None:
            return None
        reasons = "; ".join(one.reason for one in plan.refusals or ())
        return f"guard of the running daemon: {reasons}"


def _is_final(reconciler: Reconciler) -> bool:
    """Whether another pass would not help. After a reload of HAProxy it would."""
    if reconciler.failure is not None:
        return True
    return reconciler.last is not None and reconciler.last.final


def _result(reconciler: Reconciler, *, steps: int, seconds: float) -> ApplyResult:
    last = reconciler.last
    error = str(reconciler.failure) if reconciler.failure else None
    left: list[str] = []
    if error is None and last is not None:
        refused = [f"{one.step.server}: HAProxy refused to {one.step.kind}: {one.detail}" for one in last.refused]
        guarded = [f"guard: {refusal.reason}" for refusal in last.plan.refusals]
        left = [*guarded, *refused, *(f"{wait.server}: {wait.reason}" for wait in last.waits)]
        if left and last.final:
            error = "; ".join([*guarded, *refused])
    return ApplyResult(
        reconciler.backend,
        reconciler.proxy.name,
        steps,
        seconds,
        converged=last is not None and error is None and last.result is Result.CONVERGED,
        left=tuple(left),
        error=error,
    )
