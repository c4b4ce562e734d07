"""dynsrv touches only servers that bear its prefix."""

from __future__ import annotations

from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers


async def test_servers_without_the_prefix_are_never_touched(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    one, two, three = await web_servers(3)
    haproxy: HAProxy = await a_haproxy(
        backend=f"balance roundrobin\nserver static 127.0.0.1:{one.port} weight 7\nserver resting 127.0.0.1:9 disabled"
    )
    await haproxy.do(f"add server be_app/by-hand 127.0.0.1:{two.port}")
    await haproxy.do("set server be_app/by-hand state drain")
    foreign = await haproxy.servers()
    controller = dynsrv(haproxy)
    controller.want([three])
    await controller.start()
    await eventually(lambda: _has(haproxy, f"dyn-127.0.0.1:{three.port}"))
    controller.want([])
    await eventually(lambda: _is(haproxy, set(foreign)))
    assert await haproxy.servers() == foreign


async def test_with_adopt_all_the_servers_of_the_configuration_file_are_taken_over_as_they_are(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    one, two, three = await web_servers(3)
    haproxy: HAProxy = await a_haproxy(
        backend=f"balance roundrobin\nserver static1 127.0.0.1:{one.port} id 11 weight 7"
        f"\nserver static2 127.0.0.1:{two.port} id 12"
    )
    controller = dynsrv(haproxy, backend={"adopt": "all"})
    controller.want([one, three])
    await controller.start()
    await serves(haproxy, [one, three])
    rows = await haproxy.servers()
    assert list(rows) == ["static1", f"dyn-127.0.0.1:{three.port}"]
    assert (rows["static1"].id, rows["static1"].weight) == (11, 100)  # the same server, with the weight that is wanted


async def _has(haproxy: HAProxy, name: str) -> bool:
    return name in await haproxy.servers()


async def _is(haproxy: HAProxy, names: set[str]) -> bool:
    return set(await haproxy.servers()) == names
