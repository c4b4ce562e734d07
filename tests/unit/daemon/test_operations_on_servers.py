"""The guard lets everything through as long as an operator says so, and HAProxy is looked at when they ask for it."""

from __future__ import annotations

import time

import pytest
from structlog.testing import capture_logs

from dynsrv.api_model import OperationResult
from dynsrv.logs import Event
from dynsrv.planning import Limits
from dynsrv.steps import Outcome
from tests.fakes.at_work import AtWork
from tests.fakes.behind import Behind
from tests.fakes.builders import a_policy, an_endpoint


async def two_proxies() -> AtWork:
    at_work = AtWork(Behind(proxy="lb1"), Behind(proxy="lb2"))
    await at_work.settle(an_endpoint(1), an_endpoint(2))
    return at_work


async def test_the_guard_lets_everything_through_while_it_is_overridden() -> None:
    at_work = AtWork(policy=a_policy(options=(), limits=Limits()))
    await at_work.settle(an_endpoint(1), an_endpoint(2))
    at_work.want()
    await at_work.passes()
    assert [one.rule for view in at_work.backend.views() if view.plan for one in view.plan.refusals] == ["on_empty"]
    with capture_logs() as logs:
        done = at_work.controls.override_guard("be_app", seconds=60, proxy=None)
    assert done == [OperationResult(backend="be_app", proxy="lb1", outcome=Outcome.DONE, detail="")]
    assert at_work.woken() == ["lb1"]
    assert logs == [
        {
            "event": Event.GUARD_OVERRIDDEN,
            "log_level": "warning",
            "backend": "be_app",
            "proxy": None,
            "seconds": 60,
        }
    ]
    assert at_work.backend.reconcilers[0].override_until == pytest.approx(time.time() + 60, abs=5)
    await at_work.settle()
    assert at_work.behind.haproxy.backend().servers == []


async def test_an_override_can_be_ended_and_that_is_told_too() -> None:
    at_work = AtWork(policy=a_policy(options=(), limits=Limits()))
    await at_work.settle(an_endpoint(1), an_endpoint(2))
    at_work.controls.override_guard("be_app", seconds=60, proxy="lb1")
    with capture_logs() as logs:
        at_work.controls.override_guard("be_app", seconds=0, proxy="lb1")
    assert [line["event"] for line in logs] == [Event.GUARD_OVERRIDE_ENDED]
    at_work.want()
    await at_work.passes()
    assert len(at_work.behind.haproxy.backend().servers) == 2


async def test_an_override_of_one_proxy_is_none_of_the_other() -> None:
    at_work = await two_proxies()
    at_work.controls.override_guard("be_app", seconds=60, proxy="lb2")
    assert [one.override_until > time.time() for one in at_work.backend.reconcilers] == [False, True]


@pytest.mark.parametrize(
    ("backend", "proxy", "woken"),
    [(None, None, ["lb1", "lb2"]), ("be_app", None, ["lb1", "lb2"]), (None, "lb1", ["lb1"]), ("be_other", None, [])],
)
async def test_haproxy_is_looked_at_again_where_that_is_asked_for(
    backend: str | None, proxy: str | None, woken: list[str]
) -> None:
    at_work = await two_proxies()
    at_work.manage(Behind(proxy="lb3"), name="be_other")
    results = at_work.controls.reconcile(backend=backend, proxy=proxy)
    assert [one.proxy for one in results if one.backend == "be_app"] == woken
    assert at_work.woken() == woken
