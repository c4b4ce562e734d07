"""How long does dynsrv take, its own start excluded? Run by `bench.dynsrv`, in a process of its own as dynsrv is.

    python -m bench.worker apply CONFIGURATION           # what `dynsrv apply` does
    python -m bench.worker passes CONFIGURATION N        # N passes that find nothing to do
    python -m bench.worker change CONFIGURATION FILE     # a new snapshot, FILE, taken as the daemon takes it

It prints seconds, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from dynsrv import logs
from dynsrv.__main__ import spare_the_event_loop
from dynsrv.cli.apply import Apply
from dynsrv.cli.running_daemon import RunningDaemon
from dynsrv.cli.session import Session, first_snapshot
from dynsrv.documents import parse
from dynsrv.haproxy.proxy import HAProxy
from dynsrv.model import Backend
from dynsrv.settings import load
from dynsrv.sources.servers_document import snapshot_of
from dynsrv.steps import Applied, Step


async def apply(session: Session) -> float:
    """Apply, and return the time of the backend that took longest; all begin together."""
    results = await Apply(session.backends, timeout=600, daemon=RunningDaemon()).run()
    missed = [one for one in results if not one.converged]
    if missed:
        raise SystemExit(f"not converged: {missed[0]}")
    return max(one.seconds for one in results)


async def passes(session: Session, number: str) -> list[float]:
    """Return the times of passes, without those of the first ones, which look at more than later ones."""
    (backend,) = session.backends
    desired = await backend.desired(timeout=60)
    took = []
    with backend.reconcilers(force=False) as (reconciler,):
        for _ in range(2 + int(number)):
            began = time.perf_counter()
            await reconciler.attempt(desired)
            took.append(time.perf_counter() - began)
            if reconciler.last is None or not reconciler.last.plan.converged:
                raise SystemExit(f"a pass found something to do: {reconciler.failure}")
    return took[2:]


class _Timed:
    """A proxy that notes when it had carried out steps."""

    def __init__(self, proxy: HAProxy) -> None:
        self.name = proxy.name
        self.observe = proxy.observe
        self.check_accepts = proxy.check_accepts
        self._proxy = proxy
        self.applied_at = 0.0

    async def apply(self, backend: Backend, steps: Sequence[Step]) -> Applied:
        applied = await self._proxy.apply(backend, steps)
        self.applied_at = time.perf_counter()
        return applied


async def change(session: Session, path: str) -> float:
    """Return the time from the new snapshot to the last answer to what it changed."""
    (backend,) = session.backends
    ((spec, proxy),) = backend.on
    timed = _Timed(proxy)
    content = await asyncio.to_thread(Path(path).read_bytes)
    changed = snapshot_of(parse(content, name=path), backend=backend.name)
    feed = backend.factory.feed(backend.spec.sources[0])
    desired = backend.factory.desired_state(backend.spec, [feed])
    reconciler = backend.factory.reconciler(spec, timed)
    feed.publish(await first_snapshot(feed.source, timeout=60))
    await desired.update()
    for _ in range(2):  # as the daemon, which looked at this backend before
        await reconciler.attempt(desired.servers or {})
    began = time.perf_counter()
    feed.publish(changed)
    await desired.update()
    await reconciler.attempt(desired.servers or {})
    return timed.applied_at - began


WORK: dict[str, Callable[..., Coroutine[Any, Any, object]]] = {"apply": apply, "passes": passes, "change": change}


def _main(what: str, configuration: str, *more: str) -> object:
    settings = load(Path(configuration), os.environ)
    logs.configure(level=settings.log.level, form=settings.log.format)
    session = Session(settings, directory=Path(configuration).parent)
    return session.run(WORK[what](session, *more))


if __name__ == "__main__":
    spare_the_event_loop()
    json.dump(_main(*sys.argv[1:]), sys.stdout)
