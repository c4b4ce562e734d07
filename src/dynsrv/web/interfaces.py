"""What does the web need from the rest? To read the status, and to carry out what an operator requests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry

from dynsrv.api_model import About, Change, OperationResult, ProxyStatus, SourceStatus
from dynsrv.model import AdminState
from dynsrv.reconcile.view import BackendView
from dynsrv.web.event_stream import StatusSection

ActionResult = list[OperationResult]
"""The result of a request on each proxy."""


class RequestRefused(Exception):
    """A request that is answered with this HTTP *status*; the sentence says why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class StatusReader(Protocol):
    """The status of everything that dynsrv manages, from memory: no request reaches HAProxy or a source."""

    @property
    def registry(self) -> CollectorRegistry: ...

    def not_ready(self) -> Iterable[str]: ...

    def degraded(self) -> Iterable[str]: ...

    def about(self) -> About: ...

    def proxies(self) -> Iterable[ProxyStatus]: ...

    def sources(self) -> Iterable[SourceStatus]: ...

    def backends(self) -> Iterable[BackendView]: ...

    def changes(self) -> list[Change]: ...

    def sections(self) -> Iterable[StatusSection]: ...


class OperatorActions(Protocol):
    """What an operator may request. All raise `dynsrv.errors.ActionRefused`."""

    async def hold(self, backend: str, server: str, *, state: AdminState, proxy: str | None) -> ActionResult: ...

    async def release(self, backend: str, server: str, *, proxy: str | None) -> ActionResult: ...

    def override_guard(self, backend: str, *, seconds: float, proxy: str | None) -> ActionResult: ...

    def reconcile(self, *, backend: str | None, proxy: str | None) -> ActionResult: ...
