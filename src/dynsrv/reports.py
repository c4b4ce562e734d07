"""What does HAProxy have, and what would be done about it? Looks once, changes nothing, and tells it as plain data.

The shapes are those that `--json` prints: other people's programs read them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from dynsrv.app import App, ManagedBackend
from dynsrv.errors import DynsrvError
from dynsrv.history import History
from dynsrv.model import Backend, Server, host_port
from dynsrv.planning import Policy, Targets, make_plan, targets
from dynsrv.proxy import HAProxy
from dynsrv.rejections import check_options
from dynsrv.steps import Hold, Plan, Refusal, Step, Wait

_SOURCE_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """One backend of one proxy, as seen once. Either *error*, or all the others."""

    backend: str
    proxy: str
    policy: Policy
    desired: Targets | None = None
    observed: Backend | None = None
    plan: Plan | None = None
    error: DynsrvError | None = None

    @property
    def converged(self) -> bool:
        """Whether HAProxy is as desired."""
        return self.plan is not None and self.plan.converged

    def plan_data(self) -> dict[str, Any]:
        """Return what `dynsrv plan --json` prints of this backend."""
        data = self._where()
        if self.plan is not None:
            data["steps"] = [step_data(step) for step in self.plan.steps]
            data["waits"] = [_wait_data(wait) for wait in self.plan.waits]
            data["refusals"] = [_refusal_data(refusal) for refusal in self.plan.refusals]
        return data

    def status_data(self) -> dict[str, Any]:
        """Return what `dynsrv status --json` prints of this backend."""
        data = self._where()
        if self.plan is not None and self.observed is not None and self.desired is not None:
            why = _why(self.plan)
            ours = [server for server in self.observed.servers if self.policy.owns(server.name)]
            there = {(server.address, server.port) for server in ours}
            data["converged"] = self.converged
            data["desired"] = len(self.desired)
            data["servers"] = [_server_data(server, self.policy, why) for server in self.observed.servers]
            data["refusals"] = [_refusal_data(refusal) for refusal in self.plan.refusals]
            data["missing"] = [
                {"address": target.endpoint.address, "port": target.endpoint.port, "why": "not added yet"}
                for location, target in self.desired.items()
                if location not in there
            ]
        return data

    def _where(self) -> dict[str, Any]:
        data: dict[str, Any] = {"backend": self.backend, "proxy": self.proxy}
        if self.observed is not None:
            data["haproxy"] = {"version": self.observed.process.version, "pid": self.observed.process.pid}
        data["error"] = None if self.error is None else str(self.error)
        return data


async def look(app: App, *, only: str | None) -> list[Look]:
    """Look at every backend of every proxy, or at the backend *only*, all at the same time."""
    looks = await asyncio.gather(*(_look_at(backend) for backend in app.backends if only in {None, backend.name}))
    return [one for several in looks for one in several]


async def _look_at(backend: ManagedBackend) -> list[Look]:
    try:
        desired = targets(await backend.first_snapshot(timeout=_SOURCE_TIMEOUT), backend.policy)
    except DynsrvError as error:
        return [Look(backend.name, proxy.name, backend.policy, error=error) for proxy in backend.proxies]
    return await asyncio.gather(*(_look_on(backend, proxy, desired) for proxy in backend.proxies))


async def _look_on(backend: ManagedBackend, proxy: HAProxy, desired: Targets) -> Look:
    try:
        observed = await proxy.observe(backend.name, with_maxconn=True)
        check_options(observed, backend.policy.options, proxy=proxy.name)
    except DynsrvError as error:
        return Look(backend.name, proxy.name, backend.policy, desired=desired, error=error)
    memory = History(backend.policy).look(observed, now=0.0)
    plan = make_plan(desired=desired, observed=observed, memory=memory, now=0.0, policy=backend.policy)
    return Look(backend.name, proxy.name, backend.policy, desired=desired, observed=observed, plan=plan)


def step_data(step: Step) -> dict[str, Any]:
    """Return a step as plain data: its name, the server, what else it says, and why."""
    return {"step": step.kind, **asdict(step)}


def _wait_data(wait: Wait) -> dict[str, Any]:
    return {"server": wait.server, "waits_for": wait.waits_for.value, "reason": wait.reason, "deadline": wait.deadline}


def _refusal_data(refusal: Refusal) -> dict[str, Any]:
    return {"rule": refusal.rule.value, "reason": refusal.reason}


def _why(plan: Plan) -> dict[str, str]:
    """Return why each server is not as desired yet; what it waits for says more than the step before."""
    items: Iterable[Step | Wait | Hold] = (*plan.steps, *plan.waits, *plan.holds)
    return {item.server: item.reason for item in items}


def _server_data(server: Server, policy: Policy, why: dict[str, str]) -> dict[str, Any]:
    ours = policy.owns(server.name)
    return {
        "name": server.name,
        "id": server.id,
        "address": host_port(server.address, server.port) if server.address else None,
        "state": server.admin.value,
        "operational": server.operational.value,
        "check": server.check.value,
        "weight": server.weight,
        "maxconn": server.maxconn,
        "sessions": server.sessions,
        "ours": ours,
        "why": why.get(server.name, "as desired" if ours else "not ours"),
    }
