"""Values of the model, of which a test names only what matters to it."""

from __future__ import annotations

from dynsrv.model import (
    AdminState,
    Agent,
    Backend,
    Check,
    Endpoint,
    EndpointState,
    OperationalState,
    Process,
    Server,
    Snapshot,
)
from dynsrv.planning import NO_LIMITS, Admission, Desired, DrainTimeoutAction, Limits, Policy, desired_servers, naming
from dynsrv.steps import Step

CHECKED = ("check", "inter 2s")


def an_endpoint(
    host: int = 1,
    *,
    port: int = 80,
    name: str | None = None,
    weight: int | None = None,
    state: EndpointState = EndpointState.READY,
) -> Endpoint:
    """An endpoint at 10.0.0.*host*."""
    return Endpoint(f"10.0.0.{host}", port, name=name, weight=weight, state=state)


def a_policy(
    *,
    admission: Admission = Admission.AFTER_CHECK,
    on_drain_timeout: DrainTimeoutAction = DrainTimeoutAction.CLOSE,
    options: tuple[str, ...] = CHECKED,
    drain_timeout: float = 30.0,
    weight: int = 100,
    maxconn: int = 0,
    prefix: str = "dyn-",
    adopt_all: bool = False,
    limits: Limits = NO_LIMITS,
) -> Policy:
    """A policy with a check, and without a guard."""
    return Policy(
        prefix=prefix,
        adopt_all=adopt_all,
        weight=weight,
        maxconn=maxconn,
        options=options,
        admission=admission,
        drain_timeout=drain_timeout,
        on_drain_timeout=on_drain_timeout,
        limits=limits,
    )


def a_server(
    endpoint: Endpoint | None = None,
    *,
    name: str | None = None,
    id: int | None = None,
    options: tuple[str, ...] = CHECKED,
    admin: AdminState = AdminState.READY,
    operational: OperationalState | None = None,
    check: Check = Check.PASSED,
    paused: bool = False,
    weight: int | None = None,
    sessions: int | None = None,
    since_change: float = 0.0,
    agent: Agent = Agent.NONE,
    initial_weight: int = 100,
) -> Server:
    """A server as dynsrv adds it for *endpoint* with *options*; ready, up and checked.

    In drain, and in maintenance with its check paused or without one, it bears the mark of dynsrv's: weight 0.
    """
    endpoint = endpoint or an_endpoint()
    if weight is None:
        marked = admin is AdminState.DRAIN or (admin is AdminState.MAINT and (paused or check is Check.NONE))
        weight = 0 if marked else 100
    up = OperationalState.DOWN if admin is AdminState.MAINT else OperationalState.UP
    return Server(
        name=f"dyn-{endpoint.name or endpoint}" if name is None else name,
        id=next(naming.ids(endpoint, options)) if id is None else id,
        address=endpoint.address,
        port=endpoint.port,
        weight=weight,
        admin=admin,
        operational=operational or up,
        check=check,
        check_paused=paused,
        since_change=since_change,
        agent=agent,
        initial_weight=initial_weight,
        sessions=0 if sessions is None and admin is AdminState.DRAIN else sessions,
    )


def a_process(*, pid: int = 101, started: int = 1_700_000_000, version: str = "3.2.26-1") -> Process:
    """A HAProxy process."""
    return Process(pid=pid, started=started, version=version)


def a_backend(*servers: Server, process: Process | None = None) -> Backend:
    """The live backend `be_app`."""
    return Backend("be_app", servers, process or a_process())


def the_targets(*endpoints: Endpoint, policy: Policy | None = None) -> Desired:
    """What a snapshot of *endpoints* calls for."""
    return desired_servers(Snapshot(endpoints), policy or a_policy())


def in_short(step: Step) -> str:
    """A step as its kind and its server."""
    return f"{step.kind} {step.server}"
