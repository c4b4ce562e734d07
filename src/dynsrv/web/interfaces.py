"""What does the web need of the rest? To see everything, and to ask for something."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from dynsrv.model import AdminState
from dynsrv.reconcile.view import BackendView
from dynsrv.web.event_stream import StatusSection

ActionResult = list[dict[str, Any]]
"""What became of a request: a mapping for each backend and proxy."""


class ActionRefused(Exception):
    """A request that cannot be met. *status* is HTTP's; the sentence says why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class StatusReader(Protocol):
    """Everything that can be told, from memory: nobody is asked for it."""

    @property
    def registry(self) -> CollectorRegistry: ...

    def not_ready(self) -> Iterable[str]: ...

    def degraded(self) -> Iterable[str]: ...

    def about(self) -> dict[str, Any]: ...

    def proxies(self) -> Iterable[dict[str, Any]]: ...

    def sources(self) -> Iterable[dict[str, Any]]: ...

    def backends(self) -> Iterable[tuple[BackendView, dict[str, Any]]]: ...

    def changes(self) -> list[dict[str, Any]]: ...

    def sections(self) -> Iterable[StatusSection]: ...


class OperatorActions(Protocol):
    """What may be asked for. All raise `ActionRefused`."""

    async def hold(self, backend: str, server: str, *, state: AdminState, proxy: str | None) -> ActionResult: ...

    async def release(self, backend: str, server: str, *, proxy: str | None) -> ActionResult: ...

    def override_guard(self, backend: str, *, seconds: float, proxy: str | None) -> ActionResult: ...

    def reconcile(self, *, backend: str | None, proxy: str | None) -> ActionResult: ...
