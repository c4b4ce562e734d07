"""A backend's live servers follow a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dynsrv.logs import Event
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import request
from tests.integration.support.web_servers import WebServers


async def test_servers_are_added_and_deleted_as_the_file_says(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    one, two, three = servers = await web_servers(3)
    controller = dynsrv(haproxy)
    controller.want([one, two])
    await controller.start()
    await serves(haproxy, [one, two])
    controller.want(servers)
    await serves(haproxy, servers)
    assert {await request(haproxy.frontend) for _ in range(6)} == {server.port for server in servers}
    controller.want([three])
    await serves(haproxy, [three])
    controller.want([])
    await serves(haproxy, [])


@pytest.mark.any_version
async def test_a_config_maps_swap_of_symlinks_is_seen(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, tmp_path: Path
) -> None:
    one, two = await web_servers(2)
    controller = dynsrv(haproxy)
    data = tmp_path / "..data"
    for number, server in enumerate((one, two)):
        (tmp_path / f"..{number}").mkdir()
        controller.want([server])
        controller.servers_file.rename(tmp_path / f"..{number}" / "servers.yaml")
    data.symlink_to("..0")
    controller.servers_file.symlink_to("..data/servers.yaml")
    await controller.start()
    await serves(haproxy, [one])
    (tmp_path / "..new").symlink_to("..1")
    os.rename(tmp_path / "..new", data)  # noqa: PTH104 - as kubelet does it
    await serves(haproxy, [two])


@pytest.mark.any_version
async def test_a_broken_file_changes_nothing_and_is_told_once(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install
) -> None:
    _, two = servers = await web_servers(2)
    controller = dynsrv(haproxy)
    controller.want(servers)
    await controller.start()
    await serves(haproxy, servers)
    controller.servers_file.write_text("servers:\n  - {address: 10.0.0.1, port: 80}\n  - {address: 10.0")
    await controller.logged(Event.SOURCE_FAILED)
    await serves(haproxy, servers)
    controller.want([two])
    await controller.logged(Event.SOURCE_RECOVERED)
    await serves(haproxy, [two])
    assert len(controller.lines(Event.SOURCE_FAILED)) == 1


@pytest.mark.any_version
async def test_one_file_feeds_two_proxies(a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install) -> None:
    first, second = await a_haproxy(), await a_haproxy()
    servers = await web_servers(2)
    controller = dynsrv(first, second)
    controller.want(servers)
    await controller.start()
    await serves(first, servers)
    await serves(second, servers)
    await first.stop(kill=True)  # one that is gone does not hold the other up
    controller.want(servers[:1])
    await serves(second, servers[:1])
