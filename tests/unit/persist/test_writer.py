from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dynsrv.errors import ConfigFileError
from dynsrv.logs import Event
from dynsrv.metrics import Metrics
from dynsrv.persist.file import ChangedMeanwhile
from dynsrv.persist.rendered_file import Look, RenderedFile, Written
from dynsrv.persist.server_lines import SeenServers
from dynsrv.persist.writer import WRITE_INTERVAL, Writer
from tests.fakes.builders import a_server, an_endpoint
from tests.unit.persist.seeing import seen


def of(*hosts: int, leaving: Sequence[int] = (), stale: bool = False) -> SeenServers:
    """What was seen where the servers of these hosts serve."""
    endpoints = [an_endpoint(host) for host in hosts]
    names = [f"dyn-10.0.0.{host}:80" for host in leaving]
    return seen(*map(a_server, endpoints), wanted=endpoints, leaving=names, stale=stale)


def now() -> float:
    return asyncio.get_running_loop().time()


class PlayedFile(RenderedFile):
    """A file that exists only in the test: what was written when, and what goes wrong next."""

    def __init__(self) -> None:
        super().__init__(Path("/etc/haproxy/haproxy.cfg"))
        self.loop = asyncio.get_running_loop()
        self.writes: list[tuple[float, frozenset[str]]] = []
        self.tries = 0
        self.wrong: list[Exception] = []
        self.always_wrong: Exception | None = None
        self.problems: dict[str, ConfigFileError] = {}
        self.looks: list[Look] = []
        self.content: frozenset[str] = frozenset({"dyn-of-before"})
        self.writing = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def remove_leftovers(self) -> None:
        pass

    def look(self) -> Look:
        return self.looks.pop(0) if self.looks else Look.SAME

    def write(self, backends: Mapping[str, Sequence[SeenServers]]) -> Written:
        self.tries += 1
        self.writing.set()
        self.may_end.wait(10)
        if self.wrong:
            raise self.wrong.pop(0)
        if self.always_wrong:
            raise self.always_wrong
        seen_servers = [one for these in backends.values() for one in these]
        names = (
            frozenset(server.name for one in seen_servers for server in one.observed.servers)
            - frozenset(name for one in seen_servers for name in one.leaving)
            if seen_servers
            else self.content
        )
        differs = names != self.content
        if differs:
            self.content = names
            self.writes.append((self.loop.time(), names))
        return Written(b"", {"be_app": names}, self.problems, differs)


@asynccontextmanager
async def running(file: PlayedFile) -> AsyncIterator[Writer]:
    writer = Writer(file, metrics=Metrics(), clock=asyncio.get_running_loop().time)
    writer.manage("be_app", "lb1")
    task = asyncio.create_task(writer.run())
    yield writer
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def times(file: PlayedFile) -> list[float]:
    return [moment for moment, _ in file.writes]


async def test_what_was_seen_is_written_soon() -> None:
    file = PlayedFile()
    async with running(file) as writer:
        await asyncio.sleep(10)
        began = now()
        writer.see("be_app", "lb1", of(1, 2))
        await asyncio.sleep(10)
    assert len(file.writes) == 1
    assert file.writes[0][1] == {"dyn-10.0.0.1:80", "dyn-10.0.0.2:80"}
    assert file.writes[0][0] - began < 0.5


async def test_until_the_first_pass_the_file_stays_as_it_is_and_its_names_are_known() -> None:
    file = PlayedFile()
    async with running(file) as writer:
        assert writer.names("be_app") is None
        await asyncio.sleep(10)
        assert writer.names("be_app") == frozenset({"dyn-of-before"})
    assert file.writes == []


