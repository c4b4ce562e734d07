"""Has everything that is desired now been done? Passes over all backends until there is nothing left to do."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dynsrv.app import App, ManagedBackend
from dynsrv.errors import DynsrvError
from dynsrv.planning import Targets, targets
from dynsrv.proxy import HAProxy
from dynsrv.reconciler import Reconciler, Result


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one backend of one proxy. *left* says what is not done, one sentence each."""

    backend: str
    proxy: str
    steps: int
    seconds: float
    converged: bool
    left: tuple[str, ...] = ()
    error: str | None = None


class Applying:
    """One run of `dynsrv apply` over the backend *only*, or over all; *timeout* is in seconds, for all together."""

    def __init__(self, app: App, *, only: str | None, timeout: float) -> None:
        self._app = app
        self._only = only
        self._timeout = timeout
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )

    async def run(self) -> list[Settled]:
        """Make the passes and return what became of each backend of each proxy."""
        backends = [backend for backend in self._app.backends if self._only in {None, backend.name}]
        deadline = time.monotonic() + self._timeout
        with self._progress:
            settled = await asyncio.gather(*(self._backend(backend, deadline) for backend in backends))
        return [one for several in settled for one in several]

    async def _backend(self, backend: ManagedBackend, deadline: float) -> list[Settled]:
        try:
            snapshot = await backend.first_snapshot(timeout=self._timeout)
        except DynsrvError as error:
            return [
                Settled(backend.name, proxy.name, 0, 0.0, converged=False, error=str(error))
                for proxy in backend.proxies
            ]
        desired = targets(snapshot, backend.policy)
        return await asyncio.gather(*(self._proxy(backend, proxy, desired, deadline) for proxy in backend.proxies))

    async def _proxy(self, backend: ManagedBackend, proxy: HAProxy, desired: Targets, deadline: float) -> Settled:
        reconciler = self._app.reconciler(backend, proxy)
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
    """Whether another pass would not help."""
    if reconciler.failure is not None:
        return True
    last = reconciler.last
    if last is None:  # HAProxy was reloaded during the first pass
        return False
    return last.result is Result.CONVERGED or (last.result is Result.REFUSED and not last.waits)


def _settled(reconciler: Reconciler, *, steps: int, seconds: float) -> Settled:
    last = reconciler.last
    error = str(reconciler.failure) if reconciler.failure else None
    left: tuple[str, ...] = ()
    if error is None and last is not None and last.result is not Result.CONVERGED:
        refused = [f"{one.step.server}: HAProxy refused to {one.step.kind}: {one.detail}" for one in last.refused]
        left = (*refused, *(f"{wait.server}: {wait.reason}" for wait in last.waits))
        if last.result is Result.REFUSED and not last.waits:
            error = "; ".join(refused)
    return Settled(
        reconciler.backend,
        reconciler.proxy.name,
        steps,
        seconds,
        converged=last is not None and error is None and last.result is Result.CONVERGED,
        left=left,
        error=error,
    )
