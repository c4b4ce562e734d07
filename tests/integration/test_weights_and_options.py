"""A weight is changed in place; other options make another server, which serves before the old one goes."""

from __future__ import annotations

from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import load, request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers


async def test_a_weight_is_changed_in_place(haproxy: HAProxy, web_servers: WebServers, dynsrv: Install) -> None:
    one, two = await web_servers(2)
    controller = dynsrv(haproxy)
    controller.want([{**one.endpoint, "weight": 10}, two])
    await controller.start()
    await serves(haproxy, [one, two])
    before = await haproxy.servers()
    assert {row.port: row.weight for row in before.values()} == {one.port: 10, two.port: 100}
    for _ in range(4):
        await request(haproxy.frontend)
    controller.want([{**one.endpoint, "weight": 200}, {**two.endpoint, "weight": 0}])

    async def changed() -> bool:
        rows = await haproxy.servers()
        assert {row.name: (row.id, row.total) for row in rows.values()} == {
            row.name: (row.id, 2) for row in before.values()
        } or rows
        return {row.port: row.weight for row in rows.values()} == {one.port: 200, two.port: 0}

    await eventually(changed)
    after = await haproxy.servers()
    assert [(row.name, row.id) for row in after.values()] == [(row.name, row.id) for row in before.values()]
    assert sum(row.total for row in after.values()) == 4  # the counters of the same servers
    assert {await request(haproxy.frontend) for _ in range(6)} == {one.port}


async def test_a_weight_changed_by_hand_is_set_right_at_the_next_resync(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    (server,) = await web_servers(1)
    controller = dynsrv(haproxy, resync={"interval": "300ms"})
    controller.want([server])
    await controller.start()
    await serves(haproxy, [server])
    name = f"dyn-127.0.0.1:{server.port}"
    await haproxy.do(f"set server be_app/{name} weight 3")

    async def healed() -> bool:
        return (await haproxy.servers())[name].weight == 100

    await eventually(healed)


async def test_changed_options_replace_the_servers_without_losing_a_request(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(3)
    controller = dynsrv(haproxy)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    before = {row.id for row in (await haproxy.servers()).values()}
    assert await controller.stop() == 0
    changed: Dynsrv = dynsrv(haproxy, backend={"server": {"check": True, "inter": "150ms", "rise": 1, "maxconn": 77}})
    async with load(haproxy.frontend) as counts:
        await changed.start()

        async def replaced() -> bool:
            rows = (await haproxy.servers()).values()
            return len(rows) == 3 and not before & {row.id for row in rows}

        await eventually(replaced)
        await serves(haproxy, servers)
    assert not counts.failed
    assert counts.sent > 0
    assert await _maxconn(haproxy) == {"77"}


async def _maxconn(haproxy: HAProxy) -> set[str]:
    stat = (await haproxy.ask("show stat be_app 4 -1")).splitlines()
    column = stat[0][2:].split(",").index("slim")
    return {line.split(",")[column] for line in stat[1:] if line}


async def test_maxconn_is_changed_in_place_set_right_and_taken_away(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    (server,) = await web_servers(1)
    controller = dynsrv(haproxy, backend={"server": {"check": False, "maxconn": 10}}, resync={"interval": "300ms"})
    controller.want([server])
    await controller.start()
    await serves(haproxy, [server])
    (before,) = (await haproxy.servers()).values()

    async def is_(maxconn: str) -> bool:
        return await _maxconn(haproxy) == {maxconn}

    assert await is_("10")
    controller.want([{**server.endpoint, "maxconn": 25}])
    await eventually(lambda: is_("25"))
    await haproxy.do(f"set maxconn server be_app/{before.name} 3")
    await eventually(lambda: is_("25"))
    controller.want([{**server.endpoint, "maxconn": 0}])
    await eventually(lambda: is_(""))
    (after,) = (await haproxy.servers()).values()
    assert (after.name, after.id) == (before.name, before.id)


async def test_an_endpoints_own_options_replace_the_backends(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    one, two = await web_servers(2)
    controller = dynsrv(haproxy)
    controller.want([one, {**two.endpoint, "options": ["backup"]}])
    await controller.start()
    await serves(haproxy, [one, two])
    assert {await request(haproxy.frontend) for _ in range(6)} == {one.port}  # a backup server waits for the others
    controller.want([one, two])
    await eventually(lambda: _answers_too(haproxy, two.port))


async def _answers_too(haproxy: HAProxy, port: int) -> bool:
    return port in {await request(haproxy.frontend) for _ in range(4)}


async def test_an_option_that_this_version_does_not_take_is_told_before_anything_is_sent(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    options = ["strict-maxconn"]  # 3.2
    controller = dynsrv(haproxy, backend={"server": {"check": False, "options": options}})
    controller.want(await web_servers(1))
    applied = await controller.run("apply")
    live = await controller.run("check", "--live")
    if haproxy.version in {"2.6", "3.0"}:
        assert applied.code == live.code == 1, applied
        sentence = "does not support these server options: strict-maxconn. Remove them"
        assert sentence in applied.out
        assert sentence in live.out
        assert "unknown keyword" not in haproxy.log.read_text()
    else:
        assert applied.code == live.code == 0, applied


async def test_an_option_may_have_an_argument_that_is_a_keyword_too(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(2)
    options = ["observe layer7", "on-error fastinter"]
    if haproxy.version != "2.6":
        options += ["hash-key id", "send-proxy-v2", "set-proxy-v2-tlv-fmt(0xE0) %[src]"]
    controller = dynsrv(haproxy, backend={"server": {"check": False, "options": options}})
    controller.want(servers)
    applied = await controller.run("apply")
    assert applied.code == 0, applied
    await serves(haproxy, servers)


async def test_the_plan_says_before_that_clients_no_longer_stick_to_a_server_that_is_replaced(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    servers = await web_servers(4)
    haproxy = await a_haproxy(
        backend="balance roundrobin\nstick-table type string len 32 size 1k\nstick on url_param(client)"
    )
    controller = dynsrv(haproxy)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    stuck = {number: await request(haproxy.frontend, f"/?client={number}") for number in range(20)}
    assert stuck == {number: await request(haproxy.frontend, f"/?client={number}") for number in range(20)}
    assert await controller.stop() == 0
    changed: Dynsrv = dynsrv(haproxy, backend={"server": {"check": True, "inter": "150ms", "fall": 1, "rise": 1}})
    before = await changed.run("plan", "--json")
    reasons = {step["reason"] for step in before.json["backends"][0]["steps"] if step["step"] == "add"}
    assert reasons == {"replaces a server whose options changed: clients that stick to that one move to other servers"}
    old = {row.id for row in (await haproxy.servers()).values()}
    await changed.start()

    async def replaced() -> bool:
        return not old & {row.id for row in (await haproxy.servers()).values()}

    await eventually(replaced)
    await serves(haproxy, servers)
    after = {number: await request(haproxy.frontend, f"/?client={number}") for number in reversed(range(20))}
    assert after != stuck
