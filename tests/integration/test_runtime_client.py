"""The Runtime API's client keeps its promises against real HAProxys, real faults and real reloads."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dynsrv.runtime import Broke, Client, Event, Ok, ServerState, commands, errors
from tests.integration.support.fault_proxy import FaultProxy
from tests.integration.support.haproxy import HAProxy, StartHAProxy
from tests.integration.support.waiting import eventually

ADDRESS = "127.0.0.1"


async def test_thousands_of_commands_on_one_connection_are_answered_in_order(haproxy: HAProxy) -> None:
    names = [f"s{number}" for number in range(20)]
    adds = [commands.add_server("be_app", name, ADDRESS, 80, id=7000 + n, weight=1) for n, name in enumerate(names)]
    async with Client(str(haproxy.socket), connections=1) as client:
        batch = await client.batch(adds)
        assert all(isinstance(reply, Ok) for reply in batch.replies)
        # asked in every second place, so that an answer in the wrong place would be of the wrong kind
        mixed = [command for _ in range(2000) for command in (commands.servers_state("be_app"), commands.cli_level())]
        batch = await client.batch(mixed)
        assert [row.name for row in batch.replies[-2].value] == names  # type: ignore[union-attr]
        assert {reply.value for reply in batch.replies[1::2]} == {"admin"}  # type: ignore[union-attr]


async def test_a_refusal_does_not_keep_the_commands_behind_it_from_running(haproxy: HAProxy) -> None:
    async with Client(str(haproxy.socket)) as client:
        batch = await client.batch(
            [
                commands.add_server("be_app", "a", ADDRESS, 80, id=70, weight=1),
                commands.add_server("be_app", "a", ADDRESS, 81, id=71, weight=1),
                commands.add_server("be_app", "b", ADDRESS, 80, id=70, weight=1),
                commands.add_server("be_app", "c", ADDRESS, 80, id=72, weight=1, keywords=["nonsense"]),
                commands.delete_server("be_app", "nobody"),
                commands.add_server("be_nothing", "a", ADDRESS, 80, id=70, weight=1),
                commands.enable_server("be_app", "a"),
                commands.delete_server("be_app", "a"),
                commands.set_state("be_app", "a", commands.State.MAINT),
                commands.delete_server("be_app", "a"),
            ]
        )
    assert [type(reply) for reply in batch.replies] == [
        Ok,
        errors.NameTaken,
        errors.IdTaken,
        errors.BadArgument,
        errors.NoSuchServer,
        errors.NoSuchBackend,
        Ok,
        errors.NotInMaintenance,
        Ok,
        Ok,
    ]


async def test_a_quoted_word_is_one_word_to_haproxy(haproxy: HAProxy) -> None:
    words = ["a;b", "a b", "a\\b", "a#b", 'a"b', "a'b", "$b", "a;del", "\\;", "a\\"]
    async with Client(str(haproxy.socket)) as client:
        batch = await client.batch(
            [commands.add_server("be_app", "a", ADDRESS, 80, id=70, weight=1, keywords=[word]) for word in words]
        )
    for word, reply in zip(words, batch.replies, strict=True):
        assert isinstance(reply, errors.BadArgument), word
        assert f"unknown keyword '{word}'" in reply.sentence


async def test_a_socket_below_level_admin_is_told_by_a_class_of_its_own(a_haproxy: StartHAProxy) -> None:
    haproxy = await a_haproxy(level="operator")
    async with Client(str(haproxy.socket)) as client:
        assert await client.run(commands.cli_level()) == "operator"
        with pytest.raises(errors.PermissionDenied):
            await client.run(commands.add_server("be_app", "a", ADDRESS, 80, id=70, weight=1))


async def test_waiting_for_a_server_to_be_removable_ends_when_it_is_or_when_time_is_up(haproxy: HAProxy) -> None:
    async with Client(str(haproxy.socket), reply_timeout=0.3) as client:
        await client.run(commands.add_server("be_app", "a", ADDRESS, 80, id=70, weight=1))
        if haproxy.version == "2.6":
            with pytest.raises(errors.CommandUnsupported):
                await client.run(commands.wait_removable("be_app", "a", seconds=1))
            return
        await client.run(commands.wait_removable("be_app", "a", seconds=1))
        await client.run(commands.enable_server("be_app", "a"))
        with pytest.raises(errors.RuntimeApiError) as caught:
            await client.run(commands.wait_removable("be_app", "a", seconds=0.5))  # longer than any other reply
        assert not isinstance(caught.value, errors.ReplyTimeout)


async def test_a_haproxy_that_hangs_is_a_time_out_that_says_what_it_waited_for(haproxy: HAProxy) -> None:
    async with Client(str(haproxy.socket), connect_timeout=0.3, reply_timeout=0.3) as client:
        await client.run(commands.info())
        await haproxy.freeze()
        with pytest.raises(errors.ConnectTimeout, match=r"was not answered within 0\.3 s"):
            await client.run(commands.enable_server("be_app", "a"))
        haproxy.signal(signal.SIGCONT)
        with pytest.raises(errors.NoSuchServer):
            await client.run(commands.enable_server("be_app", "a"))


async def test_a_hang_in_the_middle_of_a_batch_names_the_command_and_breaks_the_connection(
    haproxy: HAProxy, stack: AsyncExitStack, tmp_path: Path
) -> None:
    proxy = await stack.enter_async_context(FaultProxy(tmp_path / "proxy.sock", haproxy.socket))
    events: list[Event] = []
    async with Client(str(proxy.path), reply_timeout=0.3, hook=events.append) as client:
        await client.run(commands.info())
        proxy.silent_after = 100_000  # in the middle of 360,000 bytes
        sentence = r"no reply to `show cli level` within 0\.3 s \(\d+ of 40001 replies had arrived\)"
        with pytest.raises(errors.ReplyTimeout, match=sentence) as caught:
            await client.batch([commands.cli_level()] * 40_000)
        assert 0 < caught.value.replies < 40_000
        assert Broke("ReplyTimeout") in events
        proxy.silent_after = None
        assert await client.run(commands.cli_level()) == "admin"  # on another connection
    assert proxy.connections == 2


@pytest.mark.any_version
async def test_a_reply_that_does_not_end_is_given_up_and_its_connection_closed(
    haproxy: HAProxy, stack: AsyncExitStack, tmp_path: Path
) -> None:
    proxy = await stack.enter_async_context(FaultProxy(tmp_path / "proxy.sock", haproxy.socket))
    proxy.flood = 200 * 2**20
    events: list[Event] = []
    async with Client(str(proxy.path), connections=1, hook=events.append) as client:
        with pytest.raises(
            errors.ReplyTooLarge, match="`show servers state be_app` had not ended after 67108864 bytes"
        ):
            await client.run(commands.servers_state("be_app"))
        assert events[-1] == Broke("ReplyTooLarge")
        proxy.flood = 0
        assert await client.run(commands.servers_state("be_app")) == ()  # on another connection
    assert proxy.connections == 2


async def test_a_connection_that_is_cut_anywhere_in_a_reply_is_never_a_success(
    haproxy: HAProxy, stack: AsyncExitStack, tmp_path: Path
) -> None:
    proxy = await stack.enter_async_context(FaultProxy(tmp_path / "proxy.sock", haproxy.socket))
    async with Client(str(haproxy.socket)) as client:
        await client.batch(
            [commands.add_server("be_app", f"s{n}", ADDRESS, 80, id=70 + n, weight=1) for n in range(20)]
        )
        whole = _timeless(await client.run(commands.servers_state("be_app")))
    greeting = len("\n> ") + len(await haproxy.ask("show info")) + len("\n> ")
    outcomes = set()
    for cut in range(1, 3 * greeting + 2500, 97):
        proxy.cut_after = cut
        async with Client(str(proxy.path)) as client:
            try:
                assert _timeless(await client.run(commands.servers_state("be_app"))) == whole
                outcomes.add("whole")
            except errors.RuntimeApiError as error:
                outcomes.add(type(error).__name__)
    assert {"ConnectFailed", "OtherProcess", "ConnectionLost"} <= outcomes


def _timeless(servers: Iterable[ServerState]) -> list[ServerState]:
    return [server._replace(since_change=0) for server in servers]


async def test_the_eleventh_connection_hangs_and_is_told_as_such(haproxy: HAProxy) -> None:
    others = [await asyncio.open_unix_connection(haproxy.socket) for _ in range(10)]
    for _, writer in others:
        writer.write(b"prompt\n")
    for reader, _ in others:
        assert await reader.readuntil(b"> ")
    async with Client(str(haproxy.socket), connect_timeout=0.5) as client:
        with pytest.raises(errors.ConnectTimeout, match="`stats maxconn`, 10 by default"):
            await client.run(commands.info())
        others[0][1].close()
        assert (await client.run(commands.info())).version.startswith(haproxy.version)
    for _, writer in others:
        writer.close()


async def test_a_pooled_connection_never_talks_to_an_old_worker_after_a_reload(a_haproxy: StartHAProxy) -> None:
    haproxy = await a_haproxy(master_worker=True)
    async with Client(str(haproxy.socket), idle_timeout=60) as client:
        before = await client.run(commands.info())
        await haproxy.reload()
        # the pooled connection is still open, to the old worker, where `add server` would be answered with success
        batch = await client.batch([commands.add_server("be_app", "a", ADDRESS, 80, id=70, weight=1)])
        assert batch.process.pid != before.pid
        assert isinstance(batch.replies[0], Ok)
        assert "a" in await haproxy.servers()
        with pytest.raises(errors.OtherProcess):
            await client.batch([commands.enable_server("be_app", "a")], process=before)


async def test_a_reload_during_a_batch_is_never_accepted_from_the_dying_worker(
    a_haproxy: StartHAProxy, stack: AsyncExitStack, tmp_path: Path
) -> None:
    haproxy = await a_haproxy(master_worker=True)
    proxy = await stack.enter_async_context(FaultProxy(tmp_path / "proxy.sock", haproxy.socket))
    proxy.held_after = 100_000  # of some millions of bytes
    adds = [commands.add_server("be_app", f"s{n}", ADDRESS, 80, id=70 + n, weight=1) for n in range(300)]
    async with Client(str(proxy.path), reply_timeout=60) as client:
        looks = [commands.servers_state("be_app")] * 200
        running = asyncio.create_task(client.batch([*adds[:200], *looks, *adds[200:]]))
        await proxy.holds.wait()
        assert len(await haproxy.servers()) == 200
        await haproxy.reload()
        proxy.go_on.set()
        with pytest.raises((errors.DyingProcess, errors.ConnectionLost)):
            await running
        assert await client.run(commands.servers_state("be_app")) == ()


async def test_an_idle_connection_does_not_keep_an_old_worker_alive(a_haproxy: StartHAProxy) -> None:
    haproxy = await a_haproxy(master_worker=True)
    async with Client(str(haproxy.socket), idle_timeout=0.5) as client:
        old = (await client.run(commands.info())).pid
        await haproxy.reload()
        await eventually(lambda: not Path(f"/proc/{old}").exists(), within=5, what="the old worker ended")


async def test_a_port_takes_the_same_commands_as_a_socket(a_haproxy: StartHAProxy, unused_tcp_port: int) -> None:
    await a_haproxy(extra=f"\nglobal\n    stats socket ipv4@127.0.0.1:{unused_tcp_port} level admin\n")
    async with Client(f"tcp://127.0.0.1:{unused_tcp_port}") as client:
        await client.run(commands.add_server("be_app", "a", "::1", 80, id=70, weight=1))
        (server,) = await client.run(commands.servers_state("be_app"))
        assert (server.address, server.port, server.id) == ("::1", 80, 70)
