"""What cannot be managed is rejected before anything is sent, with an error that says what to do; the rest goes on."""

from __future__ import annotations

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import StartHAProxy, serves
from tests.integration.support.web_servers import WebServers

SENTENCE = "takes no servers at runtime. HAProxy"
REMEDY = "Use `balance roundrobin`, `leastconn`, `first` or `random`, or give the hash `hash-type consistent`."


@pytest.mark.parametrize(
    ("balance", "named"),
    [("balance static-rr", " (static-rr)"), ("balance source", " (source)"), ("balance uri", " (uri)")],
)
async def test_static_rr_and_map_based_hashes_are_rejected(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, *, balance: str, named: str
) -> None:
    haproxy = await a_haproxy(backend=balance)
    (server,) = await web_servers(1)
    controller = dynsrv(haproxy)
    controller.want([server])
    for command in ("plan", "apply", "status"):
        finished = await controller.run(command)
        assert finished.code == 1, finished
        assert f"backend be_app on lb1: its algorithm{named} {SENTENCE}" in finished.out
        assert REMEDY in finished.out
    live = await controller.run("check", "--live")
    assert live.code == 1
    assert REMEDY in live.out
    assert await haproxy.servers() == {}


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
    for balance in ("leastconn", "first", "random(3)", "source\nhash-type consistent", "hdr(x)\nhash-type consistent"):
        haproxy = await a_haproxy(backend=f"balance {balance}")
        servers = await web_servers(2)
        controller = dynsrv(haproxy)
        controller.want(servers)
        finished = await controller.run("apply")
        assert finished.code == 0, finished
        await serves(haproxy, servers)


@pytest.mark.parametrize("level", ["user", "operator"])
async def test_a_socket_below_level_admin_is_rejected(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, level: str
) -> None:
    haproxy = await a_haproxy(level=level)
    controller = dynsrv(haproxy)
    controller.want(await web_servers(1))
    finished = await controller.run("plan")
    assert finished.code == 1, finished
    assert "the stats socket's level is too low" in finished.out
    assert "Write `level admin` on the `stats socket` line." in finished.out
    live = await controller.run("check", "--live")
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
    assert "cannot add servers at runtime. dynsrv needs HAProxy 2.5 or later." in finished.out
    assert "HAProxy 2.2." in finished.out
