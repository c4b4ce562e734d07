"""A HAProxy that replies nonsense, or without end, costs the backend that was asked about, and nothing else."""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import UNGUARDED, Install
from tests.integration.support.fault_proxy import FaultProxy
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

FILE = {"kind": "file", "path": "servers.yaml"}
MEMORY = 400 * 2**20  # of a daemon that would keep what comes: more than 2 GB


async def _serves(haproxy: HAProxy, backend: str, ports: set[int]) -> bool:
    return {row.port for row in (await haproxy.servers(backend)).values() if row.ready} == ports


@pytest.mark.any_version
async def test_a_number_that_means_nothing_is_an_error_of_its_backend_alone(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, stack: AsyncExitStack, *, tmp_path: Path
) -> None:
    haproxy = await a_haproxy(extra="\nbackend be_odd\n    balance roundrobin\n")
    servers = await web_servers(3)
    between = await stack.enter_async_context(FaultProxy(tmp_path / "proxy.sock", haproxy.socket))
    backends = [{"name": name, "source": FILE, "limits": UNGUARDED} for name in ("be_app", "be_odd")]
    controller = dynsrv(
        haproxy,
        backends=backends,
        proxies=[{"name": "lb1", "address": str(between.path)}],
        resync={"interval": "200ms"},
        log={"format": "json"},
    )
    controller.want(servers[:2])
    await controller.start()
    for backend in ("be_app", "be_odd"):
        await eventually(lambda: _serves(haproxy, backend, {one.port for one in servers[:2]}))  # noqa: B023

    for odd in ("4", "-1", "99", "two"):
        # be_id be_name srv_id srv_name srv_addr srv_op_state
        state = re.compile(rb"(\n\d+ be_odd \S+ \S+ \S+ )\d+ ")
        between.rewrite = lambda answer: state.sub(rb"\g<1>%s " % odd.encode(), answer)  # noqa: B023
        known = len(controller.lines(Event.RECONCILE_FAILED))
        await eventually(lambda: len(controller.lines(Event.RECONCILE_FAILED)) > known)  # noqa: B023
        line = json.loads(controller.lines(Event.RECONCILE_FAILED)[-1])
        assert line["backend"] == "be_odd"
        assert f"srv_op_state: found {odd}" in line["error"].replace("'", "")
        wanted = [servers[0], servers[2]] if odd in {"4", "99"} else servers[:2]
        controller.want(wanted)
        await eventually(lambda: _serves(haproxy, "be_app", {one.port for one in wanted}))  # noqa: B023
    between.rewrite = bytes
    await controller.logged(Event.RECONCILE_RECOVERED)
    controller.want(servers)
    for backend in ("be_app", "be_odd"):
        await eventually(lambda: _serves(haproxy, backend, {one.port for one in servers}))  # noqa: B023
    assert await controller.stop() == 0


def _most_memory(pid: int) -> int:
    """Return the largest size in bytes that a process has had so far."""
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(peak) * 1024


@pytest.mark.any_version
async def test_a_reply_that_does_not_end_costs_its_proxy_alone_and_little_memory(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, stack: AsyncExitStack, *, tmp_path: Path
) -> None:
    good, endless = await a_haproxy(), await a_haproxy()
    servers = await web_servers(3)
    between = await stack.enter_async_context(FaultProxy(tmp_path / "proxy.sock", endless.socket))
    proxies = [{"name": "good", "address": str(good.socket)}, {"name": "endless", "address": str(between.path)}]
    controller = dynsrv(good, endless, proxies=proxies, resync={"interval": "200ms"})
    controller.want(servers[:2])
    await controller.start()
    await serves(endless, servers[:2])
    between.flood = 512 * 2**20
    await eventually(lambda: len(controller.lines(Event.RECONCILE_FAILED)) > 0)
    assert "had not ended after 67108864 bytes" in controller.lines(Event.RECONCILE_FAILED)[0]
    for wanted in (servers, servers[:1], servers):
        controller.want(wanted)
        await serves(good, wanted)
    assert _most_memory(controller.pid) < MEMORY
    between.flood = 0
    await serves(endless, servers)
