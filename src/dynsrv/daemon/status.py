"""What is the state of everything that dynsrv manages? Read from memory, as the last passes left it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry

from dynsrv import __version__
from dynsrv.api_model import About, Change, ConfigFileStatus, ProxyStatus, Row, SourceStatus, utc_time
from dynsrv.daemon.runner import RunningSet
from dynsrv.model import host_port
from dynsrv.reconcile.audit import AuditLog
from dynsrv.reconcile.view import BackendView
from dynsrv.specs import DesiredKey
from dynsrv.web.event_stream import Rows, StatusSection


class Status:
    """The status of what is *running*. Nothing here sends a request to HAProxy or to a source.

    *registry* has all metrics, *audit_log* the most recent changes.
    """

    def __init__(self, running: RunningSet, registry: CollectorRegistry, audit_log: AuditLog) -> None:
        self.registry = registry
        self._running = running
        self._audit_log = audit_log
        self._started = time.time()
        self.configuration_error: str | None = None
        """Why the configuration file could not be used at the last reload; None if it could."""

    def not_ready(self) -> Iterator[str]:
        """Yield, for each backend and proxy that had no pass yet, the reason."""
        for runner in self._running.backends.values():
            view = runner.view()
            if view.plan is not None:
                continue
            if view.desired is None:
                why = runner.desired.failure or "the source has not answered yet"
                yield f"{_where(view)}: {why}"
            else:
                yield str(view.error or f"{_where(view)}: the first pass is not over")

    def degraded(self) -> Iterator[str]:
        """Yield the problem of the configuration file, and those of backends that had a first pass."""
        if self.configuration_error is not None:
            yield f"configuration: the previous one is in use: {self.configuration_error}"
        for source in self._running.sources.values():
            if source.feed.failure is not None:
                yield f"backend {source.spec.backend}: {source.feed.failure}"
        for file in self._running.config_files.values():
            if file.writer.failure is not None:
                yield str(file.writer.failure)
        for runner in self._running.backends.values():
            view = runner.view()
            if runner.persisted.problem is not None:
                yield f"{_where(view)}: {runner.persisted.problem}"
            if view.error is not None:
                yield f"{_where(view)}: {view.error}"
            elif view.plan is not None:
                for refusal in view.plan.refusals:
                    yield f"{_where(view)}: guard: {refusal.reason}"

    def about(self) -> About:
        """Return the version of dynsrv, and since when it runs."""
        return About(version=__version__, started=utc_time(self._started), configuration_error=self.configuration_error)

    def proxies(self) -> Iterator[ProxyStatus]:
        """Yield each proxy, as it last answered."""
        for runner in self._running.proxies.values():
            process, failure = runner.watch.process, runner.watch.failure
            yield ProxyStatus(
                proxy=runner.spec.key,
                address=runner.spec.settings.address,
                up=process is not None and failure is None,
                version=process.version if process else None,
                pid=process.pid if process else None,
                error=None if failure is None else str(failure),
                config_files=[self._config_file(file.key, runner.spec.key) for file in runner.spec.config_files],
            )

    def _config_file(self, path: Path, proxy: str) -> ConfigFileStatus:
        writer = self._running.config_files[path].writer
        backends = [one for one in self._running.backends.values() if one.spec.proxy.key == proxy]
        problems = [one.persisted.problem for one in backends]
        errors = [writer.failure] if writer.failure else [one for one in problems if one and one.path == str(path)]
        return ConfigFileStatus(
            path=str(path),
            written=utc_time(writer.written_at),
            error="; ".join(map(str, errors)) if errors else None,
        )

    def sources(self) -> Iterator[SourceStatus]:
        """Yield the source of each backend, as it last answered."""
        proxies = defaultdict[DesiredKey, list[str]](list)
        for backend in self._running.backends.values():
            for source in backend.spec.desired.sources:
                proxies[source.key].append(backend.spec.proxy.key)
        for key, runner in self._running.sources.items():
            feed = runner.feed
            yield SourceStatus(
                backend=runner.spec.backend,
                proxies=proxies[key],
                kind=runner.spec.settings.kind,
                up=feed.failure is None and feed.snapshot is not None,
                reason=feed.failure.reason if feed.failure else None,
                error=str(feed.failure) if feed.failure else None,
                last_answer=utc_time(feed.answered_at),
                endpoints=None if feed.snapshot is None else len(feed.snapshot.endpoints),
                ignored=list(feed.notes),
            )

    def backends(self) -> Iterator[BackendView]:
        """Yield each backend on each of its proxies, as last observed."""
        for runner in self._running.backends.values():
            yield runner.view()

    def changes(self) -> list[Change]:
        """Return the most recent changes, the oldest first."""
        return list(self._audit_log.recent)

    def sections(self) -> Iterator[StatusSection]:
        """Yield everything as rows, in sections that change independently of each other."""
        yield _section_of_one("dynsrv", self.about())
        for proxy in self.proxies():
            yield _section_of_one(f"proxy:{proxy.proxy}", proxy)
        for source in self.sources():
            # a backend may have two, each for proxies of its own
            yield _section_of_one(f"source:{source.backend}@{source.proxies[0]}", source)
        for view in self.backends():
            where = f"{view.backend}@{view.proxy}"
            yield _section_of_one(f"backend:{where}", view.summary())
            yield _servers(where, view)
        recent = tuple(self._audit_log.recent)
        yield StatusSection("changes", recent[-1:], lambda: [(f"change:{one.number}", one) for one in recent])


def _where(view: BackendView) -> str:
    return f"backend {view.backend} on {view.proxy}"


def _section_of_one(key: str, row: Row) -> StatusSection:
    return StatusSection(key, (row,), lambda: [(key, row)])


def _servers(where: str, view: BackendView) -> StatusSection:
    def rows() -> Rows:
        for server in view.servers():
            yield f"server:{where}:{server.name}", server
        for missing in view.missing():
            yield f"missing:{where}:{host_port(missing.address, missing.port)}", missing

    state = (view.policy, view.observed, view.plan, view.desired, view.drains)
    return StatusSection(f"servers:{where}", state, rows)
