from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from dynsrv.errors import ConfigFileError, DynsrvError, ProxyChanged, ProxyUnreachable
from dynsrv.logs import Event
from dynsrv.metrics import Metrics
from dynsrv.model import AdminState, Backend, Server
from dynsrv.persist.backend import DRAIN_PATIENCE, PersistedBackend
from dynsrv.persist.writer import WRITE_INTERVAL, Writer
from dynsrv.reconcile.result import Pass
from dynsrv.steps import Applied, Drain, Plan, SetWeight, Step, Wait, WaitsFor
from tests.fakes.builders import a_backend, a_policy, a_server, an_endpoint, the_targets
from tests.unit.persist.test_writer import PlayedFile, now

ONE, TWO = a_server(an_endpoint(1)), a_server(an_endpoint(2))
BOTH = the_targets(an_endpoint(1), an_endpoint(2))
JUST_ONE = the_targets(an_endpoint(1))
WAITS = Wait(TWO.name, WaitsFor.CONFIG_FILE, "why")


def a_pass(*servers: Server, desired: object = BOTH, steps: Sequence[Step] = (), waits: Sequence[Wait] = ()) -> Pass:
    return Pass(desired, a_backend(*servers), Plan(tuple(steps), tuple(waits)), Applied())  # type: ignore[arg-type]


class Stage:
    """A backend that is kept in some files, which exist only in the test."""

    def __init__(self, *files: PlayedFile) -> None:
        self.metrics = Metrics()
        self.clock = asyncio.get_running_loop().time
        self.writers = [Writer(file, metrics=self.metrics, clock=self.clock) for file in files]
        self.backend = PersistedBackend(
            self.writers,
            backend="be_app",
            proxy="lb1",
            policy=a_policy(),
            metrics=self.metrics,
            clock=self.clock,
        )
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    def waits(self, *servers: Server) -> set[str]:
        return set(self.backend.in_config_file(a_backend(*servers)))

    @property
    def current(self) -> float | None:
        return self.metrics.registry.get_sample_value(
            "dynsrv_config_file_current", {"proxy": "lb1", "backend": "be_app"}
        )


@asynccontextmanager
async def kept(*files: PlayedFile) -> AsyncIterator[Stage]:
    stage = Stage(*files)
    with stage.backend.kept(stage.wake):
        tasks = [asyncio.create_task(writer.run()) for writer in stage.writers]
        yield stage
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_nothing_may_begin_to_leave_before_anybody_knows_what_the_file_has() -> None:
    async with kept(PlayedFile()) as stage:
        assert stage.waits(ONE, TWO) == {ONE.name, TWO.name}


async def test_what_leaves_is_taken_out_and_then_may_and_the_reconciler_is_woken() -> None:
    file = PlayedFile()
    async with kept(file) as stage:
        await stage.backend.on_pass(a_pass(ONE, TWO))
        await asyncio.sleep(5)
        assert stage.waits(ONE, TWO) == {ONE.name, TWO.name}
        woken = stage.woken
        await stage.backend.on_pass(a_pass(ONE, TWO, desired=JUST_ONE, waits=[WAITS]))
        assert stage.waits(ONE, TWO) == {ONE.name, TWO.name}
        await asyncio.sleep(0.3)
        assert stage.waits(ONE, TWO) == {ONE.name}
        assert stage.woken == woken + 1
    assert file.writes[-1][1] == {ONE.name}


async def test_a_server_that_a_write_is_about_to_put_into_the_file_waits_too() -> None:
    async with kept(PlayedFile()) as stage:
        await stage.backend.on_pass(a_pass(ONE))
        await asyncio.sleep(5)
        await stage.backend.on_pass(a_pass(ONE, TWO))
        assert stage.waits(ONE, TWO) == {ONE.name, TWO.name}


async def test_what_is_drained_in_the_pass_itself_is_not_in_the_file() -> None:
    file = PlayedFile()
    async with kept(file) as stage:
        steps: list[Step] = [SetWeight(TWO.name, 0, "why"), Drain(TWO.name, "why")]
        await stage.backend.on_pass(a_pass(ONE, TWO, steps=steps))
        await asyncio.sleep(5)
    assert file.writes[-1][1] == {ONE.name}


async def test_a_write_that_takes_too_long_holds_a_drain_up_for_a_second_and_no_longer() -> None:
    file = PlayedFile()
    async with kept(file) as stage:
        await stage.backend.on_pass(a_pass(ONE, TWO))
        await asyncio.sleep(5)
        for writer in stage.writers:  # as if it hung
            writer.see = lambda *_: None  # type: ignore[method-assign]
        began = now()
        while TWO.name in stage.waits(ONE, TWO):
            await stage.backend.on_pass(a_pass(ONE, TWO, desired=JUST_ONE, waits=[WAITS]))
            await asyncio.sleep(0.01)
    assert now() - began == pytest.approx(DRAIN_PATIENCE, abs=0.02)


async def test_a_drain_just_after_a_write_waits_for_the_next_one_to_begin_and_then_for_a_second() -> None:
    file = PlayedFile()
    async with kept(file) as stage:
        await stage.backend.on_pass(a_pass(ONE, TWO))
        await asyncio.sleep(0.2)
        for writer in stage.writers:
            writer.see = lambda *_: None  # type: ignore[method-assign]
        wrote = file.writes[-1][0]
        while TWO.name in stage.waits(ONE, TWO):
            await stage.backend.on_pass(a_pass(ONE, TWO, desired=JUST_ONE, waits=[WAITS]))
            await asyncio.sleep(0.01)
    assert now() - wrote == pytest.approx(WRITE_INTERVAL + DRAIN_PATIENCE, abs=0.1)


