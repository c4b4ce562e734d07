"""What is told of everything, over the API and to those who follow its events, in each situation."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from dynsrv.api_model import utc_time
from dynsrv.errors import SourceError
from dynsrv.planning import Limits
from dynsrv.web.event_stream import ChangeFeed
from dynsrv.web.openapi import document
from tests.fakes.at_work import AtWork
from tests.fakes.behind import Behind
from tests.fakes.builders import a_policy, an_endpoint
from tests.fakes.subscriber import Subscriber, rows_of

GONE = SourceError("missing", "servers.yaml: there is no such file; write it, or correct the path")
STATUS = jsonschema_rs.validator_for(
    {"$ref": "#/components/schemas/Status", "components": document()["components"]}, validate_formats=True
)


async def the_status(at_work: AtWork) -> dict[str, Any]:
    """What is told, after a look at its form, and at whether it is the same for those who follow the events."""
    status = await at_work.told()
    STATUS.validate(status)
    async with Subscriber(ChangeFeed(at_work.status.sections)) as subscriber:
        await subscriber.next_change()
    assert subscriber.rows == rows_of(status)
    return status


async def the_backend(at_work: AtWork) -> dict[str, Any]:
    status = await the_status(at_work)
    (backend,) = status["backends"]
    assert isinstance(backend, dict)
    return backend


async def the_source(at_work: AtWork) -> dict[str, Any]:
    (source,) = (await the_status(at_work))["sources"]
    assert isinstance(source, dict)
    return source


def not_ready(at_work: AtWork) -> list[str]:
    return list(at_work.status.not_ready())


def degraded(at_work: AtWork) -> list[str]:
    return list(at_work.status.degraded())


async def test_before_the_first_answer_of_the_source_nothing_is_known_but_that() -> None:
    at_work = AtWork()
    await at_work.passes()
    backend, source = await the_backend(at_work), await the_source(at_work)
    assert backend == {
        "backend": "be_app",
        "proxy": "lb1",
        "haproxy": None,
        "error": None,
        "seen": None,
        "converged": None,
        "desired": None,
        "refusals": [],
        "guard_overridden_until": None,
        "servers": [],
        "missing": [],
    }
    assert (source["up"], source["error"], source["last_answer"], source["endpoints"]) == (False, None, None, None)
    assert not_ready(at_work) == ["backend be_app on lb1: the source has not answered yet"]


async def test_before_the_first_pass_that_is_why_it_is_not_ready() -> None:
    at_work = AtWork()
    at_work.want(an_endpoint())
    await at_work.backend.desired.update()
    assert not_ready(at_work) == ["backend be_app on lb1: the first pass is not over"]
    assert (await the_source(at_work))["up"]


async def test_a_backend_in_line_is_told_with_all_its_servers() -> None:
    at_work = AtWork()
    await at_work.settle(an_endpoint(1), an_endpoint(2, weight=7))
    status = await the_status(at_work)
    (backend,) = status["backends"]
    assert (backend["converged"], backend["desired"], backend["refusals"], backend["missing"]) == (True, 2, [], [])
    assert [(one["name"], one["weight"], one["state"], one["why"]) for one in backend["servers"]] == [
        ("dyn-10.0.0.1:80", 100, "ready", "as desired"),
        ("dyn-10.0.0.2:80", 7, "ready", "as desired"),
    ]
    assert all(one["serving"] and one["as_desired"] for one in backend["servers"])
    assert not_ready(at_work) == degraded(at_work) == []


async def test_a_source_that_fails_after_a_good_answer_is_told_and_so_is_what_it_last_wanted() -> None:
    at_work = AtWork()
    await at_work.settle(an_endpoint())
    at_work.break_source(GONE)
    source = await the_source(at_work)
    assert (source["up"], source["reason"], source["error"], source["endpoints"]) == (False, "missing", str(GONE), 1)
    assert source["last_answer"] is not None
    assert (await the_backend(at_work))["converged"]
    assert degraded(at_work) == [f"backend be_app: {GONE}"]
    assert not_ready(at_work) == []


async def test_a_source_that_never_answered_tells_why() -> None:
    at_work = AtWork()
    at_work.break_source(GONE)
    assert not_ready(at_work) == [f"backend be_app on lb1: {GONE}"]
    assert (await the_source(at_work))["error"] == str(GONE)


async def test_what_a_source_has_that_cannot_be_used_is_told() -> None:
    at_work = AtWork()
    at_work.want(an_endpoint(), notes=["web-7 has no address"])
    assert (await the_source(at_work))["ignored"] == ["web-7 has no address"]


async def test_a_rejected_backend_has_the_remedy() -> None:
    at_work = AtWork(Behind(algorithm="static-rr"))
    at_work.want(an_endpoint())
    await at_work.passes()
    backend = await the_backend(at_work)
    assert "its algorithm (static-rr) does not accept servers at runtime." in backend["error"]
    assert "Use `balance roundrobin`" in backend["error"]
    assert backend["converged"] is None
    assert not_ready(at_work) == [backend["error"]]


async def test_a_proxy_that_does_not_answer_is_told_and_so_is_what_was_last_seen_of_it() -> None:
    at_work = AtWork()
    await at_work.settle(an_endpoint())
    for connection in at_work.behind.wire.open:
        connection.end()
    at_work.behind.wire.refusals = [ConnectionRefusedError(111, "Connection refused")] * 9
    await at_work.passes()
    status = await the_status(at_work)
    (proxy,), (backend,) = status["proxies"], status["backends"]
    assert not proxy["up"]
    gone = "connection refused (the socket was left behind by a HAProxy that is gone)"
    assert proxy["error"] == f"lb1: unix:///run/haproxy/admin.sock: {gone}"
    assert proxy["version"] == "3.2.26-1"  # as it last answered
    assert (backend["converged"], backend["error"]) == (False, proxy["error"])
    assert [one["name"] for one in backend["servers"]] == ["dyn-10.0.0.1:80"]
    assert degraded(at_work) == [f"backend be_app on lb1: {proxy['error']}"]


async def test_a_proxy_that_never_answered_has_no_version() -> None:
    at_work = AtWork()
    at_work.behind.wire.refusals = [FileNotFoundError(2, "No such file or directory")] * 9
    at_work.want(an_endpoint())
    await at_work.passes()
    (proxy,) = (await the_status(at_work))["proxies"]
    assert (proxy["up"], proxy["version"], proxy["pid"]) == (False, None, None)
    assert proxy["error"].startswith("lb1: unix:///run/haproxy/admin.sock: no such socket: HAProxy is not running")


async def test_before_it_was_asked_a_proxy_is_neither_up_nor_wrong() -> None:
    (proxy,) = (await the_status(AtWork()))["proxies"]
    assert (proxy["up"], proxy["error"]) == (False, None)


async def test_what_the_guard_refuses_is_told_with_its_rule() -> None:
    at_work = AtWork(policy=a_policy(options=(), limits=Limits()))
    await at_work.settle(an_endpoint(1), an_endpoint(2))
    at_work.want()
    await at_work.passes()
    backend = await the_backend(at_work)
    (refusal,) = backend["refusals"]
    assert refusal["rule"] == "on_empty"
    assert refusal["reason"].startswith("the source lists no servers: keeping the 2 that are serving")
    assert [(one["waits_for"], one["why"]) for one in backend["servers"]] == [
        ("guard", "no longer listed by the source; the source lists no servers")
    ] * 2
    assert degraded(at_work) == [f"backend be_app on lb1: guard: {refusal['reason']}"]


@pytest.mark.parametrize("state", ["drain", "maint"])
async def test_a_server_that_an_operator_holds_is_told_as_that(state: str) -> None:
    at_work = AtWork()
    await at_work.settle(an_endpoint())
    at_work.behind.haproxy.answer(f"set server be_app/dyn-10.0.0.1:80 state {state}")
    await at_work.passes()
    (server,) = (await the_backend(at_work))["servers"]
    assert (server["state"], server["serving"], server["waits_for"]) == (state, False, "operator")
    assert server["why"] == f"held by an operator: put into {state} by hand; set it to ready to release it"
    assert (await the_backend(at_work))["converged"]


async def test_a_server_that_drains_has_its_sessions_and_since_when() -> None:
    at_work = AtWork()
    await at_work.settle(an_endpoint(1), an_endpoint(2))
    at_work.behind.haproxy.open_session("dyn-10.0.0.1:80")
    at_work.want(an_endpoint(2))
    await at_work.passes(3)
    server = await at_work.told_of("dyn-10.0.0.1:80")
    assert (server["state"], server["sessions"], server["waits_for"]) == ("drain", 1, "sessions")
    assert server["why"] == "no longer listed by the source; draining, 1 session left"
    assert server["draining_since"] is not None
    assert (await at_work.told_of("dyn-10.0.0.2:80"))["draining_since"] is None
    await the_status(at_work)


async def test_an_endpoint_without_a_server_is_missing() -> None:
    at_work = AtWork(policy=a_policy(options=("nonsense",)))
    at_work.want(an_endpoint())
    await at_work.passes()
    status = await the_status(at_work)
    (backend,) = status["backends"]
    assert backend["servers"] == []
    assert backend["missing"] == [
        {"backend": "be_app", "proxy": "lb1", "address": "10.0.0.1", "port": 80, "why": "not added yet"}
    ]
    (change,) = status["changes"]
    assert (change["step"], change["outcome"]) == ("add", "refused")
    assert "unknown keyword 'nonsense'" in change["detail"]


async def test_the_last_changes_are_told_with_their_reasons() -> None:
    at_work = AtWork()
    await at_work.settle(an_endpoint())
    changes = (await the_status(at_work))["changes"]
    assert [(one["number"], one["step"], one["outcome"]) for one in changes] == [
        (1, "add", "done"),
        (2, "admit", "done"),
        (3, "set_weight", "done"),
    ]
    assert {one["server"] for one in changes} == {"dyn-10.0.0.1:80"}
    assert all(one["reason"] for one in changes)


async def test_until_when_the_guard_is_overridden_is_told_until_then() -> None:
    at_work = AtWork()
    at_work.backend.reconcilers[0].override_guard(seconds=60)
    until = utc_time(at_work.backend.reconcilers[0].override_until)
    assert (await the_backend(at_work))["guard_overridden_until"] == until.isoformat().replace("+00:00", "Z")
    at_work.backend.reconcilers[0].override_guard(seconds=0)
    assert (await the_backend(at_work))["guard_overridden_until"] is None


async def test_a_refused_configuration_is_told_until_there_is_a_good_one() -> None:
    at_work = AtWork()
    await at_work.settle(an_endpoint())
    assert (await the_status(at_work))["dynsrv"]["configuration_error"] is None
    at_work.status.configuration_error = "dynsrv.yaml:3: found 7, expected a name"
    assert (await the_status(at_work))["dynsrv"]["configuration_error"] == "dynsrv.yaml:3: found 7, expected a name"
    assert list(at_work.status.degraded()) == [
        "configuration: the previous one is in use: dynsrv.yaml:3: found 7, expected a name"
    ]


async def test_two_sources_of_one_backend_on_different_proxies_are_both_told() -> None:
    at_work = AtWork(Behind(proxy="lb1"))
    other = at_work.manage(Behind(proxy="lb2"))
    at_work.want(an_endpoint())
    other.feed.failure = GONE
    sources = (await the_status(at_work))["sources"]
    assert [(one["backend"], one["proxies"], one["up"]) for one in sources] == [
        ("be_app", ["lb1"], True),
        ("be_app", ["lb2"], False),
    ]


async def test_servers_that_are_not_ours_are_told_as_that() -> None:
    at_work = AtWork()
    at_work.behind.haproxy.answer("add server be_app/by-hand 10.0.0.9:80")
    await at_work.settle()
    server = await at_work.told_of("by-hand")
    assert (server["ours"], server["why"]) == (False, "not managed by dynsrv")
