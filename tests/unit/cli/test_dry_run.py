from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from dynsrv.api_model import to_json
from dynsrv.cli.dry_run import plan_all
from dynsrv.cli.running_daemon import RunningDaemon
from dynsrv.cli.session import Backend
from dynsrv.errors import SourceError
from dynsrv.model import AdminState, Check, OperationalState, Server, Snapshot
from dynsrv.planning import Limits, Policy
from dynsrv.reconcile.view import BackendView
from dynsrv.steps import Plan
from dynsrv.wiring import Factory
from tests.fakes.behind import Behind
from tests.fakes.builders import a_backend, a_policy, a_server, an_endpoint
from tests.fakes.factory import a_backend_spec
from tests.fakes.haproxy import FakeServer
from tests.fakes.sources import ScriptedSource

UNCHECKED = a_policy(options=())
NO_DAEMON = RunningDaemon(absent="web.listen is off")


def the_backend(
    behind: Behind, *said: Snapshot | Exception, policy: Policy = UNCHECKED, name: str = "be_app"
) -> Backend:
    spec = a_backend_spec(name, policy=policy)
    return Backend(spec.desired, [ScriptedSource(*said)], [(spec, behind.proxy)], Factory())


async def the_look(
    behind: Behind, *said: Snapshot | Exception, policy: Policy = UNCHECKED
) -> tuple[BackendView, dict[str, Any], dict[str, Any]]:
    """What one look finds, and what is printed of it: by `plan`, and by `status`."""
    (found,) = await plan_all([the_backend(behind, *said, policy=policy)], NO_DAEMON)
    assert behind.haproxy.changes == []
    return found, json.loads(to_json(found.planned())), json.loads(to_json(found.status()))


async def test_what_would_be_done_is_told_step_by_step_and_not_done() -> None:
    found, plan, _ = await the_look(Behind(), Snapshot((an_endpoint(),)))
    assert plan == {
        "backend": "be_app",
        "proxy": "lb1",
        "haproxy": {"version": "3.2.26-1", "pid": 101},
        "error": None,
        "steps": [
            {
                "step": "add",
                "server": "dyn-10.0.0.1:80",
                "id": 250329022,
                "address": "10.0.0.1",
                "port": 80,
                "weight": 0,
                "options": [],
                "reason": "listed by the source",
            },
            {"step": "admit", "server": "dyn-10.0.0.1:80", "reason": "it has no health check"},
            {
                "step": "set_weight",
                "server": "dyn-10.0.0.1:80",
                "weight": 100,
                "reason": "its desired weight; it was added with weight 0",
            },
        ],
        "waits": [],
        "refusals": [],
    }
    assert not found.converged


async def test_what_is_waited_for_is_told_with_its_deadline() -> None:
    server = FakeServer("dyn-a", address="10.0.0.9", weight=0, admin=8, sessions=1)
    _, plan, _ = await the_look(Behind(servers=[server]), Snapshot(()))
    assert plan["waits"] == [
        {
            "server": "dyn-a",
            "waits_for": "sessions",
            "reason": "no longer listed by the source; draining, 1 session left",
            "deadline": 30.0,
        }
    ]


async def test_what_the_guard_refuses_is_told_by_both() -> None:
    server = FakeServer("dyn-a", address="10.0.0.9")
    behind = Behind(servers=[server])
    _, plan, status = await the_look(behind, Snapshot(()), policy=a_policy(options=(), limits=Limits()))
    assert [refusal["rule"] for refusal in plan["refusals"]] == ["on_empty"]
    assert status["refusals"] == plan["refusals"]
    assert plan["waits"][0]["waits_for"] == "guard"


async def test_what_is_desired_stands_beside_what_is_there() -> None:
    servers = [
        FakeServer("web1", address="10.0.0.8", id=3),
        FakeServer("dyn-old", address="10.0.0.9", id=4),
        FakeServer("dyn-held", address="10.0.0.1", id=250329022, weight=100, admin=1, operational=0),
        FakeServer("dyn-socket", address="/run/x.sock", port=0, id=5, maxconn=7),
    ]
    found, _, status = await the_look(Behind(servers=servers), Snapshot((an_endpoint(1), an_endpoint(2))))
    assert (status["converged"], status["desired"]) == (False, 2)
    assert status["servers"][0] == {
        "backend": "be_app",
        "proxy": "lb1",
        "name": "web1",
        "id": 3,
        "address": "10.0.0.8:80",
        "state": "ready",
        "operational": "up",
        "check": "none",
        "check_detail": None,
        "weight": 1,
        "maxconn": 0,
        "sessions": None,
        "draining_since": None,
        "ours": False,
        "serving": True,
        "as_desired": True,
        "waits_for": None,
        "why": "not managed by dynsrv",
    }
    why = {server["name"]: server["why"] for server in status["servers"]}
    assert why["dyn-old"].startswith("no longer listed by the source")
    assert why["dyn-held"].startswith("held by an operator")
    assert status["servers"][3]["address"] is None
    assert status["servers"][3]["maxconn"] == 7
    assert status["missing"] == [
        {"backend": "be_app", "proxy": "lb1", "address": "10.0.0.2", "port": 80, "why": "not added yet"}
    ]
    assert not found.converged


