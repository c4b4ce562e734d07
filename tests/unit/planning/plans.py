"""Plans in short, for the tests of planning."""

from __future__ import annotations

from collections.abc import Mapping

from dynsrv.model import Endpoint, Server
from dynsrv.planning import Policy, RecentHistory, RecentService, make_plan
from dynsrv.steps import Drain, Plan, SetWeight
from tests.fakes.builders import a_backend, a_policy, in_short, the_targets


def the_plan(
    *observed: Server,
    wanted: tuple[Endpoint, ...] = (),
    policy: Policy | None = None,
    drains: Mapping[str, float] | None = None,
    last_sessions: Mapping[str, float] | None = None,
    now: float = 0.0,
    peak: int | None = None,
    departed: int = 0,
    trusted: frozenset[int] = frozenset(),
    refused: frozenset[str] = frozenset(),
    in_config_file: frozenset[str] = frozenset(),
) -> Plan:
    """What is to be done where *observed* is there and *wanted* is wanted, by default as seen for the first time."""
    policy = policy or a_policy()
    if peak is None:
        ours = [server for server in observed if server.name.startswith(policy.prefix)]
        peak = sum(server.serving and not server.backup for server in ours)
    return make_plan(
        desired=the_targets(*wanted, policy=policy),
        observed=a_backend(*observed),
        history=RecentHistory(
            drains=drains or {},
            last_sessions=last_sessions or {},
            active=RecentService(((now, peak),), ((now, departed),)),
            backup=RecentService(((now, sum(server.serving and server.backup for server in observed)),)),
            trusted=trusted,
            refused=refused,
            in_config_file=in_config_file,
        ),
        now=now,
        policy=policy,
    )


def steps_of(plan: Plan) -> list[str]:
    """Its steps, each as kind and server; weight 0, which marks a drain as dynsrv's, is part of that drain."""
    marks = {step.server for step in plan.steps if isinstance(step, SetWeight) and step.weight == 0}
    assert marks <= {step.server for step in plan.steps if isinstance(step, Drain)}
    return [in_short(step) for step in plan.steps if not (isinstance(step, SetWeight) and step.server in marks)]


def waits_of(plan: Plan) -> list[str]:
    """Its waits, each as server and what for."""
    return [f"{wait.server} {wait.waits_for}" for wait in plan.waits]
