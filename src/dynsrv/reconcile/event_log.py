"""What is logged about one backend of one proxy? Each change in HAProxy, and each problem when it begins."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping

from dynsrv.errors import BackendRejected, DynsrvError, InternalError, ProxyChanged
from dynsrv.logs import Event, get_logger
from dynsrv.model import Backend, Check
from dynsrv.reconcile.observer import PassObserver
from dynsrv.reconcile.result import Pass
from dynsrv.steps import (
    Add,
    Admit,
    Applied,
    CloseSessions,
    Delete,
    Disable,
    DisableAgent,
    Drain,
    EnableAgent,
    EnableHealth,
    Outcome,
    SetMaxconn,
    SetWeight,
    Step,
    StepResult,
    WaitsFor,
)

log = get_logger()

_LINES = 20
"""Lines for one kind of step in one pass; the other servers share one, and have their own at level debug."""
_NAMED = 100
"""Servers named in the shared line: log collectors truncate what is much longer."""
_YIELD_EVERY = 1000  # results, so that logging thousands does not block the event loop
_DONE: dict[type[Step], Event] = {
    Add: Event.SERVER_ADDED,
    EnableHealth: Event.HEALTH_CHECK_ENABLED,
    EnableAgent: Event.AGENT_CHECK_ENABLED,
    DisableAgent: Event.AGENT_CHECK_DISABLED,
    Admit: Event.SERVER_ENABLED,
    SetWeight: Event.WEIGHT_CHANGED,
    SetMaxconn: Event.MAXCONN_CHANGED,
    Drain: Event.SERVER_DRAINING,
    Disable: Event.SERVER_DISABLED,
    CloseSessions: Event.SESSIONS_CLOSED,
    Delete: Event.SERVER_DELETED,
}

Rejection = tuple[str, str, str]
"""Server, kind of step, and HAProxy's answer."""


class EventLog(PassObserver):
    """Logs the changes of one backend of one proxy.

    What lasts for several passes, such as a failure, a hold or a rejected command, is logged when it begins, and again
    only if it ends and comes back.
    """

    def __init__(self, *, proxy: str, backend: str) -> None:
        self._log = log.bind(proxy=proxy, backend=backend)
        self._failure: DynsrvError | None = None
        self._in_sync = False
        self._current: dict[Event, frozenset[str]] = {}  # the servers or rules for which it is true
        self._rejected: set[Rejection] = set()  # in the last pass that got as far as a plan, and since

    async def on_steps(self, applied: Applied) -> None:
        """Log the result of each step; large changes share a few lines."""
        done = defaultdict[type[Step], list[StepResult]](list)
        for number, one in enumerate(applied.results, 1):
            if one.outcome is Outcome.DONE:
                done[type(one.step)].append(one)
            else:
                self._log_rejection(one)
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        for kind, results in done.items():
            for one in results[:_LINES]:
                self._log.info(_DONE[kind], **_fields(one))
            if others := results[_LINES:]:
                servers = [one.step.server for one in others[:_NAMED]]
                self._log.info(Event.MORE_SERVERS_CHANGED, step=kind.kind, others=len(others), servers=servers)
            if self._log.is_enabled_for(logging.DEBUG):
                for number, one in enumerate(others, 1):
                    self._log.debug(_DONE[kind], **_fields(one))
                    if number % _YIELD_EVERY == 0:
                        await asyncio.sleep(0)

    async def on_observed(self, observed: Backend) -> None:  # noqa: ARG002 - that there is one is enough
        """Log that HAProxy can be observed again."""
        self._recovered()

    async def on_pass(self, this: Pass) -> None:
        """Log what is new since the previous pass."""
        self._recovered()
        self._rejected &= {_rejection(one) for one in this.refused}
        if this.drift:
            servers = sorted({step.server for step in this.plan.steps})
            self._log.warning(Event.DRIFT_DETECTED, servers=servers[:_LINES])
        by_agents, by_operators = (
            {one.server: one.reason for one in this.plan.holds if (one.waits_for is WaitsFor.AGENT) is by_agent}
            for by_agent in (True, False)
        )
        for server, reason in self._begun(Event.SERVER_HELD_BY_AGENT, by_agents):
            self._log.info(Event.SERVER_HELD_BY_AGENT, server=server, reason=reason)
        for server, reason in self._begun(Event.SERVER_HELD, by_operators):
            self._log.warning(Event.SERVER_HELD, server=server, reason=reason)
        for rule, reason in self._begun(Event.REMOVAL_BLOCKED, {one.rule: one.reason for one in this.plan.refusals}):
            self._log.warning(Event.REMOVAL_BLOCKED, rule=rule, reason=reason)
        failing = {one.name for one in this.observed.servers if one.check is Check.FAILED}
        waiting = {one.server: one.reason for one in this.waits if one.waits_for is WaitsFor.CHECK}
        not_admitted = {server: reason for server, reason in waiting.items() if server in failing}
        for server, reason in self._begun(Event.SERVER_NOT_ADMITTED, not_admitted):
            self._log.info(Event.SERVER_NOT_ADMITTED, server=server, reason=reason)
        if this.plan.converged and not self._in_sync:
            self._log.info(Event.BACKEND_IN_SYNC, servers=len(this.observed.servers))
        self._in_sync = this.plan.converged

    async def on_failure(self, error: DynsrvError) -> None:
        """Log the error, unless the previous pass failed with the same."""
        if isinstance(error, ProxyChanged):
            return  # the process watch logs it, once for all backends
        if self._failure is None or str(self._failure) != str(error):
            if isinstance(error, InternalError):
                self._log.error(Event.INTERNAL_ERROR, exc_info=error.__cause__)
            write = self._log.error if isinstance(error, BackendRejected) else self._log.warning
            write(Event.RECONCILE_FAILED, error=str(error))
        self._failure = error

    def _recovered(self) -> None:
        if self._failure is not None:
            self._failure = None
            self._log.info(Event.RECONCILE_RECOVERED)

    def _begun(self, event: Event, reasons: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return those of *reasons*, by server or rule, that are new. The numbers in a reason may change meanwhile."""
        before, self._current[event] = self._current.get(event, frozenset()), frozenset(reasons)
        return [(key, reason) for key, reason in reasons.items() if key not in before]

    def _log_rejection(self, one: StepResult) -> None:
        server, step, answer = rejection = _rejection(one)
        if one.expected:
            self._log.debug(Event.COMMAND_RETRIED, server=server, step=step, answer=answer)
        elif rejection not in self._rejected:
            self._rejected.add(rejection)
            self._log.warning(Event.COMMAND_REJECTED, server=server, step=step, answer=answer)


def _rejection(one: StepResult) -> Rejection:
    return one.step.server, one.step.kind, one.detail


def _fields(one: StepResult) -> dict[str, object]:
    step = one.step
    return {"server": step.server, "step": step.kind, "reason": step.reason, "seconds": round(one.seconds, 6)}
