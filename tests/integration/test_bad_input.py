"""Bad input gets an error that says where, what was found, what was expected and what to do; nothing is changed."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import pytest

from dynsrv.logs import Event
from dynsrv.runtime import Client, commands, errors
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, serves
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version

BILLIONS = "a0: &a0 text\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)
"""A few hundred bytes that stand for billions of values."""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("proxis: []\n", "unknown key; did you mean proxies?"),
        ("proxies: [{address: /s}]\nresync: {interval: 30}\n", "write 30s or 30ms"),
        ("proxies: [{address: 'http://lb'}]\n", "the stats socket, which speaks no HTTP"),
        ("proxies: [{address: /s}\n", "dynsrv.yaml"),
        ("", "dynsrv.yaml"),
        (BILLIONS, "dynsrv.yaml:6: the aliases up to here repeat"),
    ],
)
async def test_a_wrong_configuration_file_is_refused_whole_at_start(dynsrv: Install, text: str, sentence: str) -> None:
    controller = dynsrv()
    controller.configuration.write_text(text)
    for command in ("run", "plan", "apply", "status", "check"):
        finished = await controller.run(command)
        assert finished.code == 1, finished
        assert finished.err.startswith(f"dynsrv: {controller.configuration}"), finished
        assert sentence in finished.err


async def test_a_wrong_command_line_is_an_error_and_not_a_difference(dynsrv: Install) -> None:
    controller = dynsrv()
    assert (await controller.run("plan", "--nonsense")).code == 1  # 2 would mean that HAProxy is out of sync


BAD_FILES = {
    "half-written": ("servers:\n  - {address: 10.0.0.1, por", "servers.yaml:2"),
    "a host name": ("servers: [{address: web.example, port: 80}]", "web.example"),
    "port 0": ("servers: [{address: 10.0.0.1, port: 0}]", "servers[0].port"),
    "port 70000": ("servers: [{address: 10.0.0.1, port: 70000}]", "found 70000"),
    "two equal endpoints": ("servers: [{address: 10.0.0.1, port: 80}, {address: 10.0.0.1, port: 80}]", "10.0.0.1:80"),
    "weight 300": ("servers: [{address: 10.0.0.1, port: 80, weight: 300}]", "found 300"),
    "a name with ;": ("servers: [{address: 10.0.0.1, port: 80, name: 'a;b'}]", "a;b"),
    "a name with a newline": ('servers: [{address: 10.0.0.1, port: 80, name: "a\\nb"}]', "servers[0].name"),
    "an unknown key": ("servers: [{address: 10.0.0.1, port: 80, wieght: 3}]", "did you mean weight?"),
    "an option smuggled into an address": ("servers: [{address: '10.0.0.1:80 weight 0', port: 80}]", "weight 0"),
    "an empty file": ("", "servers.yaml"),
    "aliases that stand for billions of values": (BILLIONS, "servers.yaml:6"),
}


@pytest.mark.parametrize("bad", BAD_FILES)
async def test_a_wrong_file_of_servers_changes_nothing(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, bad: str
) -> None:
    text, found = BAD_FILES[bad]
    servers = await web_servers(2)
    controller = dynsrv(haproxy)
    controller.want(servers)
    assert (await controller.run("apply")).code == 0
    controller.servers_file.write_text(text)
    for command in ("plan", "apply", "status"):
        finished = await controller.run(command)
        assert finished.code == 1, finished
        assert str(controller.servers_file) in finished.out
        assert found in finished.out
    await serves(haproxy, servers)


async def test_a_missing_file_of_servers_changes_nothing(haproxy: HAProxy, dynsrv: Install) -> None:
    controller = dynsrv(haproxy)
    finished = await controller.run("plan")
    assert finished.code == 1, finished
    assert "there is no such file" in finished.out


async def test_a_missing_socket_and_a_left_over_one_are_told_apart(haproxy: HAProxy, dynsrv: Install) -> None:
    controller = dynsrv(haproxy)
    controller.want([])
    await haproxy.stop(kill=True)  # leaves the socket's file
    finished = await controller.run("plan")
    assert finished.code == 1, finished
    assert "connection refused (the socket was left behind by a HAProxy that is gone)" in finished.out
    haproxy.socket.unlink()
    finished = await controller.run("plan")
    assert finished.code == 1, finished
    assert "no such socket: HAProxy is not running, or its `stats socket` has another path" in finished.out
    haproxy.socket.write_text("")
    finished = await controller.run("plan")
    assert finished.code == 1, finished
    assert str(haproxy.socket) in finished.out


async def test_a_socket_that_one_may_not_use_is_told_with_its_owner_and_the_remedy(haproxy: HAProxy) -> None:
    haproxy.socket.parent.chmod(0o755)
    haproxy.socket.chmod(0)
    with _somebody_without_rights() as name:
        async with Client(str(haproxy.socket)) as client:
            with pytest.raises(errors.ConnectFailed) as caught:
                await client.run(commands.info())
    assert caught.value.reason == "permission"
    owner = haproxy.socket.owner()
    assert f"permission denied for user {name} (the socket is s---------, of user {owner})" in str(caught.value)
    assert "set `user`, `group` and `mode` on HAProxy's `stats socket` line" in str(caught.value)


@contextmanager
def _somebody_without_rights() -> Iterator[str]:
    """Be nobody, where one is root, for whom there is no missing right."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield pwd.getpwuid(os.geteuid()).pw_name
    finally:
        os.seteuid(me)


@pytest.mark.parametrize("key", ["\\udc80", "\\u001b[2J"])
async def test_keys_of_a_servers_file_reach_no_terminal_and_no_page_unescaped(
    haproxy: HAProxy, dynsrv: Install, *, unused_tcp_port: int, key: str
) -> None:
    controller = dynsrv(haproxy, web={"listen": f"127.0.0.1:{unused_tcp_port}"})
    controller.servers_file.write_text(f'{{"servers": {{"{key}": []}}}}')
    await controller.start()
    line = await controller.logged(Event.SOURCE_FAILED)
    assert key in line
    assert "\x1b[2J" not in controller.log.read_text()
    for command in ("status", "plan", "apply"):
        finished = await controller.run(command)
        assert finished.code != 0
        assert "Traceback" not in finished.err
        assert "\x1b[2J" not in finished.out + finished.err
    async with aiohttp.ClientSession() as session:
        for path in ("/readyz", "/api/v1/status"):
            async with session.get(f"http://127.0.0.1:{unused_tcp_port}{path}") as answer:
                assert answer.status in {200, 503}
                assert "\x1b" not in await answer.text()