async def test_however_much_changes_it_is_written_once_a_second_and_never_later_than_a_second_after() -> None:
    file = PlayedFile()
    async with running(file) as writer:
        await asyncio.sleep(10)
        changed: list[float] = []
        for number in range(1, 201):
            writer.see("be_app", "lb1", of(number))
            changed.append(now())
            await asyncio.sleep(0.05)
        await asyncio.sleep(10)
    moments = times(file)
    assert len(moments) >= 9
    assert all(after - before >= WRITE_INTERVAL for before, after in pairwise(moments))
    for moment in changed:
        assert any(moment <= write <= moment + WRITE_INTERVAL + 0.2 for write in moments)


async def test_nothing_is_written_where_nothing_changed() -> None:
    file = PlayedFile()
    async with running(file) as writer:
        for _ in range(20):
            writer.see("be_app", "lb1", of(1))
            await asyncio.sleep(3)
    assert len(file.writes) == 1


async def test_what_leaves_is_out_of_the_names_once_it_is_written() -> None:
    file = PlayedFile()
    heard: list[set[str]] = []
    async with running(file) as writer:
        writer.listeners.append(lambda: heard.append(set(writer.names("be_app") or ())))
        writer.see("be_app", "lb1", of(1, 2))
        await asyncio.sleep(10)
        writer.see("be_app", "lb1", of(1, 2, leaving=[2]))
        await asyncio.sleep(10)
        assert writer.names("be_app") == frozenset({"dyn-10.0.0.1:80"})
    assert heard[-2:] == [{"dyn-10.0.0.1:80", "dyn-10.0.0.2:80"}, {"dyn-10.0.0.1:80"}]


async def test_what_somebody_else_writes_is_seen_to_soon() -> None:
    file = PlayedFile()
    async with running(file) as writer:
        writer.see("be_app", "lb1", of(1))
        await asyncio.sleep(10)
        file.content, file.looks = frozenset(), [Look.CHANGED]
        began = now()
        await asyncio.sleep(10)
    assert file.writes[-1][1] == {"dyn-10.0.0.1:80"}
    assert file.writes[-1][0] - began < 0.5


async def test_a_file_that_somebody_is_writing_is_left_alone_until_they_are_done() -> None:
    file = PlayedFile()
    async with running(file) as writer:
        await asyncio.sleep(10)
        file.looks = [Look.CHANGING] * 8
        writer.see("be_app", "lb1", of(1))
        await asyncio.sleep(0.5)
        assert file.writes == []
        await asyncio.sleep(10)
    assert len(file.writes) == 1


async def test_a_write_that_somebody_else_was_faster_than_is_begun_again() -> None:
    file = PlayedFile()
    async with running(file) as writer:
        await asyncio.sleep(10)
        file.wrong = [ChangedMeanwhile()] * 5
        writer.see("be_app", "lb1", of(1))
        await asyncio.sleep(1)
        assert len(file.writes) == 1
        assert writer.failure is None


async def test_who_is_never_fast_enough_says_so() -> None:
    file = PlayedFile()
    async with running(file) as writer:
        file.always_wrong = ChangedMeanwhile()
        writer.see("be_app", "lb1", of(1))
        await asyncio.sleep(60)
        assert writer.failure is not None
        assert writer.failure.reason == "changing"


# failures


async def test_a_failure_is_logged_once_holds_nobody_up_and_is_tried_again_ever_less_often() -> None:
    file = PlayedFile()
    error = ConfigFileError(file.path, "space", "there is no space for it")
    with capture_logs() as logs:
        async with running(file) as writer:
            writer.see("be_app", "lb1", of(1))
            await asyncio.sleep(10)
            file.always_wrong = error
            writer.see("be_app", "lb1", of(1, 2))
            await asyncio.sleep(1)
            assert writer.failure is error
            assert writer.names("be_app") == frozenset()
            before = file.tries
            await asyncio.sleep(120)
            assert 3 <= file.tries - before <= 10
            file.always_wrong = None
            await asyncio.sleep(40)
            assert writer.names("be_app") == frozenset({"dyn-10.0.0.1:80", "dyn-10.0.0.2:80"})
    failed = [line for line in logs if line["event"] is Event.CONFIG_FILE_FAILED]
    assert [(line["reason"], line["error"]) for line in failed] == [("space", str(error))]
    assert sum(line["event"] is Event.CONFIG_FILE_RECOVERED for line in logs) == 1


