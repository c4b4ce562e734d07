"""Why a server gets no requests can be told from the status alone, and from the log alone, with the same sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynsrv.logs import Event
from tests.integration.support.api import TOKEN, Api, name_of
from tests.integration.support.controller import FAST_CHECK, Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

CHECK_FAILS = re.compile(
    r"its health check is failing \(L4CON, .*(?i:refused).*\); it receives no requests until a check passes"
)
HELD = "held by an operator: put into {} by hand; set it to ready to release it"


@dataclass(frozen=True)
class Stage:
    """A dynsrv that keeps four servers in the backend be_app, and its API; be_static is a backend that it rejects."""

    haproxy: HAProxy
    controller: Dynsrv
    api: Api
    servers: list[WebServer]

    async def line(self, event: Event, **fields: str) -> dict[str, Any]:
        """Return the line of the log with this event and these fields, as soon as it is there."""

        def found() -> dict[str, Any] | None:
            lines = self.controller.log_data()
            return next((line for line in lines if line["event"] == event and fields.items() <= line.items()), None)

        line = await eventually(found, what=f"{event} with {fields}")
        assert isinstance(line, dict)
        return line

    async def why(self, server: WebServer, why: str | re.Pattern[str]) -> dict[str, Any]:
        """Wait until the status says of *server* that it gets no requests, and exactly why."""
        told: dict[str, Any] = {}

        async def said() -> bool:
            nonlocal told
            told = await self.api.server(name_of(server))
            matches = why.fullmatch(told["why"]) if isinstance(why, re.Pattern) else told["why"] == why
            assert matches, told
            assert not told["serving"]
            return True

        await eventually(said)
        return told

    async def all_serve_again(self) -> None:
        self.controller.want(self.servers)
        await self.api.shows(lambda status: _all_are_as_desired(status["backends"][0], self.servers))
        await serves(self.haproxy, self.servers)


def _all_are_as_desired(backend: dict[str, Any], servers: list[WebServer]) -> bool:
    found = {one["name"]: one["why"] for one in backend["servers"]}
    return found == {name_of(server): "as desired" for server in servers}


async def test_the_status_and_the_log_say_why_a_server_gets_no_requests(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    haproxy = await a_haproxy(extra="\nbackend be_static\n    balance static-rr\n")
    limits = {"max_removed": 0}
    common = {"source": {"kind": "file", "path": "servers.yaml"}, "server": FAST_CHECK, "limits": limits}
    controller = dynsrv(
        haproxy,
        backends=[{"name": "be_app", **common}, {"name": "be_static", **common}],
        web={"listen": f"127.0.0.1:{unused_tcp_port}", "token_file": "token"},
        log={"format": "json"},
        resync={"interval": "200ms"},
    )
    stage = Stage(haproxy, controller, Api(unused_tcp_port), await web_servers(4))
    controller.want(stage.servers)
    await controller.start()
    await serves(haproxy, stage.servers)
    await controller.logged(Event.BACKEND_IN_SYNC)

    await _the_backend_is_rejected(stage)
    await _the_guard_refuses(stage)
    await stage.all_serve_again()
    await _an_operator_holds_it(stage)
    await stage.all_serve_again()
    await _the_check_of_a_new_server_fails(stage)
    await stage.all_serve_again()
    await _the_check_of_a_server_that_served_fails(stage)
    await _the_source_is_stale(stage)
    await _haproxy_cannot_be_reached(stage)


async def _the_backend_is_rejected(stage: Stage) -> None:
    backend = await stage.api.backend(name="be_static")
    assert backend["error"].startswith(
        "backend be_static on lb1: its algorithm (static-rr) does not accept servers at runtime. HAProxy "
    )
    assert backend["error"].endswith(
        "Use `balance roundrobin`, `leastconn`, `first` or `random`, or give the hash `hash-type consistent`."
    )
    line = await stage.line(Event.RECONCILE_FAILED, backend="be_static")
    assert (line["error"], line["level"]) == (backend["error"], "error")


async def _the_guard_refuses(stage: Stage) -> None:
    stage.controller.want(stage.servers[:1])
    reason = (
        "3 of 4 serving servers would be removed: 0 now, 3 not: at most 0 of 4 may be removed within 60 s"
        " (limits.max_removed: 0); if this is intended, run dynsrv apply --force"
    )
    status = await stage.api.shows(lambda status: status["backends"][0].get("refusals"))
    backend = status["backends"][0]
    assert backend["refusals"] == [{"rule": "max_removed", "reason": reason}]
    assert not backend["converged"]
    kept = {one["name"]: (one["waits_for"], one["why"]) for one in backend["servers"] if not one["as_desired"]}
    why = "no longer listed by the source; kept by the guard (limits.max_removed)"
    assert kept == {name_of(one): ("guard", why) for one in stage.servers[1:]}
    line = await stage.line(Event.REMOVAL_BLOCKED)
    assert (line["rule"], line["reason"], line["level"]) == ("max_removed", reason, "warning")


async def _an_operator_holds_it(stage: Stage) -> None:
    over_the_api, by_hand, *_ = stage.servers
    assert (await stage.api.hold(name_of(over_the_api)))[0] == 200
    await stage.haproxy.do(f"set server be_app/{name_of(by_hand)} state maint")
    for server, state in ((over_the_api, "drain"), (by_hand, "maint")):
        assert (await stage.why(server, HELD.format(state)))["waits_for"] == "operator"
        line = await stage.line(Event.SERVER_HELD, server=name_of(server))
        assert line["reason"] == HELD.format(state)
    line = await stage.line(Event.SERVER_DRAINING, server=name_of(over_the_api))
    assert line["reason"] == "held by an operator through the API"
    for server in (over_the_api, by_hand):
        assert (await stage.api.release(name_of(server)))[0] == 200


async def _the_check_of_a_new_server_fails(stage: Stage) -> None:
    async with WebServer() as never:  # does not listen
        stage.controller.want([*stage.servers, never])
        told = await stage.why(never, CHECK_FAILS)
        assert told["check_detail"] in told["why"]
        assert (told["state"], told["check"], told["waits_for"]) == ("maint", "failed", "check")
        line = await stage.line(Event.SERVER_NOT_ADMITTED, server=name_of(never))
        assert CHECK_FAILS.fullmatch(line["reason"])
        assert (line["proxy"], line["backend"]) == ("lb1", "be_app")
        assert len(stage.controller.lines(Event.SERVER_NOT_ADMITTED)) == 1


async def _the_check_of_a_server_that_served_fails(stage: Stage) -> None:
    await stage.servers[0].stop()
    told = await stage.why(stage.servers[0], CHECK_FAILS)
    assert (told["state"], told["operational"], told["check"]) == ("ready", "down", "failed")
    # which HAProxy does by itself, and logs itself


async def _the_source_is_stale(stage: Stage) -> None:
    file = stage.controller.servers_file
    file.write_text("servers:\n  - {address: 127.0.0.1, port: 80}\n  - {address: web1, port: 80}\n")
    error = (
        f'{file}:3: servers[1].address: found "web1", expected an IPv4 or IPv6 address:'
        " HAProxy resolves no host name of a server added at runtime"
    )
    status = await stage.api.shows(lambda status: status["sources"][0]["error"])
    source = status["sources"][0]
    assert (source["up"], source["reason"], source["error"], source["endpoints"]) == (False, "invalid", error, 4)
    line = await stage.line(Event.SOURCE_FAILED, backend="be_app")
    assert (line["source"], line["reason"], line["error"]) == ("file", "invalid", error)
    assert {row.port for row in (await stage.haproxy.servers()).values()} == {one.port for one in stage.servers}


async def _haproxy_cannot_be_reached(stage: Stage) -> None:
    await stage.haproxy.stop()
    stage.haproxy.socket.unlink(missing_ok=True)
    stage.controller.want(stage.servers[1:])
    error = (
        f"lb1: unix://{stage.haproxy.socket}: "
        "no such socket: HAProxy is not running, or its `stats socket` has another path"
    )
    status = await stage.api.shows(
        lambda status: (
            status["proxies"][0]["error"] == status["backends"][0]["error"] == error
            and status["sources"][0]["endpoints"] == 3
        )
    )
    assert not status["proxies"][0]["up"]
    assert not status["backends"][0]["converged"]
    await stage.line(Event.HAPROXY_UNREACHABLE, error=error)
    await stage.line(Event.RECONCILE_FAILED, backend="be_app", error=error)
