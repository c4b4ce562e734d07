"""Ids are functions of the endpoint: stable, equal on every HAProxy, and every server gets its share."""

from __future__ import annotations

import pytest

from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import request
from tests.integration.support.web_servers import WebServers


async def test_the_same_endpoints_have_the_same_ids_and_names_on_two_haproxys_and_after_a_restart(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    first, second = await a_haproxy(), await a_haproxy(backend="balance roundrobin\nserver static 127.0.0.1:9 disabled")
    servers = await web_servers(5)
    controller = dynsrv(first, second)
    controller.want(servers[:2])
    await controller.start()
    await serves(first, servers[:2])
    controller.want(reversed(servers))
    await serves(first, servers)

    async def ids(haproxy: HAProxy) -> dict[str, int]:
        return {row.name: row.id for row in (await haproxy.servers()).values() if row.name != "static"}

    before = await ids(first)
    await first.stop(kill=True)
    await first.start()
    await serves(first, servers)
    assert before == await ids(first) == await ids(second)
    assert len(set(before.values())) == 5


@pytest.mark.parametrize("balance", ["balance random", "balance uri\nhash-type consistent"])
async def test_each_of_eight_servers_gets_requests(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, balance: str
) -> None:
    haproxy = await a_haproxy(backend=balance)
    servers = await web_servers(8)
    controller = dynsrv(haproxy)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    answered = [await request(haproxy.frontend, f"/{number}") for number in range(400)]
    shares = {server.port: answered.count(server.port) for server in servers}
    assert min(shares.values()) >= 10, shares  # 50 on the average
