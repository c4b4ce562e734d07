"""Why a server gets no requests can be told from the status alone, and from the log alone, with the same sentence."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from dynsrv.logs import Event
from tests.integration.support.api import TOKEN, Api, name_of
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

CHECK_FAILS = "its health check is failing; it receives no requests until a check passes"


def _dynsrv(dynsrv: Install, haproxy: HAProxy, port: int, *, folder: Path, **settings: Any) -> tuple[Dynsrv, Api]:
    (folder / "token").write_text(TOKEN)
    web = {"listen": f"127.0.0.1:{port}", "token_file": "token"}
    controller = dynsrv(haproxy, web=web, log={"format": "json"}, resync={"interval": "200ms"}, **settings)
    return controller, Api(port)


async def _line(controller: Dynsrv, event: Event, **fields: str) -> dict[str, Any]:
    """Return the line of the log with this event and these fields, as soon as it is there."""

    def found() -> dict[str, Any] | None:
        lines = controller.log_data()
        return next((line for line in lines if line["event"] == event and fields.items() <= line.items()), None)

    line = await eventually(found, what=f"{event} with {fields}")
    assert isinstance(line, dict)
    return line


async def _why(api: Api, server: str, why: str) -> dict[str, Any]:
    """Wait until the status tells of a server that it gets no requests, and exactly why."""
    told: dict[str, Any] = {}

    async def said() -> bool:
        nonlocal told
        told = await api.server(server)
        assert (told["why"], told["serving"]) == (why, False)
        return True

    await eventually(said)
    return told


async def test_the_check_of_a_new_server_fails(
    haproxy: HAProxy, dynsrv: Install, stack: AsyncExitStack, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    never = await stack.enter_async_context(WebServer())  # does not listen
    controller, api = _dynsrv(dynsrv, haproxy, unused_tcp_port, folder=tmp_path)
    controller.want([never])
    await controller.start()
    await api.ready()
    told = await _why(api, name_of(never), CHECK_FAILS)
    assert (told["state"], told["check"], told["waits_for"]) == ("maint", "failed", "check")
    line = await _line(controller, Event.SERVER_NOT_ADMITTED, server=name_of(never))
    assert (line["reason"], line["proxy"], line["backend"]) == (CHECK_FAILS, "lb1", "be_app")
    assert len(controller.lines(Event.SERVER_NOT_ADMITTED)) == 1


async def test_the_check_of_a_server_that_served_fails(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(2)
    controller, api = _dynsrv(dynsrv, haproxy, unused_tcp_port, folder=tmp_path)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await servers[0].stop()
    told = await _why(api, name_of(servers[0]), CHECK_FAILS)
    assert (told["state"], told["operational"], told["check"]) == ("ready", "down", "failed")
    # which HAProxy does by itself, and logs itself


async def test_the_guard_refuses(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(4)
    controller, api = _dynsrv(dynsrv, haproxy, unused_tcp_port, folder=tmp_path, backend={"limits": {}})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await controller.logged(Event.BACKEND_IN_SYNC)
    controller.want(servers[:1])
    reason = (
        "3 of 4 serving servers would be removed, 3 fewer than served within the last 60 s; the limit is 2"
        " (limits.max_removed: 50%); if this is intended, run dynsrv apply --force"
    )
    status = await api.shows(lambda status: status["backends"][0].get("refusals"))
    (backend,) = status["backends"]
    assert backend["refusals"] == [{"rule": "max_removed", "reason": reason}]
    assert not backend["converged"]
    kept = {one["name"]: (one["waits_for"], one["why"]) for one in backend["servers"] if not one["as_desired"]}
    why = "no longer listed by the source; kept by the guard (limits.max_removed)"
    assert kept == {name_of(one): ("guard", why) for one in servers[1:]}
    line = await _line(controller, Event.REMOVAL_BLOCKED)
    assert (line["rule"], line["reason"], line["level"]) == ("max_removed", reason, "warning")


async def test_an_operator_holds_it(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(2)
    controller, api = _dynsrv(dynsrv, haproxy, unused_tcp_port, folder=tmp_path)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    await controller.logged(Event.BACKEND_IN_SYNC)
    over_the_api, by_hand = map(name_of, servers)
    assert (await api.hold(over_the_api))[0] == 200
    await haproxy.do(f"set server be_app/{by_hand} state maint")
    for server, state in ((over_the_api, "drain"), (by_hand, "maint")):
        why = f"held by an operator: put into {state} by hand; set it to ready to release it"
        assert (await _why(api, server, why))["waits_for"] == "operator"
        line = await _line(controller, Event.SERVER_HELD, server=server)
        assert line["reason"] == why
    line = await _line(controller, Event.SERVER_DRAINING, server=over_the_api)
    assert line["reason"] == "held by an operator through the API"


async def test_the_source_is_stale(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(2)
    controller, api = _dynsrv(dynsrv, haproxy, unused_tcp_port, folder=tmp_path)
    controller.want(servers[:1])
    await controller.start()
    await serves(haproxy, servers[:1])
    controller.servers_file.write_text("servers:\n  - {address: 127.0.0.1, port: 80}\n  - {address: web1, port: 80}\n")
    error = (
        f'{controller.servers_file}:3: servers[1].address: found "web1", expected an IPv4 or IPv6 address:'
        " HAProxy resolves no host name of a server added at runtime"
    )
    status = await api.shows(lambda status: status["sources"][0]["error"])
    (source,) = status["sources"]
    assert (source["up"], source["reason"], source["error"], source["endpoints"]) == (False, "invalid", error, 1)
    line = await _line(controller, Event.SOURCE_FAILED)
    assert (line["backend"], line["source"], line["reason"], line["error"]) == ("be_app", "file", "invalid", error)
    await serves(haproxy, servers[:1])


async def test_the_backend_is_rejected(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    haproxy = await a_haproxy(backend="balance static-rr")
    controller, api = _dynsrv(dynsrv, haproxy, unused_tcp_port, folder=tmp_path)
    controller.want(await web_servers(1))
    await controller.start()
    await api.ready()
    status = await api.shows(lambda status: status["backends"][0]["error"])
    (backend,) = status["backends"]
    assert backend["error"].startswith(
        "backend be_app on lb1: its algorithm (static-rr) takes no servers at runtime. HAProxy "
    )
    assert backend["error"].endswith(
        "Use `balance roundrobin`, `leastconn`, `first` or `random`, or give the hash `hash-type consistent`."
    )
    line = await _line(controller, Event.RECONCILE_FAILED)
    assert (line["error"], line["level"]) == (backend["error"], "error")


async def test_haproxy_cannot_be_reached(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    servers = await web_servers(2)
    controller, api = _dynsrv(dynsrv, haproxy, unused_tcp_port, folder=tmp_path)
    controller.want(servers[:1])
    await controller.start()
    await serves(haproxy, servers[:1])
    await haproxy.stop()
    haproxy.socket.unlink(missing_ok=True)
    controller.want(servers)
    error = (
        f"lb1: unix://{haproxy.socket}: no such socket: HAProxy is not running, or its `stats socket` has another path"
    )
    status = await api.shows(lambda s: s["proxies"][0]["error"] == s["backends"][0]["error"] == error)
    assert not status["proxies"][0]["up"]
    assert not status["backends"][0]["converged"]
    assert status["sources"][0]["endpoints"] == 2
    await _line(controller, Event.HAPROXY_UNREACHABLE, error=error)
    await _line(controller, Event.RECONCILE_FAILED, error=error)
