"""Servers come and go ten times a second under load, and not one request is lost."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.load import load, request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

LONGEST = 60
"""Seconds."""
DELETIONS = 20
"""After so many the load ends: on a quiet machine these are two seconds."""
CHANGES_A_SECOND = 10


@pytest.mark.parametrize(
    "server", [{"check": True, "inter": "50ms", "rise": 1, "fall": 3}, {"check": False}], ids=["checked", "unchecked"]
)
async def test_servers_come_and_go_under_load_and_no_request_is_lost(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, server: dict[str, object]
) -> None:
    servers = await web_servers(8)
    controller = dynsrv(haproxy, backend={"server": server})
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    clock = asyncio.get_running_loop().time
    begun = clock()
    deleted = 0
    async with load(haproxy.frontend) as counts:
        # the file always wants six of the eight; each change lets one in and another go
        for change in range(LONGEST * CHANGES_A_SECOND):
            controller.want(itertools.islice(itertools.cycle(servers), change % 8, change % 8 + 6))
            due = begun + (change + 1) / CHANGES_A_SECOND
            await asyncio.sleep(max(0.0, due - clock()))  # the rate of changes
            deleted = len(controller.lines(Event.SERVER_DELETED))
            if deleted >= DELETIONS:  # on a slow machine some changes come to nothing
                break
        controller.want(servers)
        await serves(haproxy, servers)
    assert not counts.failed
    assert counts.sent > 500
    assert set(counts.answered) == {server.port for server in servers}
    assert deleted >= DELETIONS


async def test_the_load_sees_what_a_rude_removal_loses(haproxy: HAProxy, web_servers: WebServers) -> None:
    """The positive control of the test above: without it, zero failures would prove nothing."""
    old, new = await web_servers(2)
    for server in (old, new):
        await haproxy.do(f"add server be_app/s{server.port} 127.0.0.1:{server.port}")
        await haproxy.do(f"enable server be_app/s{server.port}")
    async with load(haproxy.frontend) as counts:
        await eventually(lambda: counts.sent > 100)
        slow = asyncio.gather(*(request(haproxy.frontend, "/slow") for _ in range(8)), return_exceptions=True)
        await eventually(lambda: old.slow_running > 0)
        await haproxy.do(f"set server be_app/s{old.port} state maint")
        await haproxy.do(f"shutdown sessions server be_app/s{old.port}")
        new.release()
        lost = [one for one in await slow if isinstance(one, Exception)]
    assert lost
