"""However many follow the events, and whatever they do, everybody else is told within a second."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from dynsrv.logs import Event
from dynsrv.web.api import MAX_SUBSCRIBERS, WRITE_TIMEOUT
from tests.integration.support.api import TOKEN, Api, done
from tests.integration.support.controller import Dynsrv, Install
from tests.integration.support.crowd import a_crowd, is_connected, who_never_reads, who_sends_a_byte_a_second
from tests.integration.support.figures import Usage
from tests.integration.support.haproxy import HAProxy
from tests.integration.support.waiting import eventually

pytestmark = pytest.mark.any_version

CLIENTS = 200
SERVERS = 300
MANY = 2000
ROUNDS = 8
SECOND = 1.0


def _endpoints(weight: int, *, number: int = SERVERS) -> list[dict[str, object]]:
    """Servers that nobody checks, all of another weight."""
    return [
        {"address": f"127.0.1.{n % 250 + 1}", "port": 1000 + n, "name": f"s{n}", "weight": weight}
        for n in range(number)
    ]


@pytest.fixture
async def controller(haproxy: HAProxy, dynsrv: Install, unused_tcp_port: int, tmp_path: Path) -> Dynsrv:
    """A dynsrv that keeps hundreds of servers."""
    (tmp_path / "token").write_text(TOKEN)
    controller = dynsrv(
        haproxy,
        backend={"server": {"check": False}},
        web={"listen": f"127.0.0.1:{unused_tcp_port}", "token_file": "token"},
        log={"format": "json"},
    )
    controller.want(_endpoints(weight=1))
    await controller.start()
    await controller.logged(Event.BACKEND_IN_SYNC)
    return controller


@pytest.fixture
def api(controller: Dynsrv, unused_tcp_port: int) -> Api:
    return Api(unused_tcp_port)


def _files(controller: Dynsrv) -> int:
    return len(list(Path(f"/proc/{controller.pid}/fd").iterdir()))


async def test_two_hundred_clients_are_told_within_a_second_though_one_never_reads_and_one_is_slow(
    controller: Dynsrv, api: Api
) -> None:
    files = _files(controller)
    async with (
        who_never_reads(api.port),
        who_sends_a_byte_a_second(api.port),
        a_crowd(api.port, CLIENTS) as crowd,
    ):
        assert {one.status for one in crowd} == {200}
        await eventually(lambda: min(one.bytes for one in crowd) > SERVERS * 200)
        for number in range(3):
            told = [one.listens_for(f'"name":"dyn-s{number}"') for one in crowd]
            began = time.monotonic()
            assert await api.hold(f"dyn-s{number}") == (200, done("lb1"))
            async with asyncio.timeout(10):
                assert max(await asyncio.gather(*told)) - began < SECOND  # as docs/api.md promises
            assert await api.answers()

        memory: list[float] = []
        for number in range(ROUNDS):  # everything changes, again and again
            told = [one.listens_for(f'"weight":{number + 10},') for one in crowd]
            controller.want(_endpoints(weight=number + 10))
            async with asyncio.timeout(30):
                await asyncio.gather(*told)
            memory.append(Usage.of(controller.pid).memory)
        assert max(memory[-3:]) - max(memory[:4]) < 30

    await eventually(lambda: _files(controller) <= files + 1)
    assert await api.answers()


async def test_there_is_room_for_so_many_and_again_when_all_of_them_vanished(controller: Dynsrv, api: Api) -> None:
    files = _files(controller)

    async def all_follow() -> bool:
        async with a_crowd(api.port, MAX_SUBSCRIBERS) as crowd:
            if {one.status for one in crowd} != {200}:
                return False
            full = {"error": f"{MAX_SUBSCRIBERS} clients follow the events already"}
            assert await api.get("/api/v1/events") == (503, full)
            assert await api.answers()
            return True

    assert await all_follow()
    await eventually(all_follow, within=5)
    await eventually(lambda: _files(controller) <= files + 1)
    assert await controller.stop() == 0
    assert not [line for line in controller.log_data() if line["level"] == "error"]


async def test_who_never_reads_is_given_up_and_costs_no_memory_meanwhile(controller: Dynsrv, api: Api) -> None:
    controller.want(_endpoints(weight=0, number=MANY))
    async with a_crowd(api.port, 1) as (one,), who_never_reads(api.port) as silent:
        await one.listens_for(f'"name":"dyn-s{MANY - 1}"')
        memory: list[float] = []
        changes = 0

        async def given_up() -> bool:  # by then no buffer of the kernel's takes any more
            nonlocal changes
            changes += 1
            told = one.listens_for(f'"weight":{changes % 200 + 1},')
            controller.want(_endpoints(weight=changes % 200 + 1, number=MANY))
            await told
            memory.append(Usage.of(controller.pid).memory)
            await asyncio.sleep(0.5)  # the rate of changes, or they would take both processors
            return not is_connected(api.port, silent.getsockname())

        await eventually(given_up, within=WRITE_TIMEOUT + 60)
    assert memory[-1] - memory[2] < 30
    assert await api.answers()
