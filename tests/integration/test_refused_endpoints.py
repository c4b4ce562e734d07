"""No source can make HAProxy's own Runtime API, or dynsrv's page, a server: its clients would reach that."""

from __future__ import annotations

import pytest

from dynsrv.logs import Event
from tests.integration.support.consul import Consul
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import StartHAProxy, serves
from tests.integration.support.views import start_views
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::ffff:127.0.0.1"])
@pytest.mark.any_version
async def test_a_servers_file_that_lists_the_runtime_api_is_refused_and_the_servers_stay(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, address: str
) -> None:
    (server,) = await web_servers(1)
    haproxy = await a_haproxy(extra=f"\nglobal\n    stats socket ipv4@0.0.0.0:{unused_tcp_port} level admin\n")
    proxies = [{"name": "lb1", "address": f"tcp://127.0.0.1:{unused_tcp_port}"}]
    controller = dynsrv(haproxy, proxies=proxies, backend={"server": {"check": False}})
    controller.want([server])
    await controller.start()
    await serves(haproxy, [server])

    controller.want([server.endpoint, {"address": address, "port": unused_tcp_port}])
    line = await controller.logged(Event.SOURCE_FAILED)
    assert f"servers[1]: found 127.0.0.{address[-1]}:{unused_tcp_port}, but port {unused_tcp_port} there is" in line
    assert [row.port for row in (await haproxy.servers("be_app")).values()] == [server.port]
    finished = await controller.run("apply")
    assert finished.code != 0
    assert [row.port for row in (await haproxy.servers("be_app")).values()] == [server.port]


@pytest.mark.any_version
async def test_a_registration_of_dynsrvs_own_port_is_left_out_and_reported(
    a_haproxy: StartHAProxy, dynsrv: Install, consul: Consul, *, unused_tcp_port: int
) -> None:
    await consul.register("web", address="127.0.0.1", port=unused_tcp_port)
    await consul.register("web", address="169.254.169.254", port=80)
    await consul.register("web", address="::ffff:127.0.0.1", port=81)
    views = await start_views(a_haproxy, dynsrv, consul, web=f"127.0.0.1:{unused_tcp_port}", app={})
    await views.show(app={81: "ready"})
    assert set(await views.haproxy.servers("app")) == {"dyn-127.0.0.1:81"}

    def reported() -> bool:
        log = views.controller.log.read_text()
        return "which no server may have" in log and "expected an address that is not link-local" in log

    await eventually(reported)
