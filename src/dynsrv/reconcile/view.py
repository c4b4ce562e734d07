"""What was seen of one backend of one proxy, as plain data.

The shapes are those that `--json` and the API tell: other people's programs read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from dynsrv.errors import DynsrvError
from dynsrv.model import AdminState, Backend, Check, OperationalState, Server, host_port
from dynsrv.planning import Desired, Policy
from dynsrv.steps import Hold, Plan, Refusal, Step, Wait


@dataclass(frozen=True, slots=True)
class BackendView:
    """One backend of one proxy, as seen once, or why it could not be seen.

    *drains* is since when each server has been in drain, by its name, and *seen_at* when HAProxy was looked at, both in
    Unix time.
    """

    backend: str
    proxy: str
    policy: Policy
    desired: Desired | None = None
    observed: Backend | None = None
    plan: Plan | None = None
    error: DynsrvError | None = None
    drains: Mapping[str, float] = field(default_factory=dict)
    seen_at: float | None = None

    @property
    def converged(self) -> bool:
        """Whether HAProxy is as desired."""
        return self.error is None and self.plan is not None and self.plan.converged

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
        data = self.summary()
        if self.plan is not None:
            data["servers"] = list(self.servers())
            data["missing"] = list(self.missing())
        return data

    def summary(self) -> dict[str, Any]:
        """Return the same without the servers."""
        data = self._where()
        if self.plan is not None and self.desired is not None:
            data["seen"] = iso_time(self.seen_at)
            data["converged"] = self.converged
            data["desired"] = len(self.desired)
            data["refusals"] = [_refusal_data(refusal) for refusal in self.plan.refusals]
        return data

    def servers(self) -> Iterator[dict[str, Any]]:
        """Yield each server, with the reason why it is where it is."""
        if self.plan is None or self.observed is None:
            return
        why, waits_for = _why(self.plan), _waits_for(self.plan)
        for server in self.observed.servers:
            ours = self.policy.owns(server.name)
            yield {
                "name": server.name,
                "id": server.id,
                "address": host_port(server.address, server.port) if server.address else None,
                "state": server.admin.value,
                "operational": server.operational.value,
                "check": server.check.value,
                "weight": server.weight,
                "maxconn": server.maxconn,
                "sessions": server.sessions,
                "draining_since": iso_time(self.drains.get(server.name)),
                "ours": ours,
                "serving": server.serving,
                "as_desired": server.name not in why,
                "waits_for": waits_for.get(server.name),
                "why": why.get(server.name) or (_at_rest(server) if ours else "not ours"),
            }

    def missing(self) -> Iterator[dict[str, Any]]:
        """Yield each endpoint that has no server yet."""
        if self.observed is None or self.desired is None:
            return
        there = {(one.address, one.port) for one in self.observed.servers if self.policy.owns(one.name)}
        for location, target in self.desired.items():
            if location not in there:
                yield {"address": target.endpoint.address, "port": target.endpoint.port, "why": "not added yet"}

    def _where(self) -> dict[str, Any]:
        data: dict[str, Any] = {"backend": self.backend, "proxy": self.proxy}
        if self.observed is not None:
            data["haproxy"] = {"version": self.observed.process.version, "pid": self.observed.process.pid}
        data["error"] = None if self.error is None else str(self.error)
        return data


def iso_time(seconds: float | None) -> str | None:
    """Return a Unix time as ISO 8601 has it, to the second; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


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


def _at_rest(server: Server) -> str:
    """Return what to say of a server about which nothing is to be done, and why it gets no request if it gets none."""
    if server.serving:
        return "as desired"
    if server.admin is not AdminState.READY:
        return "as desired: the source wants it drained"
    if server.operational is OperationalState.DOWN and server.check is not Check.NONE:
        return "its check fails; it gets no request until one passes"
    if server.operational in {OperationalState.DOWN, OperationalState.STOPPING}:
        return f"HAProxy sees it {server.operational}; it gets no new request"
    return "as desired, with weight 0: it gets no request"


def _waits_for(plan: Plan) -> dict[str, str]:
    """Return what each server that is not as desired waits for: check, sessions, successor, guard or operator."""
    waits = {wait.server: wait.waits_for.value for wait in plan.waits}
    return waits | {hold.server: "operator" for hold in plan.holds}
