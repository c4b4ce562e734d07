"""What the service manager hears of dynsrv, and that dynsrv does not depend on its hearing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import pytest

from dynsrv.daemon import sd_notify
from dynsrv.daemon.sd_notify import Notifier
from dynsrv.errors import SourceError
from dynsrv.planning import Limits
from tests.fakes.at_work import AtWork
from tests.fakes.behind import Behind
from tests.fakes.builders import a_policy, an_endpoint

WHERE = {"NOTIFY_SOCKET": "/run/systemd/notify"}


class Hearing:
    """Every message that was sent, and where to; or *deaf*, the error that sending meets."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.addresses: set[str] = set()
        self.deaf: OSError | None = None
        self._patience: float | None = None  # as sockets have it: for ever

    def __call__(self, family: int, kind: int) -> Hearing:
        assert (family, kind) == (socket.AF_UNIX, socket.SOCK_DGRAM)
        return self

    def __enter__(self) -> Hearing:
        return self

    def __exit__(self, *_: object) -> None:
        self._patience = None

    def settimeout(self, seconds: float) -> None:
        self._patience = seconds

    def sendto(self, message: bytes, address: str) -> None:
        assert self._patience == 0, "dynsrv must not wait for the service manager"
        if self.deaf:
            raise self.deaf
        assert len(message) < 4096, "systemd ignores what is longer"
        self.messages.append(message.decode())
        self.addresses.add(address)

    @property
    def lines(self) -> list[str]:
        return [line for message in self.messages for line in message.split("\n")]

    @property
    def status(self) -> str:
        """The sentence that `systemctl status` shows now."""
        return [line for line in self.lines if line.startswith("STATUS=")][-1].removeprefix("STATUS=")


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch) -> Hearing:
    hearing = Hearing()
    fake = SimpleNamespace(socket=hearing, AF_UNIX=socket.AF_UNIX, SOCK_DGRAM=socket.SOCK_DGRAM)
    monkeypatch.setattr(sd_notify, "socket", fake)
    return hearing


@asynccontextmanager
async def told(at_work: AtWork, environment: Mapping[str, str] = WHERE) -> AsyncIterator[Notifier]:
    """Keep the service manager of *environment* told inside the block."""
    manager = Notifier(dict(environment))
    task = asyncio.create_task(manager.run(at_work.status))
    await asyncio.sleep(1)
    yield manager
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_until_the_first_pass_the_start_is_prolonged_and_what_is_waited_for_is_told(hearing: Hearing) -> None:
    async with told(AtWork()):
        assert hearing.status == "waiting for the first pass: backend be_app on lb1: the source has not answered yet"
        before = len(hearing.messages)
        await asyncio.sleep(60)
    assert set(hearing.messages[before:]) == {"EXTEND_TIMEOUT_USEC=15000000"}
    assert len(hearing.messages) - before > 60  # far within those 15 seconds


async def test_after_the_first_pass_dynsrv_is_ready_and_that_is_told_once(hearing: Hearing) -> None:
    at_work = AtWork()
    async with told(at_work):
        await at_work.settle(an_endpoint())
        await asyncio.sleep(60)
    assert hearing.messages[-1] == "STATUS=1 backend on 1 proxy, all in sync\nREADY=1"
    assert hearing.lines.count("READY=1") == 1


async def test_a_rejected_backend_is_waited_for_as_readyz_waits(hearing: Hearing) -> None:
    at_work = AtWork(Behind(algorithm="static-rr"))
    at_work.want(an_endpoint())
    async with told(at_work):
        await at_work.passes()
        await asyncio.sleep(1)
        assert "(static-rr) does not accept servers at runtime" in hearing.status
    assert "READY=1" not in hearing.lines


async def test_the_sentence_follows_what_happens(hearing: Hearing) -> None:
    at_work = AtWork(Behind(proxy="lb1"), Behind(proxy="lb2"), policy=a_policy(options=(), limits=Limits()))
    async with told(at_work):
        await at_work.settle(an_endpoint(1), an_endpoint(2))
        await asyncio.sleep(1)
        assert hearing.status == "1 backend on 2 proxies, all in sync"
        at_work.want(an_endpoint(1), an_endpoint(2), an_endpoint(3))
        at_work.behinds[1].haproxy.answer("set server be_app/dyn-10.0.0.1:80 weight 3")
        await at_work.passes()
        await asyncio.sleep(1)
        managed = "1 backend on 2 proxies"
        assert hearing.status == f"{managed}; out of sync: be_app on lb1; and 1 more"
        at_work.want()
        await at_work.passes(3)
        await asyncio.sleep(1)
        assert hearing.status.startswith(f"{managed}; degraded: backend be_app on lb1: guard: the source lists no")
        at_work.break_source(SourceError("missing", "servers.yaml: there is no such file"))
        await asyncio.sleep(1)
        assert hearing.status.startswith(f"{managed}; degraded: backend be_app: servers.yaml: there is no such file")


