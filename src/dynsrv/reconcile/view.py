"""What was observed of one backend on one proxy, and what do the API and `--json` say about it?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dynsrv import api_model
from dynsrv.api_model import BackendPlan, BackendStatus, BackendSummary, MissingServer, ServerStatus, utc_time
from dynsrv.errors import DynsrvError
from dynsrv.model import AdminState, Agent, Backend, Check, OperationalState, Server, failing_check, host_port
from dynsrv.planning import Desired, Policy
from dynsrv.steps import Add, Hold, Plan, SetMaxconn, SetWeight, Step, Wait, WaitsFor


@dataclass(frozen=True, slots=True)
class BackendView:
    """One backend on one proxy, as last observed, or why it could not be.

    *drains* is since when each server has been in drain, by its name, *seen_at* when HAProxy was observed, and
    *guard_overridden_until* until when an operator overrides the guard, all in Unix time.
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
    guard_overridden_until: float | None = None

    @property
    def converged(self) -> bool:
        """Whether HAProxy is as desired."""
        return self.error is None and self.plan is not None and self.plan.converged

    def planned(self) -> BackendPlan:
        """Return what is to be done, and what is waited for."""
        plan = self.plan
        return BackendPlan(
            backend=self.backend,
            proxy=self.proxy,
            haproxy=self._process(),
            error=self._error(),
            steps=None if plan is None else [_step(step) for step in plan.steps],
            waits=None if plan is None else [_wait(wait) for wait in plan.waits],
            refusals=None if plan is None else _refusals(plan),
        )

    def status(self) -> BackendStatus:
        """Return the whole status, servers included."""
        return self.summary().with_servers(list(self.servers()), list(self.missing()))

    def summary(self) -> BackendSummary:
        """Return the status without the servers."""
        return BackendSummary(
            backend=self.backend,
            proxy=self.proxy,
            haproxy=self._process(),
            error=self._error(),
            seen=utc_time(self.seen_at),
            converged=None if self.plan is None else self.converged,
            desired=None if self.desired is None else len(self.desired),
            refusals=[] if self.plan is None else _refusals(self.plan),
            guard_overridden_until=utc_time(self.guard_overridden_until),
        )

    def servers(self) -> Iterator[ServerStatus]:
        """Yield each server; without a plan, it is not known whether it is as desired."""
        if self.observed is None:
            return
        plan = self.plan or Plan()
        why, waits_for = _why(plan), _waits_for(plan)
        for server in self.observed.servers:
            ours = self.policy.owns(server.name)
            yield ServerStatus(
                backend=self.backend,
                proxy=self.proxy,
                name=server.name,
                id=server.id,
                address=host_port(server.address, server.port) if server.address else None,
                state=server.admin,
                operational=server.operational,
                check=server.check,
                check_detail=server.check_detail,
                weight=server.weight,
                maxconn=server.maxconn,
                sessions=server.sessions,
                draining_since=utc_time(self.drains.get(server.name)),
                ours=ours,
                serving=server.serving,
                as_desired=None if self.plan is None and ours else server.name not in why,
                waits_for=waits_for.get(server.name),
                why=why.get(server.name) or self._why_at_rest(server, ours=ours),
            )

    def _why_at_rest(self, server: Server, *, ours: bool) -> str:
        if not ours:
            return "not managed by dynsrv"
        if self.plan is not None:
            return _at_rest(server)
        return "not known whether it is desired: the source has not answered" + (
            "" if server.serving else "; it receives no requests"
        )

    def missing(self) -> Iterator[MissingServer]:
        """Yield each endpoint that has no server yet."""
        if self.observed is None or self.desired is None:
            return
        present = {(one.address, one.port) for one in self.observed.servers if self.policy.owns(one.name)}
        for location, target in self.desired.items():
            if location not in present:
                yield MissingServer(
                    backend=self.backend,
                    proxy=self.proxy,
                    address=target.endpoint.address,
                    port=target.endpoint.port,
                    why="not added yet",
                )

    def _process(self) -> api_model.HaproxyProcess | None:
        if self.observed is None:
            return None
        return api_model.HaproxyProcess(version=self.observed.process.version, pid=self.observed.process.pid)

    def _error(self) -> str | None:
        return None if self.error is None else str(self.error)


def _step(step: Step) -> api_model.PlannedStep:
    match step:
        case Add():
            return api_model.AddStep(
                step=step.kind,
                server=step.server,
                id=step.id,
                address=step.address,
                port=step.port,
                weight=step.weight,
                options=step.options,
                reason=step.reason,
            )
        case SetWeight():
            return api_model.SetWeightStep(step=step.kind, server=step.server, weight=step.weight, reason=step.reason)
        case SetMaxconn():
            return api_model.SetMaxconnStep(
                step=step.kind, server=step.server, maxconn=step.maxconn, reason=step.reason
            )
        case _:
            return api_model.StateStep(step=step.kind, server=step.server, reason=step.reason)


def _wait(wait: Wait) -> api_model.Wait:
    return api_model.Wait(server=wait.server, waits_for=wait.waits_for, reason=wait.reason, deadline=wait.deadline)


def _refusals(plan: Plan) -> list[api_model.Refusal]:
    return [api_model.Refusal(rule=refusal.rule, reason=refusal.reason) for refusal in plan.refusals]


def _why(plan: Plan) -> dict[str, str]:
    """Return why each server is not as desired yet; what it waits for is more telling than the step before."""
    items: Iterable[Step | Wait | Hold] = (*plan.steps, *plan.waits, *plan.holds)
    return {item.server: item.reason for item in items}


def _waits_for(plan: Plan) -> dict[str, WaitsFor]:
    """Return what each server that is not as desired waits for."""
    waits = {wait.server: wait.waits_for for wait in plan.waits}
    return waits | {hold.server: hold.waits_for for hold in plan.holds}


def _at_rest(server: Server) -> str:
    """Return the reason for the state of a server that needs no change, and why it gets no requests if it gets none."""
    if server.agent is Agent.ENABLED and server.weight != server.initial_weight:
        weight = f"as desired; its agent gives it weight {server.weight} of {server.initial_weight}"
        return weight if server.weight else f"{weight}: it receives no requests"
    if server.serving:
        return "as desired"
    if server.admin is not AdminState.READY:
        return "as desired: set to drain by the source"
    if server.operational is OperationalState.DOWN and server.check is not Check.NONE:
        return f"{failing_check(server.check_detail)}; it receives no requests until a check passes"
    if server.operational in {OperationalState.DOWN, OperationalState.STOPPING}:
        return f"HAProxy reports it as {server.operational}; it receives no new requests"
    return "as desired, with weight 0: it receives no requests"
