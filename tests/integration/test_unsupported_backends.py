"""What cannot be managed is rejected before anything is sent, with an error that says what to do; the rest goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import Install
from tests.integration.support.fault_proxy import FaultProxy
from tests.integration.support.haproxy import StartHAProxy, serves
from tests.integration.support.web_servers import WebServers

SENTENCE = "does not accept servers at runtime. HAProxy"
REMEDY = "Use `balance roundrobin`, `leastconn`, `first` or `random`, or give the hash `hash-type consistent`."

FILE = {"kind": "file", "path": "servers.yaml"}


def _backends(lines: Mapping[str, str]) -> str:
    return "".join(f"\nbackend {name}\n    {text}\n" for name, text in lines.items())


async def test_static_rr_and_map_based_hashes_are_rejected(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    algorithms = {"be_app": "static-rr", "be_source": "source", "be_uri": "uri"}
    haproxy = await a_haproxy(
        backend="balance static-rr", extra=_backends({"be_source": "balance source", "be_uri": "balance uri"})
    )
    controller = dynsrv(haproxy, backends=[{"name": name, "source": FILE} for name in algorithms])
    controller.want(await web_servers(1))
    for command in ("plan", "apply", "status"):
        finished = await controller.run(command)
        assert finished.code == 1, finished
        for name, algorithm in algorithms.items():
            assert f"backend {name} on lb1: its algorithm ({algorithm}) {SENTENCE}" in finished.out
        assert finished.out.count(REMEDY) == 3
    live = await controller.run("check", "--live")
    assert live.code == 1
    assert live.out.count(REMEDY) == 3
    for name in algorithms:
        assert await haproxy.servers(name) == {}


async def test_a_rejected_backend_does_not_hold_up_the_others_and_is_asked_again_after_a_reload(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    bad, good = await a_haproxy(backend="balance static-rr", master_worker=True), await a_haproxy()
    servers = await web_servers(2)
    controller = dynsrv(bad, good, resync={"interval": "1h"})
    controller.want(servers)
    await controller.start()
    await serves(good, servers)
    await controller.logged(REMEDY)
    assert await bad.servers() == {}
    bad.configure(backend="balance leastconn")
    await bad.reload()
    await serves(bad, servers)
    await controller.logged(Event.RECONCILE_RECOVERED)


async def test_other_algorithms_are_taken(a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install) -> None:
    consistent = "hash-type consistent"
    balances = ["leastconn", "first", "random(3)", f"source\n    {consistent}", f"hdr(x)\n    {consistent}"]
    backends = {f"be_{number}": f"balance {balance}" for number, balance in enumerate(balances)}
    haproxy = await a_haproxy(extra=_backends(backends))
    servers = await web_servers(2)
    controller = dynsrv(haproxy, backends=[{"name": name, "source": FILE} for name in backends])
    controller.want(servers)
    finished = await controller.run("apply")
    assert finished.code == 0, finished
    for name in backends:
        rows = (await haproxy.servers(name)).values()
        assert {row.port for row in rows if row.ready} == {server.port for server in servers}, name


async def test_a_socket_below_level_admin_is_rejected(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    levels = ("user", "operator")
    controller = dynsrv(*[await a_haproxy(level=level) for level in levels])
    controller.want(await web_servers(1))
    finished = await controller.run("plan")
    assert finished.code == 1, finished
    assert finished.out.count("the stats socket's level is too low") == 2
    assert finished.out.count("Write `level admin` on the `stats socket` line.") == 2
    live = await controller.run("check", "--live")
    for level in levels:
        assert f"level {level}; write `level admin` on the `stats socket` line" in live.out


async def test_a_backend_that_haproxy_does_not_have_is_rejected(a_haproxy: StartHAProxy, dynsrv: Install) -> None:
    haproxy = await a_haproxy()
    controller = dynsrv(haproxy, backend={"name": "be_typo"})
    controller.want([])
    finished = await controller.run("plan")
    assert finished.code == 1, finished
    assert "backend be_typo on lb1: HAProxy has no such backend." in finished.out
    assert "Compare `name` in the configuration of dynsrv with `backend` in haproxy.cfg." in finished.out


@pytest.mark.parametrize("version", ["2.2"])
async def test_a_haproxy_without_add_server_is_rejected(a_haproxy: StartHAProxy, dynsrv: Install) -> None:
    haproxy = await a_haproxy()
    controller = dynsrv(haproxy)
    controller.want([])
    finished = await controller.run("plan")
    assert finished.code == 1, finished
    assert "cannot add servers at runtime. dynsrv needs HAProxy 2.5.1 or later." in finished.out
    assert "HAProxy 2.2." in finished.out


@pytest.mark.parametrize("version", ["2.6"])
async def test_a_haproxy_that_the_second_server_would_crash_is_rejected_before_anything_is_sent(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, stack: AsyncExitStack, *, tmp_path: Path
) -> None:
    haproxy = await a_haproxy()
    between = await stack.enter_async_context(FaultProxy(tmp_path / "proxy.sock", haproxy.socket))
    between.rewrite = lambda answer: re.sub(rb"\nVersion: \S+", b"\nVersion: 2.5.0", answer)
    controller = dynsrv(haproxy, proxies=[{"name": "lb1", "address": str(between.path)}])
    controller.want(await web_servers(2))
    for command in (["plan"], ["apply"], ["check", "--live"]):
        finished = await controller.run(*command)
        assert finished.code == 1, finished
        assert "HAProxy 2.5.0 crashes when servers are added at runtime. dynsrv needs HAProxy 2.5.1" in finished.out
    assert b"show servers state" in between.asked
    assert b"add server" not in between.asked


ALERT = "'server' expects <name> and <addr>"


async def test_no_command_leaves_an_alert_in_haproxys_log_that_is_not_needed(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    haproxy = await a_haproxy(extra=_backends({"be_random": "balance random"}))
    servers = await web_servers(2)

    async def alerts(backend: str, *commands: str) -> int:
        controller = dynsrv(haproxy, backends=[{"name": backend, "source": FILE}])
        controller.want(servers)
        before = haproxy.log.read_text()
        for command in commands:
            finished = await controller.run(*command.split())
            assert finished.code in {0, 2}, finished
        return haproxy.log.read_text().removeprefix(before).count(ALERT)

    # what HAProxy shows of roundrobin is enough
    assert await alerts("be_app", "plan", "status", "apply", "plan", "status", "apply", "check --live") == 0
    # of random it is not, where servers are to be added
    assert await alerts("be_random", "apply") == 1
    assert await alerts("be_random", "plan", "status", "apply") == 0
    assert await alerts("be_random", "check --live") == 1
