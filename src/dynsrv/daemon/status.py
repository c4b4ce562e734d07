"""What does dynsrv know of everything that it keeps? Told as plain data, from what the last passes saw."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from dynsrv import __version__
from dynsrv.daemon.runner import Running, Unit
from dynsrv.model import host_port
from dynsrv.reconcile.audit import Change
from dynsrv.reconcile.view import BackendView, iso_time
from dynsrv.web.event_stream import Rows, StatusSection


class Status:
    """Reads what is *running*, and asks nobody."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._started = time.time()

    @property
    def registry(self) -> CollectorRegistry:
        """All metrics."""
        return self._running.app.metrics.registry

    def not_ready(self) -> Iterator[str]:
        """Yield why a backend had no first pass yet, for each proxy where that is so."""
        for unit in self._units:
            for view in unit.views():
                if view.plan is not None:
                    continue
                if unit.desired.servers is None:
                    why = unit.desired.failure or "the source has not answered yet"
                    yield f"{_where(view)}: {why}"
                else:
                    yield str(view.error or f"{_where(view)}: the first pass is not over")

    def degraded(self) -> Iterator[str]:
        """Yield what is wrong though the backends are managed."""
        for unit in self._units:
            if unit.feed.failure is not None:
                yield f"backend {unit.backend.name}: {unit.feed.failure}"
            for view in unit.views():
                if view.error is not None:
                    yield f"{_where(view)}: {view.error}"
                elif view.plan is not None:
                    for refusal in view.plan.refusals:
                        yield f"{_where(view)}: guard: {refusal.reason}"

    def about(self) -> dict[str, Any]:
        """Return what dynsrv is."""
        return {"version": __version__, "started": iso_time(self._started)}

    def proxies(self) -> Iterator[dict[str, Any]]:
        """Yield each proxy, with what it last answered."""
        for proxy in self._running.app.proxies.values():
            probe = self._running.probes.get(proxy.haproxy)
            process = probe.process if probe else None
            failure = probe.failure if probe else None
            yield {
                "proxy": proxy.settings.name,
                "address": proxy.settings.address,
                "up": process is not None and failure is None,
                "version": process.version if process else None,
                "pid": process.pid if process else None,
                "error": None if failure is None else str(failure),
            }

    def sources(self) -> Iterator[dict[str, Any]]:
        """Yield the source of each backend, with what it last answered."""
        for unit in self._units:
            feed = unit.feed
            yield {
                "backend": unit.backend.name,
                "proxies": [one.name for one in unit.backend.proxies],
                "kind": unit.backend.settings.source.kind,
                "up": feed.failure is None and feed.snapshot is not None,
                "reason": feed.failure.reason if feed.failure else None,
                "error": str(feed.failure) if feed.failure else None,
                "last_answer": iso_time(feed.answered_at),
                "endpoints": None if feed.snapshot is None else len(feed.snapshot.endpoints),
                "ignored": list(feed.notes),
            }

    def backends(self) -> Iterator[tuple[BackendView, dict[str, Any]]]:
        """Yield each backend on each of its proxies: as it was seen, and without its servers as plain data."""
        for unit in self._units:
            for view, reconciler in zip(unit.views(), unit.reconcilers, strict=True):
                until = reconciler.override_until
                overridden = until > time.time()
                yield view, {**view.summary(), "guard_overridden_until": iso_time(until) if overridden else None}

    def changes(self) -> list[dict[str, Any]]:
        """Return the last changes, the oldest first."""
        return [_change(one) for one in self._running.app.audit_log.recent]

    def sections(self) -> Iterator[StatusSection]:
        """Yield everything in parts that change each for itself."""
        about = self.about()
        yield StatusSection("dynsrv", (about,), lambda: [("dynsrv", about)])
        for proxy in self.proxies():
            key = f"proxy:{proxy['proxy']}"
            yield StatusSection(key, (proxy,), partial(_row, key, proxy))
        for source in self.sources():
            # two may feed a backend, each on proxies of its own
            key = f"source:{source['backend']}@{source['proxies'][0]}"
            yield StatusSection(key, (source,), partial(_row, key, source))
        for view, data in self.backends():
            where = f"{view.backend}@{view.proxy}"
            yield StatusSection(f"backend:{where}", (data,), partial(_row, f"backend:{where}", data))
            seen = (view.policy, view.observed, view.plan, view.desired, view.drains)
            yield StatusSection(f"servers:{where}", seen, partial(_server_rows, view))
        recent = tuple(self._running.app.audit_log.recent)
        yield StatusSection("changes", recent[-1:], lambda: ((f"change:{one.number}", _change(one)) for one in recent))

    @property
    def _units(self) -> list[Unit]:
        return list(self._running.units.values())


def _where(view: BackendView) -> str:
    return f"backend {view.backend} on {view.proxy}"


def _change(change: Change) -> dict[str, Any]:
    return {**asdict(change), "time": iso_time(change.time)}


def _row(key: str, data: dict[str, Any]) -> Rows:
    return [(key, data)]


def _server_rows(view: BackendView) -> Rows:
    where, of = f"{view.backend}@{view.proxy}", {"backend": view.backend, "proxy": view.proxy}
    for server in view.servers():
        yield f"server:{where}:{server['name']}", of | server
    for missing in view.missing():
        yield f"missing:{where}:{host_port(missing['address'], missing['port'])}", of | missing