async def test_a_file_that_cannot_be_written_holds_nothing_up() -> None:
    file = PlayedFile()
    async with kept(file) as stage:
        await stage.backend.on_pass(a_pass(ONE, TWO))
        await asyncio.sleep(5)
        assert stage.current == 1
        file.always_wrong = ConfigFileError(file.path, "space", "there is no space for it")
        await stage.backend.on_pass(a_pass(ONE, TWO, desired=JUST_ONE, waits=[WAITS]))
        await asyncio.sleep(0.3)
        assert stage.waits(ONE, TWO) == set()
        assert stage.current == 0
        assert stage.woken


async def test_a_drain_that_goes_on_is_no_reason_to_render_anything() -> None:
    file = PlayedFile()
    async with kept(file) as stage:
        await asyncio.sleep(1)
        tries = file.tries
        for sessions in range(50):
            draining = a_server(an_endpoint(2), admin=AdminState.DRAIN, sessions=sessions)
            await stage.backend.on_pass(a_pass(ONE, draining))
            await asyncio.sleep(0.5)
    assert file.tries == tries + 1


async def test_without_a_file_nothing_waits() -> None:
    async with kept() as stage:
        await stage.backend.on_pass(a_pass(ONE, TWO))
        assert stage.waits(ONE, TWO) == set()
        assert stage.current is None


# several files


def lacking(file: PlayedFile, reason: str) -> PlayedFile:
    """Return *file* without a place for the backend."""
    file.problems = {"be_app": ConfigFileError(file.path, reason, "it has no section")}
    return file


async def test_of_several_files_one_has_the_section_and_that_the_others_have_not_is_no_problem() -> None:
    with capture_logs() as logs:
        async with kept(lacking(PlayedFile(), "section"), PlayedFile()) as stage:
            await stage.backend.on_pass(a_pass(ONE))
            await asyncio.sleep(5)
            assert stage.backend.problem is None
            assert stage.current == 1
    assert not [line for line in logs if line["event"] is Event.CONFIG_FILE_FAILED]


@pytest.mark.parametrize("reasons", [("section", "section"), ("marks",), ("section", "marks")])
async def test_a_backend_that_no_file_has_a_place_for_is_a_problem_that_is_logged_once(reasons: list[str]) -> None:
    with capture_logs() as logs:
        async with kept(*(lacking(PlayedFile(), reason) for reason in reasons)) as stage:
            for server in (ONE, TWO, ONE):
                await stage.backend.on_pass(a_pass(server))
                await asyncio.sleep(5)
            problem = stage.backend.problem
            assert problem
            assert problem.reason == ("marks" if "marks" in reasons else "section")
            assert stage.current == 0
            for writer in stage.writers:
                writer._file.problems = {}  # type: ignore[attr-defined]
            await stage.backend.on_pass(a_pass(ONE, TWO))
            await asyncio.sleep(5)
            assert stage.backend.problem is None
            assert stage.current == 1
    events = [line["event"] for line in logs if line.get("backend") == "be_app"]
    assert events == [Event.CONFIG_FILE_FAILED, Event.CONFIG_FILE_RECOVERED]


# proxies that cannot be asked, and the end


async def test_a_proxy_that_does_not_answer_keeps_its_lines_as_long_as_no_other_proxy_tells() -> None:
    file = PlayedFile()
    async with kept(file) as stage:
        await stage.backend.on_pass(a_pass(ONE, TWO))
        await asyncio.sleep(5)
        await stage.backend.on_failure(ProxyUnreachable("lb1: gone"))
        await asyncio.sleep(5)
        assert len(file.writes) == 1
        await stage.backend.on_pass(a_pass(ONE, desired=JUST_ONE))
        await asyncio.sleep(5)
    assert [names for _, names in file.writes] == [{ONE.name, TWO.name}, {ONE.name}]


async def test_a_reload_is_no_reason_to_believe_nothing() -> None:
    file = PlayedFile()
    async with kept(file) as stage:
        await stage.backend.on_pass(a_pass(ONE))
        await asyncio.sleep(1)
        tries = file.tries
        await stage.backend.on_failure(ProxyChanged("lb1: reloaded"))
        await asyncio.sleep(5)
        assert file.tries == tries


class Observing:
    """A proxy that has *servers* now, or does not answer."""

    name = "lb1"

    def __init__(self, *servers: Server, error: DynsrvError | None = None) -> None:
        self._servers, self._error = servers, error

    async def observe(self, backend: str, *, with_maxconn: bool) -> Backend:
        if self._error:
            raise self._error
        return a_backend(*self._servers)

    async def apply(self, backend: Backend, steps: Sequence[Step]) -> Applied:
        raise AssertionError("nothing is to be done")

    async def check_accepts(self, backend: Backend) -> None:
        raise AssertionError("nothing is to be added")


async def test_what_the_last_pass_began_is_in_the_file_at_the_end() -> None:
    file = PlayedFile()
    async with kept(file) as stage:
        await stage.backend.catch_up(Observing(ONE))  # before the first pass nobody knows what is wanted
        await asyncio.sleep(2)
        assert file.writes == []
        await stage.backend.on_pass(a_pass(ONE))
        await stage.backend.catch_up(Observing(ONE, TWO))
        await stage.backend.catch_up(Observing(error=ProxyUnreachable("lb1: gone")))
        await asyncio.sleep(2)
    assert file.writes[-1][1] == {ONE.name, TWO.name}
