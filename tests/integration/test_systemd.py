"""dynsrv as deploy/systemd installs it, under a real systemd: what is told, what is done, and what is allowed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.consul import StartConsul
from tests.integration.support.controller import FAST_CHECK, UNGUARDED, from_consul, register
from tests.integration.support.ports import a_port
from tests.integration.support.systemd_host import SYSTEMD, SystemdHost
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers

RULES = 'service "web" { policy = "read" } node_prefix "" { policy = "read" }'


@pytest.fixture
def drop_in() -> str:
    return "RestartSec=1s"


@pytest.fixture
async def host(an_engine: None, stack: AsyncExitStack, tmp_path: Path, drop_in: str) -> AsyncIterator[SystemdHost]:
    """A machine on which neither HAProxy nor dynsrv is started."""
    assert SYSTEMD.exists(), f"there is no {SYSTEMD}: run `make systemd`"
    frontend, runtime = stack.enter_context(a_port()), stack.enter_context(a_port())
    async with SystemdHost(tmp_path, frontend=frontend, runtime=runtime, drop_in=drop_in) as host:
        yield host


def configure(host: SystemdHost, *servers: WebServer, source: object = None, **top: object) -> None:
    """Let dynsrv manage HAProxy by its socket, and once more over TCP."""
    (host.folder / "servers.yaml").write_text(json.dumps({"servers": [one.endpoint for one in servers]}))
    host.configure(
        proxies=[
            {"name": "lb1", "address": "/run/haproxy/admin.sock"},
            {"name": "lb2", "address": f"tcp://127.0.0.1:{host.runtime}"},
        ],
        backends=[
            {
                "name": "be_app",
                "source": source or {"kind": "file", "path": "servers.yaml"},
                "server": FAST_CHECK,
                "limits": UNGUARDED,
            }
        ],
        **{"web": None, **top},
    )


async def started(host: SystemdHost) -> None:
    await host.done("systemctl", "start", "haproxy", "dynsrv")


async def serve(host: SystemdHost, *servers: WebServer) -> None:
    """Wait until exactly *servers* serve, as anybody who is the user dynsrv can see."""
    wanted = {f"{one.host}:{one.port}" for one in servers}

    async def so() -> bool:
        for look in (await host.status())["backends"]:
            assert {one["address"] for one in look["servers"] if one["serving"]} == wanted, look
        return True

    await eventually(so)


async def test_a_start_lasts_until_haproxy_is_there_and_says_so(host: SystemdHost, web_servers: WebServers) -> None:
    servers = await web_servers(2)
    configure(host, *servers, audit={"path": "/var/log/dynsrv/audit.log"})
    await host.done("systemctl", "start", "--no-block", "dynsrv")
    await host.is_so(ActiveState="activating", StatusText="waiting for the first pass: lb1: unix:///run/haproxy/")
    await host.done("systemctl", "start", "haproxy")
    await host.is_so(ActiveState="active", StatusText="1 backend on 2 proxies, all in sync")
    await serve(host, *servers)
    process = await host.done("cat", f"/proc/{(await host.show('MainPID'))['MainPID']}/status")
    assert {"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} <= set(process.splitlines())
    audit = await host.done("cat", "/var/log/dynsrv/audit.log")
    assert f"add server be_app/dyn-127.0.0.1:{servers[0].port}" in audit
    assert await host.done("stat", "--format", "%U %a", "/var/log/dynsrv/audit.log") == "dynsrv 600\n"
    configure(host, servers[0])
    await serve(host, servers[0])
    await host.done("systemctl", "stop", "dynsrv")
    await host.is_so(ActiveState="inactive", Result="success", ExecMainStatus="0")
    await serve(host, servers[0])


@pytest.mark.parametrize("drop_in", ["TimeoutStartSec=8s\nRestartSec=1s"])
async def test_a_start_may_last_longer_than_its_time_but_not_if_dynsrv_is_stuck(host: SystemdHost) -> None:
    configure(host)
    await host.done("systemctl", "start", "--no-block", "dynsrv")
    await host.is_so(ActiveState="activating", StatusText="waiting for the first pass")

    async def longer() -> bool:
        shown = await host.show("ExecMainStartTimestampMonotonic", "ActiveState", "NRestarts")
        assert (shown["ActiveState"], shown["NRestarts"]) == ("activating", "0")
        now = float((await host.done("cat", "/proc/uptime")).split()[0])
        return now - int(shown["ExecMainStartTimestampMonotonic"]) / 1e6 > 9

    await eventually(longer)
    await host.done("systemctl", "kill", "--signal", "STOP", "dynsrv")
    await host.is_so(NRestarts="1")


async def test_a_reload_takes_over_a_good_configuration_and_a_bad_one_is_told(
    host: SystemdHost, web_servers: WebServers
) -> None:
    first, second = await web_servers(2)
    configure(host, first)
    await started(host)
    (host.folder / "others.yaml").write_text(json.dumps({"servers": [second.endpoint]}))
    configure(host, first, source={"kind": "file", "path": "others.yaml"})
    await host.done("systemctl", "reload", "dynsrv")
    await serve(host, second)
    host.configure(nonsense=1)
    await host.done("systemctl", "reload", "dynsrv")
    await host.is_so(ActiveState="active", StatusText="configuration reload failed: /etc/dynsrv/dynsrv.yaml")
    configure(host, first)
    await host.done("systemctl", "reload", "dynsrv")
    await host.is_so(ActiveState="active", StatusText="1 backend on 2 proxies, all in sync", NRestarts="0")
    await serve(host, first)


async def test_a_wrong_configuration_is_told_and_tried_again_until_it_is_mended(
    host: SystemdHost, web_servers: WebServers
) -> None:
    servers = await web_servers(1)
    await host.done("systemctl", "start", "haproxy")
    finished = await host.run("systemctl", "start", "dynsrv")
    assert finished.code == 1, finished
    missing = "/etc/dynsrv/dynsrv.yaml: there is no such file"
    await host.is_so(ActiveState="activating", SubState="auto-restart", ExecMainStatus="1", StatusText=missing)
    assert f"dynsrv: {missing}" in await host.journal()
    configure(host, *servers)
    await host.is_so(ActiveState="active")
    await serve(host, *servers)


@pytest.mark.parametrize("drop_in", ["WatchdogSec=2s\nRestartSec=1s"])
async def test_a_stuck_dynsrv_is_started_again_and_where_it_was_stuck_is_in_the_journal(
    host: SystemdHost, web_servers: WebServers
) -> None:
    servers = await web_servers(1)
    configure(host, *servers)
    await started(host)
    before = (await host.show("MainPID"))["MainPID"]
    await host.done("systemctl", "kill", "--signal", "STOP", "dynsrv")
    await host.is_so(ActiveState="active", NRestarts="1", StatusText="1 backend on 2 proxies, all in sync")
    assert (await host.show("MainPID"))["MainPID"] != before
    journal = await host.journal()
    assert "Watchdog timeout (limit 2s)!" in journal
    assert "Fatal Python error: Aborted" in journal
    assert "in run_forever" in journal
    await serve(host, *servers)


@pytest.mark.parametrize("drop_in", ["RestartSec=1s\nLoadCredential=consul-token:/etc/dynsrv/credentials/consul-token"])
async def test_a_token_that_only_root_can_read_is_a_credential(
    host: SystemdHost, web_servers: WebServers, a_consul: StartConsul
) -> None:
    consul, servers = await a_consul(acl=True), await web_servers(1)
    await register(consul, *servers)
    credentials = host.folder / "credentials"
    credentials.mkdir(mode=0o700)
    (credentials / "consul-token").write_text(await consul.a_token(await consul.a_policy("dynsrv", RULES)))
    (credentials / "consul-token").chmod(0o600)
    # a name, so that names are resolved in spite of RestrictAddressFamilies
    source = from_consul(
        consul.url.replace("127.0.0.1", "localhost"), token_file="${CREDENTIALS_DIRECTORY}/consul-token"
    )
    configure(host, source=source)
    await started(host)
    await host.is_so(ActiveState="active", StatusText="1 backend on 2 proxies, all in sync")
    assert Event.SOURCE_FAILED not in await host.journal()
