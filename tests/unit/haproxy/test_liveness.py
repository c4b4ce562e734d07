from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dynsrv.errors import ProxyUnreachable
from dynsrv.haproxy.liveness import ProcessWatch
from dynsrv.haproxy.proxy import HAProxy
from dynsrv.logs import Event
from dynsrv.metrics import Metrics
from dynsrv.runtime import Address, Client, TcpAddress, UnixAddress
from tests.fakes.haproxy import FakeHAProxy
from tests.fakes.streams import Wire

INTERVAL = 1.0
TCP = TcpAddress("127.0.0.1", 9999)
MASTER = UnixAddress("/run/haproxy/master.sock")


class Probed:
    """A probe, the HAProxy that it asks, and when it woke who listens."""

    def __init__(self, *, address: Address = TCP, master: Master | None = None) -> None:
        self.haproxy = FakeHAProxy()
        self.wire = Wire(self.haproxy)
        self.metrics = Metrics()
        client = Client(address, opener=self.wire, idle_timeout=0.5)
        self.probe = ProcessWatch(
            HAProxy("lb1", client),
            interval=INTERVAL,
            metrics=self.metrics,
            master=MASTER if master else None,
            opener=master.wire if master else self.wire,
        )
        self.woken: list[float] = []
        self.probe.subscribe(self.wake)

    def wake(self) -> None:
        self.woken.append(asyncio.get_running_loop().time())

    def value(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"proxy": "lb1"})

    @property
    def asked(self) -> int:
        """How often HAProxy was asked who it is."""
        return sum(connection.received.count("prompt") for connection in self.wire.connections)

    def gone(self, count: int) -> None:
        """Let HAProxy refuse the next connections."""
        self.wire.refusals = [ConnectionRefusedError(111, "Connection refused")] * count

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.probe.run())
        await asyncio.sleep(0.01)
        yield
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_haproxy_that_answers_is_up_and_wakes_nobody() -> None:
    probed = Probed()
    with capture_logs() as logs:
        async with probed.running():
            await asyncio.sleep(10)
    assert probed.value("dynsrv_proxy_up") == 1
    assert probed.woken == []
    assert [line["event"] for line in logs] == [Event.HAPROXY_CONNECTED]
    assert (logs[0]["pid"], logs[0]["version"], logs[0]["proxy"]) == (101, "3.2.26-1", "lb1")


async def test_haproxy_is_asked_once_an_interval() -> None:
    probed = Probed()
    async with probed.running():
        await asyncio.sleep(10 * INTERVAL)
    assert probed.asked == 11


async def test_a_reload_wakes_who_listens_within_an_interval() -> None:
    probed = Probed()
    with capture_logs() as logs:
        async with probed.running():
            await asyncio.sleep(3.5)
            probed.haproxy.reload()
            await asyncio.sleep(3)
    assert probed.woken == [pytest.approx(4.0)]
    assert probed.value("dynsrv_proxy_reloads_total") == 1
    (line,) = [line for line in logs if line["log_level"] == "warning"]
    assert (line["old_pid"], line["pid"]) == (101, 102)


async def test_a_haproxy_that_is_gone_is_told_once_and_wakes_who_listens_once() -> None:
    probed = Probed()
    with capture_logs() as logs:
        probed.gone(100)
        async with probed.running():
            await asyncio.sleep(5)
            assert isinstance(probed.probe.failure, ProxyUnreachable)
            assert probed.value("dynsrv_proxy_up") == 0
    assert [line["log_level"] for line in logs] == ["warning"]
    assert len(probed.woken) == 1


async def test_another_reason_is_told_again() -> None:
    probed = Probed()
    with capture_logs() as logs:
        probed.wire.refusals = [ConnectionRefusedError(111, "refused"), OSError(113, "No route to host")]
        async with probed.running():
            await asyncio.sleep(1.5)
    assert len(logs) == 2


async def test_a_haproxy_that_goes_and_answers_again_wakes_who_listens_both_times() -> None:
    probed = Probed()
    with capture_logs() as logs:
        async with probed.running():
            probed.gone(2)
            await asyncio.sleep(5)
    assert probed.probe.failure is None
    assert probed.value("dynsrv_proxy_up") == 1
    assert probed.woken == [pytest.approx(1.0), pytest.approx(3.0)]
    assert logs[-1]["event"] == Event.HAPROXY_RECOVERED
    assert probed.value("dynsrv_proxy_reloads_total") == 0


async def test_a_restart_is_told_as_one_and_wakes_when_it_goes_and_once_when_it_is_back() -> None:
    probed = Probed()
    async with probed.running():
        probed.gone(2)
        probed.haproxy.reload()
        await asyncio.sleep(5)
    assert probed.woken == [pytest.approx(1.0), pytest.approx(3.0)]
    assert probed.value("dynsrv_proxy_reloads_total") == 1