async def test_words_of_others_cannot_speak_for_dynsrv_and_do_not_grow_too_long(hearing: Hearing) -> None:
    at_work = AtWork()
    at_work.break_source(SourceError("http", "Consul said:\nMAINPID=1\r\nREADY=1 \udcff" + 2000 * "é"))
    async with told(at_work):
        pass
    assert r"on lb1: Consul said:; MAINPID=1\r; READY=1 \udcffé" in hearing.status
    assert hearing.status.endswith("é…")
    assert {line.partition("=")[0] for line in hearing.lines} == {"STATUS", "EXTEND_TIMEOUT_USEC"}


async def test_a_new_configuration_is_told_from_its_begin_to_its_end(hearing: Hearing) -> None:
    at_work = AtWork()
    await at_work.settle(an_endpoint())
    async with told(at_work) as manager:
        before = len(hearing.lines)
        with manager.reloading():
            manager.message = "configuration reload failed: dynsrv.yaml:1: what is this?"
        reloading, since, ready = hearing.lines[before:]
        assert (reloading, ready) == ("RELOADING=1", "READY=1")
        assert since.removeprefix("MONOTONIC_USEC=").isdecimal()
        await asyncio.sleep(1)
        assert hearing.status == (
            "configuration reload failed: dynsrv.yaml:1: what is this?; 1 backend on 1 proxy, all in sync"
        )


async def test_a_new_configuration_before_the_first_pass_does_not_make_dynsrv_ready(hearing: Hearing) -> None:
    async with told(AtWork()) as manager:
        with manager.reloading():
            pass
        await asyncio.sleep(1)
    assert {"RELOADING=1", "READY=1"}.isdisjoint(hearing.lines)


async def test_the_watchdog_hears_from_dynsrv_twice_in_its_time(hearing: Hearing) -> None:
    async with told(AtWork(), {**WHERE, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}):
        before = hearing.lines.count("WATCHDOG=1")
        await asyncio.sleep(60)
    assert hearing.lines.count("WATCHDOG=1") - before == 40


@pytest.mark.parametrize(
    "variables",
    [{}, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}],
)
async def test_a_watchdog_that_is_not_ours_is_left_alone(hearing: Hearing, variables: dict[str, str]) -> None:
    async with told(AtWork(), WHERE | variables):
        await asyncio.sleep(60)
    assert hearing.messages
    assert "WATCHDOG=1" not in hearing.lines


async def test_what_the_service_manager_missed_is_told_again(hearing: Hearing) -> None:
    at_work = AtWork()
    await at_work.settle(an_endpoint())
    hearing.deaf = BlockingIOError(11, "Resource temporarily unavailable")
    async with told(at_work) as manager:
        hearing.deaf = None
        await asyncio.sleep(1)
        assert hearing.messages == ["STATUS=1 backend on 1 proxy, all in sync\nREADY=1"]
        hearing.deaf = ConnectionRefusedError(111, "Connection refused")
        with manager.reloading():
            hearing.deaf = None
            manager.stopping()
            hearing.deaf = FileNotFoundError(2, "No such file or directory")
        hearing.deaf = None
        await asyncio.sleep(1)
    assert hearing.messages[-1] == "READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
async def test_without_an_address_that_we_can_reach_nothing_is_told(
    hearing: Hearing, environment: dict[str, str]
) -> None:
    manager = Notifier({**environment, "WATCHDOG_USEC": "3000000"})
    await manager.run(AtWork().status)
    manager.status("dynsrv.yaml: there is no such file")
    manager.stopping()
    assert hearing.messages == []


async def test_an_address_that_begins_with_an_at_is_abstract(hearing: Hearing) -> None:
    Notifier({"NOTIFY_SOCKET": "@/org/notify"}).stopping()
    Notifier(dict(WHERE)).stopping()
    assert hearing.addresses == {"\0/org/notify", "/run/systemd/notify"}
    assert hearing.messages[0] == "STOPPING=1\nSTATUS=stopped; HAProxy keeps its current servers"


def test_no_child_of_dynsrv_can_speak_for_it() -> None:
    environment = {**WHERE, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7", "HOME": "/root"}
    Notifier(environment)
    assert environment == {"HOME": "/root"}
