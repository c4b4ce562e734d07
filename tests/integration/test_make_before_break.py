"""When all addresses of a backend change at once, the old servers serve until the new ones do."""

from __future__ import annotations

from dynsrv.logs import Event
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.load import load
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServer, WebServers


async def test_a_rolling_replacement_of_twenty_servers_loses_no_request_and_no_capacity(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    old, new = await web_servers(20), await web_servers(20)
    controller = dynsrv(haproxy, backend={"limits": {}})
    controller.want(old)
    await controller.start()
    await serves(haproxy, old)
    fewest = 20
    async with load(haproxy.frontend, workers=16) as counts:
        controller.want(new)
        while (ready := await haproxy.ready_ports()) != {server.port for server in new}:
            fewest = min(fewest, len(ready))
        await serves(haproxy, new)
        sent = counts.sent
        await eventually(lambda: counts.sent > sent + 500)
    assert not counts.failed
    assert fewest >= 20
    assert not controller.lines(Event.REMOVAL_BLOCKED)


async def test_the_only_server_stays_as_long_as_its_replacement_fails_its_check(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    (old,) = await web_servers(1)
    async with WebServer() as new:
        controller = dynsrv(haproxy, backend={"limits": {}})
        controller.want([old])
        await controller.start()
        await serves(haproxy, [old])
        controller.want([new])
        name = f"dyn-127.0.0.1:{new.port}"

        async def failed() -> bool:
            row = (await haproxy.servers()).get(name)
            return row is not None and row.check_result == 2

        await eventually(failed)
        status = await controller.run("status")
        assert status.code == 2, status
        assert "keeps serving until new servers do" in status.out
        assert await haproxy.ready_ports() == {old.port}
        await new.start()
        await serves(haproxy, [new])


async def test_without_checks_too_the_old_server_goes_only_after_the_new_one_serves(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    (old,), (new,) = await web_servers(1), await web_servers(1)
    controller = dynsrv(haproxy, backend={"limits": {}, "server": {"check": False}})
    controller.want([old])
    await controller.start()
    await serves(haproxy, [old])
    async with load(haproxy.frontend, workers=4) as counts:
        for _ in range(5):
            controller.want([new])
            await serves(haproxy, [new])
            controller.want([old])
            await serves(haproxy, [old])
    assert not counts.failed
