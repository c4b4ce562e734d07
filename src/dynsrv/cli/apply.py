"""Has everything that is desired now been done? Passes over all backends until there is nothing left to do."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass

from rich.console import Console

from dynsrv.errors import DynsrvError
from dynsrv.haproxy.proxy import HAProxy
from dynsrv.planning import Desired, desired_servers
from dynsrv.reconcile.reconciler import Reconciler
from dynsrv.reconcile.result import Result
from dynsrv.wiring import App, ManagedBackend


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What became of one backend of one proxy. *left* says what is not done, one sentence each."""

    backend: str
    proxy: str
    steps: int
    seconds: float
    converged: bool
    left: tuple[str, ...] = ()
    error: str | None = None


class Apply:
    """One run of `dynsrv apply` over the backend *only*, or over all, *timeout* seconds at most.

    *force* overrides the guard.
    """

    def __init__(self, app: App, *, only: str | None, timeout: float, force: bool = False) -> None:
        self._app = app
        self._only = only
        self._timeout = timeout
        self._force = force
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
        """Make the passes and return what became of each backend of each proxy."""
        backends = [backend for backend in self._app.backends if self._only in {None, backend.name}]
        deadline = time.monotonic() + self._timeout
        with self._progress:
            settled = await asyncio.gather(*(self._backend(backend, deadline) for backend in backends))
        return [one for several in settled for one in several]

    async def _backend(self, backend: ManagedBackend, deadline: float) -> list[ApplyResult]:
        try:
            snapshot = await backend.first_snapshot(timeout=self._timeout)
        except DynsrvError as error:
            return [
                ApplyResult(backend.name, proxy.name, 0, 0.0, converged=False, error=str(error))
                for proxy in backend.proxies
            ]
        desired = desired_servers(snapshot, backend.policy)
        return await asyncio.gather(*(self._proxy(backend, proxy, desired, deadline) for proxy in backend.proxies))

    async def _proxy(self, backend: ManagedBackend, proxy: HAProxy, desired: Desired, deadline: float) -> ApplyResult:
        reconciler = backend.reconciler(proxy, self._app, force=self._force)
        task = self._progress.add_task(f"{backend.name} on {proxy.name}", total=None)
        began = time.monotonic()
        steps = 0
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
        return _settled(reconciler, steps=steps, seconds=time.monotonic() - began)


def _is_final(reconciler: Reconciler) -> bool:
    """Whether another pass would not help; one that only met a reload would."""
    if reconciler.failure is not None:
        return True
    return reconciler.last is not None and reconciler.last.final


def _settled(reconciler: Reconciler, *, steps: int, seconds: float) -> ApplyResult:
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