async def test_a_backend_in_line_says_so() -> None:
    server = FakeServer("dyn-10.0.0.1:80", address="10.0.0.1", id=250329022, weight=100)
    found, plan, status = await the_look(Behind(servers=[server]), Snapshot((an_endpoint(),)))
    assert found.converged
    assert plan["steps"] == plan["waits"] == []
    assert status["converged"]
    assert status["missing"] == []
    assert status["servers"][0]["why"] == "as desired"


FAILING = a_server(operational=OperationalState.DOWN, check=Check.FAILED)


@pytest.mark.parametrize(
    ("server", "serving", "why"),
    [
        (a_server(), True, "as desired"),
        (FAILING, False, "its health check is failing; it receives no requests until a check passes"),
        (
            replace(FAILING, check_detail="L4CON, Connection refused"),
            False,
            "its health check is failing (L4CON, Connection refused); it receives no requests until a check passes",
        ),
        (replace(FAILING, check=Check.NONE), False, "HAProxy reports it as down; it receives no new requests"),
        (
            a_server(operational=OperationalState.STOPPING),
            False,
            "HAProxy reports it as stopping; it receives no new requests",
        ),
        (a_server(weight=0), False, "as desired, with weight 0: it receives no requests"),
        (a_server(admin=AdminState.DRAIN, weight=0), False, "as desired: set to drain by the source"),
    ],
)
def test_a_server_about_which_nothing_is_to_be_done_tells_why_it_gets_no_requests(
    server: Server, *, serving: bool, why: str
) -> None:
    look = BackendView("be_app", "lb1", UNCHECKED, desired={}, observed=a_backend(server), plan=Plan())
    (told,) = look.servers()
    assert (told.serving, told.as_desired, told.why) == (serving, True, why)


async def test_an_endpoint_is_missing_though_a_foreign_server_has_its_address() -> None:
    server = FakeServer("web1", address="10.0.0.1")
    _, plan, status = await the_look(Behind(servers=[server]), Snapshot((an_endpoint(),)))
    assert plan["steps"]
    assert len(status["missing"]) == 1


async def test_a_haproxy_that_is_gone_is_told_instead() -> None:
    behind = Behind()
    behind.wire.refusals = [ConnectionRefusedError(111, "Connection refused")]
    found, plan, status = await the_look(behind, Snapshot((an_endpoint(),)))
    assert plan["steps"] is plan["waits"] is plan["refusals"] is None
    assert status["converged"] is None
    assert status["error"] == plan["error"]
    assert plan["error"].startswith("lb1: unix:///run/haproxy/admin.sock: connection refused")
    assert not found.converged
    assert plan["haproxy"] is None


async def test_the_servers_are_shown_although_the_source_fails_and_no_plan_is_made() -> None:
    behind = Behind(servers=[FakeServer("dyn-10.0.0.1:80", address="10.0.0.1"), FakeServer("web1", address="10.0.0.2")])
    found, plan, status = await the_look(behind, SourceError("missing", "servers.yaml: no such file"))
    unknown = {"steps": None, "waits": None, "refusals": None}
    process = {"version": "3.2.26-1", "pid": 101}
    failed = {"backend": "be_app", "proxy": "lb1", "haproxy": process, "error": "servers.yaml: no such file"}
    assert plan == failed | unknown
    assert status["error"] == "servers.yaml: no such file"
    assert [(one["name"], one["serving"], one["as_desired"], one["why"]) for one in status["servers"]] == [
        ("dyn-10.0.0.1:80", True, None, "not known whether it is desired: the source has not answered"),
        ("web1", True, True, "not managed by dynsrv"),
    ]
    assert status["missing"] == []
    assert (status["converged"], status["desired"]) == (None, None)
    assert not found.converged


async def test_both_are_named_if_the_source_fails_and_haproxy_is_gone() -> None:
    behind = Behind()
    behind.wire.refusals = [ConnectionRefusedError(111, "Connection refused")]
    _, plan, status = await the_look(behind, SourceError("missing", "servers.yaml: no such file"))
    assert plan["error"].startswith("servers.yaml: no such file; lb1: unix:///run/haproxy/admin.sock: connection")
    assert status["servers"] == []


async def test_a_source_that_says_nothing_is_not_waited_for_for_ever() -> None:
    _, plan, _ = await the_look(Behind())
    assert plan["error"] == "the source did not answer within 10 s"


async def test_options_that_haproxy_does_not_take_are_told() -> None:
    policy = a_policy(options=("check", "guid x"))
    _, plan, _ = await the_look(Behind("2.6.12"), Snapshot((an_endpoint(),)), policy=policy)
    assert "HAProxy 2.6.12 does not support these server options: guid x." in plan["error"]


async def test_one_backend_that_fails_does_not_hide_the_others() -> None:
    good = the_backend(Behind(), Snapshot(()))
    bad = the_backend(Behind(), SourceError("missing", "gone"), name="be_bad")
    assert [(found.backend, found.converged) for found in await plan_all([bad, good], NO_DAEMON)] == [
        ("be_bad", False),
        ("be_app", True),
    ]


async def test_the_servers_of_a_backend_with_several_sources_are_planned_together() -> None:
    behind, spec = Behind(), a_backend_spec()
    sources = [ScriptedSource(Snapshot((an_endpoint(host),))) for host in (1, 2)]
    (found,) = await plan_all([Backend(spec.desired, sources, [(spec, behind.proxy)], Factory())], NO_DAEMON)
    assert found.plan is not None
    assert {step.server for step in found.plan.steps} == {"dyn-10.0.0.1:80", "dyn-10.0.0.2:80"}