async def test_a_haproxy_that_was_not_there_at_the_start_wakes_when_it_comes() -> None:
    probed = Probed()
    probed.gone(1)
    async with probed.running():
        await asyncio.sleep(2)
    assert probed.woken == [pytest.approx(0.0), pytest.approx(1.0)]


async def test_who_no_longer_listens_is_not_woken() -> None:
    probed = Probed()
    async with probed.running():
        probed.probe.unsubscribe(probed.wake)
        probed.haproxy.reload()
        await asyncio.sleep(2)
    assert probed.woken == []
    assert probed.value("dynsrv_proxy_reloads_total") == 1


# ---- hints


async def test_another_file_at_the_place_of_the_socket_is_a_reason_to_ask_at_once(tmp_path: Path) -> None:
    socket = tmp_path / "admin.sock"
    socket.touch()
    probed = Probed(address=UnixAddress(str(socket)))
    async with probed.running():
        await asyncio.sleep(3.5)
        probed.haproxy.reload()
        (tmp_path / "new").touch()
        (tmp_path / "new").rename(socket)
        await asyncio.sleep(0.2)
        assert probed.woken == [pytest.approx(3.55, abs=0.1)]


async def test_until_the_new_process_answers_it_is_asked_again_and_again(tmp_path: Path) -> None:
    socket = tmp_path / "admin.sock"
    socket.touch()
    probed = Probed(address=UnixAddress(str(socket)))
    async with probed.running():
        await asyncio.sleep(3.5)
        socket.unlink()
        await asyncio.sleep(0.2)
        socket.touch()
        await asyncio.sleep(0.2)
        probed.haproxy.reload()
        await asyncio.sleep(0.1)
        assert probed.woken == [pytest.approx(3.95, abs=0.1)]


async def test_a_file_that_is_missing_is_no_hint_and_after_ten_seconds_it_asks_as_usual(tmp_path: Path) -> None:
    socket = tmp_path / "admin.sock"
    probed = Probed(address=UnixAddress(str(socket)))
    async with probed.running():
        await asyncio.sleep(3.5)
        before = probed.haproxy.journal.count("show info")
        socket.touch()
        await asyncio.sleep(11)
        closely = probed.haproxy.journal.count("show info") - before
        await asyncio.sleep(10)
        usual = probed.haproxy.journal.count("show info") - before - closely
    assert closely > 10 * usual


class Master:
    """Connections to the master's command line, which end when it reloads."""

    def __init__(self) -> None:
        self.wire = Wire(FakeHAProxy())

    def reload(self) -> None:
        for connection in self.wire.open:
            connection.end()


async def test_the_end_of_the_connection_to_the_master_is_a_reason_to_ask_at_once() -> None:
    master = Master()
    probed = Probed(master=master)
    async with probed.running():
        await asyncio.sleep(3.5)
        probed.haproxy.reload()
        master.reload()
        await asyncio.sleep(0.1)
        assert probed.woken == [pytest.approx(3.5, abs=0.05)]
        probed.haproxy.reload()
        master.reload()
        await asyncio.sleep(0.1)
        assert len(probed.woken) == 2
    assert master.wire.address == MASTER


async def test_a_master_that_is_missing_is_told_once_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    master = Master()
    master.wire.refusals = [FileNotFoundError(2, "No such file or directory")] * 3
    probed = Probed(master=master)
    with capture_logs() as logs:
        async with probed.running():
            await asyncio.sleep(5)
            probed.haproxy.reload()
            master.reload()
            await asyncio.sleep(0.1)
            assert len(probed.woken) == 1
    assert sum(line["event"] == Event.MASTER_UNREACHABLE for line in logs) == 1


async def test_a_bug_in_a_probe_counts_as_no_answer_and_the_next_probe_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    probed = Probed()
    identify = HAProxy.identify

    async def fail(_: HAProxy) -> None:
        raise IndexError("tuple index out of range")

    with capture_logs() as logs:
        async with probed.running():
            await asyncio.sleep(1)
            monkeypatch.setattr(HAProxy, "identify", fail)
            await asyncio.sleep(2.5)
            assert probed.value("dynsrv_proxy_up") == 0
            monkeypatch.setattr(HAProxy, "identify", identify)
            await asyncio.sleep(2)
            assert probed.value("dynsrv_proxy_up") == 1
    assert [one["event"] for one in logs] == [
        Event.HAPROXY_CONNECTED,
        Event.INTERNAL_ERROR,
        Event.HAPROXY_UNREACHABLE,
        Event.HAPROXY_RECOVERED,
    ]