async def test_what_was_wrong_is_tried_again_at_once_when_somebody_else_writes_the_file() -> None:
    file = PlayedFile()
    file.always_wrong = ConfigFileError(file.path, "missing", "there is no such file")
    async with running(file) as writer:
        writer.see("be_app", "lb1", of(1))
        await asyncio.sleep(100)
        file.always_wrong, file.looks = None, [Look.CHANGED]
        await asyncio.sleep(0.5)
        assert writer.failure is None
        assert len(file.writes) == 1


async def test_a_backend_without_marks_is_a_problem_of_its_own_and_the_others_are_written() -> None:
    file = PlayedFile()
    problem = ConfigFileError(file.path, "marks", "no marks")
    file.problems = {"be_other": problem}
    async with running(file) as writer:
        for hosts in range(1, 5):
            writer.see("be_app", "lb1", of(*range(hosts)))
            await asyncio.sleep(5)
        assert writer.problems == {"be_other": problem}
        assert writer.failure is None
        assert writer.names("be_other") == frozenset()
    assert len(file.writes) == 4


# the end


async def test_the_last_change_is_written_before_the_end_though_it_is_early() -> None:
    file = PlayedFile()
    writer = Writer(file, metrics=Metrics(), clock=asyncio.get_running_loop().time)
    task = asyncio.create_task(writer.run())
    writer.see("be_app", "lb1", of(1))
    await asyncio.sleep(1)
    writer.see("be_app", "lb1", of(1, 2))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await writer.finish()
    assert [names for _, names in file.writes] == [{"dyn-10.0.0.1:80"}, {"dyn-10.0.0.1:80", "dyn-10.0.0.2:80"}]


async def test_nothing_is_written_at_the_end_where_nothing_is_due() -> None:
    file = PlayedFile()
    writer = Writer(file, metrics=Metrics(), clock=asyncio.get_running_loop().time)
    task = asyncio.create_task(writer.run())
    writer.see("be_app", "lb1", of(1))
    await asyncio.sleep(10)
    tries = file.tries
    task.cancel()
    await asyncio.wait([task])
    await writer.finish()
    assert file.tries == tries


# several proxies


async def test_a_proxy_that_cannot_be_asked_counts_only_as_long_as_no_other_tells() -> None:
    file = PlayedFile()
    async with running(file) as writer:
        writer.manage("be_app", "lb2")
        writer.see("be_app", "lb1", of(1))
        writer.see("be_app", "lb2", of(1, 2))
        await asyncio.sleep(5)
        writer.lose("be_app", "lb2")
        await asyncio.sleep(5)
        writer.lose("be_app", "lb1")
        await asyncio.sleep(5)
    assert [names for _, names in file.writes] == [
        {"dyn-10.0.0.1:80", "dyn-10.0.0.2:80"},
        {"dyn-10.0.0.1:80"},
        {"dyn-10.0.0.1:80", "dyn-10.0.0.2:80"},
    ]


async def test_a_backend_that_is_no_longer_managed_keeps_its_lines() -> None:
    file = PlayedFile()
    async with running(file) as writer:
        writer.see("be_app", "lb1", of(1))
        await asyncio.sleep(5)
        writer.forget("be_app", "lb1")
        await asyncio.sleep(5)
        file.content, file.looks = frozenset({"by somebody else"}), [Look.CHANGED]
        await asyncio.sleep(5)
    assert [names for _, names in file.writes] == [{"dyn-10.0.0.1:80"}]


async def test_what_a_backend_had_last_is_written_though_it_is_no_longer_managed() -> None:
    file = PlayedFile()
    async with running(file) as writer:
        writer.see("be_app", "lb1", of(1))
        writer.forget("be_app", "lb1")
        await asyncio.sleep(5)
    assert [names for _, names in file.writes] == [{"dyn-10.0.0.1:80"}]
