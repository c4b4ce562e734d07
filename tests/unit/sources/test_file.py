from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from pydantic import ValidationError

from dynsrv.errors import SourceError
from dynsrv.metrics import Metrics
from dynsrv.model import Endpoint, Snapshot
from dynsrv.sources.feed import Feed
from dynsrv.sources.file import (
    MAX_DEFERRALS,
    MAX_SIZE,
    POLL_INTERVAL,
    REPEAT_POLLS,
    SETTLING_POLLS,
    FileSource,
    FileSourceSettings,
)
from dynsrv.sources.source import SharedResources, SourceContext

ROOT = Path(__file__).parents[3]

ONE = "servers: [{address: 10.0.0.1, port: 80}]"
TWO = "servers: [{address: 10.0.0.1, port: 80}, {address: 10.0.0.2, port: 80}]"
OTHER = "servers: [{address: 10.0.0.9, port: 80}]"


def a_snapshot(*hosts: int) -> Snapshot:
    return Snapshot(tuple(Endpoint(f"10.0.0.{host}", 80) for host in hosts))


class StopLooking(Exception):
    """The story is told."""


async def what_comes_of(source: FileSource) -> list[Snapshot]:
    snapshots: list[Snapshot] = []
    try:
        async for snapshot in source.watch():
            snapshots.append(snapshot)  # noqa: PERF401 - what came before the end of the story counts
    except StopLooking:
        return snapshots
    raise AssertionError("a source never ends by itself")


class Story:
    """What happens to a file between one look and the next; no time passes."""

    def __init__(self, *events: Callable[[], object]) -> None:
        self.events = list(events)
        self.reads = 0

    async def sleep(self, seconds: float) -> None:
        assert seconds == POLL_INTERVAL
        if not self.events:
            raise StopLooking
        self.events.pop(0)()

    def read(self, path: Path) -> bytes:
        self.reads += 1
        return path.read_bytes()

    async def snapshots(self, path: Path, *, status: Callable[[Path], os.stat_result] = os.stat) -> list[Snapshot]:
        source = FileSource(path, backend="be_app", sleep=self.sleep, status=status, read=self.read)
        return await what_comes_of(source)


def nothing() -> None:
    pass


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "servers.yaml"
    path.write_text(ONE)
    return path


async def the_error_of(source: FileSource) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await anext(source.watch())
    return caught.value


async def test_what_the_file_says_now_comes_without_waiting(path: Path) -> None:
    assert await Story().snapshots(path) == [a_snapshot(1)]


async def test_a_replaced_file_is_seen_at_the_next_look(path: Path) -> None:
    assert await Story(lambda: replace(path, TWO)).snapshots(path) == [a_snapshot(1), a_snapshot(1, 2)]


async def test_a_file_written_in_place_is_read_as_soon_as_it_stands_still(path: Path) -> None:
    story = Story(lambda: path.write_text(TWO), nothing)
    assert await story.snapshots(path) == [a_snapshot(1), a_snapshot(1, 2)]


async def test_a_file_that_is_being_written_is_never_taken_for_whole(path: Path) -> None:
    half = "servers:\n- {address: 10.0.0.1, port: 80}\n"  # valid, and yet not all
    story = Story(
        lambda: path.write_text(""),
        lambda: path.write_text(half),
        lambda: path.write_text(half + "- {address: 10.0.0.2, port: 80}\n"),
        nothing,
    )
    assert await story.snapshots(path) == [a_snapshot(1), a_snapshot(1, 2)]


async def test_a_file_that_never_stands_still_is_read_all_the_same(path: Path) -> None:
    def write(number: int) -> Callable[[], object]:
        return lambda: path.write_text(f"{OTHER} # {'x' * number}")

    story = Story(*(write(number) for number in range(MAX_DEFERRALS + 1)))
    assert await story.snapshots(path) == [a_snapshot(1), a_snapshot(9)]


async def test_the_symlink_swap_of_a_config_map_is_seen(tmp_path: Path) -> None:
    for version, text in (("..v1", ONE), ("..v2", TWO)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "servers.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "servers.yaml").symlink_to("..data/servers.yaml")

    def swap() -> None:
        (tmp_path / "..data_tmp").symlink_to("..v2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    assert await Story(swap).snapshots(tmp_path / "servers.yaml") == [a_snapshot(1), a_snapshot(1, 2)]


async def test_a_second_write_within_one_tick_of_the_clock_is_seen_though_the_file_looks_the_same(path: Path) -> None:
    first: list[os.stat_result] = []

    def always_the_same(path: Path) -> os.stat_result:
        first.append(path.stat())
        return first[0]

    story = Story(lambda: path.write_text(OTHER), nothing)
    assert await story.snapshots(path, status=always_the_same) == [a_snapshot(1), a_snapshot(9)]


async def test_a_file_that_stands_still_is_soon_not_read_any_more(path: Path) -> None:
    story = Story(*[nothing] * 100)
    await story.snapshots(path)
    assert story.reads == 1 + SETTLING_POLLS


async def test_a_file_that_stands_still_is_told_again_every_ten_seconds_without_being_read(path: Path) -> None:
    story = Story(*[nothing] * (3 * REPEAT_POLLS + REPEAT_POLLS - 1))
    first, *others = await story.snapshots(path)
    assert pytest.approx(10) == POLL_INTERVAL * REPEAT_POLLS
    assert len(others) == 3
    assert all(other is first for other in others)  # the same object, so that to compare it costs nothing
    assert story.reads == 1 + SETTLING_POLLS


async def test_the_ten_seconds_begin_anew_with_each_change(path: Path) -> None:
    quiet = [nothing] * (REPEAT_POLLS - 2)
    story = Story(*quiet, lambda: replace(path, TWO), *quiet, nothing)
    assert await story.snapshots(path) == [a_snapshot(1), a_snapshot(1, 2)]


async def test_a_change_that_means_the_same_does_not_put_the_next_telling_off(path: Path) -> None:
    story = Story(*[lambda: replace(path, ONE)] * REPEAT_POLLS)
    assert await story.snapshots(path) == [a_snapshot(1), a_snapshot(1)]


async def test_what_a_file_said_is_not_told_again_while_it_is_being_written(path: Path) -> None:
    def write(number: int) -> Callable[[], object]:
        return lambda: path.write_text("x" * number)  # never the same from one look to the next, and never valid

    quiet = [nothing] * (REPEAT_POLLS - 1)
    story = Story(*quiet, *(write(number) for number in range(MAX_DEFERRALS)))
    assert await story.snapshots(path) == [a_snapshot(1)]


async def test_what_a_file_said_is_not_told_again_when_it_is_broken(path: Path) -> None:
    source = FileSource(path, backend="be_app", sleep=Story(*[nothing] * (REPEAT_POLLS - 1), path.unlink).sleep)
    async with aclosing(source.watch()) as watching:
        assert await anext(watching) == a_snapshot(1)
        with pytest.raises(SourceError, match="there is no such file"):
            await anext(watching)


@pytest.mark.parametrize("text", [ONE, f"# another comment\n{ONE}", '[{"targets": ["10.0.0.1:80"]}]'])
async def test_a_change_that_means_the_same_is_no_event(path: Path, text: str) -> None:
    assert await Story(lambda: replace(path, text), nothing).snapshots(path) == [a_snapshot(1)]


async def test_what_was_read_while_the_file_was_written_does_not_count(path: Path) -> None:
    story = Story(nothing, nothing)
    half_written = [b"servers: []"]

    def read(_: Path) -> bytes:
        if half_written:
            path.write_text(TWO)
            return half_written.pop()
        return path.read_bytes()

    source = FileSource(path, backend="be_app", sleep=story.sleep, read=read)
    assert await what_comes_of(source) == [a_snapshot(1, 2)]


async def test_a_broken_file_ends_the_watching_and_the_next_watching_begins_with_what_is_whole(path: Path) -> None:
    story = Story(lambda: replace(path, "servers: ["))
    source = FileSource(path, backend="be_app", sleep=story.sleep)
    async with aclosing(source.watch()) as watching:
        assert await anext(watching) == a_snapshot(1)
        with pytest.raises(SourceError, match="the file ends too early"):
            await anext(watching)
    assert (await the_error_of(source)).reason == "syntax"
    replace(path, ONE)
    assert await anext(source.watch()) == a_snapshot(1)


async def test_a_broken_file_is_not_parsed_again_and_again_and_read_at_once_when_it_is_mended(path: Path) -> None:
    replace(path, "servers: [")
    story = Story(nothing, nothing, lambda: replace(path, TWO))
    source = FileSource(path, backend="be_app", sleep=story.sleep, read=story.read)
    for _ in range(SETTLING_POLLS + 1):
        await the_error_of(source)
    reads = story.reads
    assert await what_comes_of(source) == [a_snapshot(1, 2)]
    assert story.reads == reads + 1


async def test_a_mended_file_is_followed_within_a_second_however_long_it_was_broken(path: Path) -> None:
    replace(path, "servers: [")
    feed = Feed(FileSource(path, backend="be_app"), backend="be_app", kind="file", metrics=Metrics())
    task = asyncio.create_task(feed.run())
    await asyncio.sleep(60)
    assert feed.failure is not None
    replace(path, TWO)
    await asyncio.sleep(1)
    assert feed.snapshot == a_snapshot(1, 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def write_too_much(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_SIZE + 1)


BROKEN: dict[str, Callable[[Path], object]] = {
    "it does not exist": lambda _: None,
    "dynsrv may not read it": lambda path: path.write_text(ONE),
    "it is empty": lambda path: path.write_text(""),
    "it is half-written": lambda path: path.write_text("servers:\n  - {address: 10.0.0.1,"),
    "it is a directory": lambda path: path.mkdir(),
    "it lists no servers": lambda path: path.write_text("hello"),
    "it is too large": write_too_much,
}


def the_documented_errors() -> dict[str, tuple[str, str]]:
    documentation = (ROOT / "docs" / "configuration.md").read_text()
    table = documentation.partition("### With the servers file as a whole")[2]
    rows = re.findall(r"^\| (.*) \| `(servers\.yaml:[^`]*)` \| `(\w+)` \|$", table, flags=re.MULTILINE)
    return {what: (sentence.replace("998", str(os.geteuid())), reason) for what, sentence, reason in rows}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_file_that_cannot_be_used_is_an_error_as_documented_and_never_an_empty_snapshot(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> bytes:
        if what == "dynsrv may not read it":  # the tests may run as root, who may read everything
            raise PermissionError(13, "Permission denied")
        return path.read_bytes()

    monkeypatch.chdir(tmp_path)
    BROKEN[what](Path("servers.yaml"))
    error = await the_error_of(FileSource(Path("servers.yaml"), backend="be_app", read=read))
    assert (str(error), error.reason) == the_documented_errors()[what]


def test_every_way_to_break_the_file_as_a_whole_is_documented() -> None:
    assert the_documented_errors().keys() == BROKEN.keys()


async def test_the_example_of_the_repository_lists_two_servers() -> None:
    snapshot = await anext(FileSource(ROOT / "deploy" / "servers.yaml", backend="be_app").watch())
    assert [str(endpoint) for endpoint in snapshot.endpoints] == ["10.0.0.1:8080", "10.0.0.2:8080"]


def test_a_relative_path_begins_at_the_directory_of_the_configuration_file() -> None:
    for path, absolute in (("servers.yaml", "/etc/dynsrv/servers.yaml"), ("/srv/x.yaml", "/srv/x.yaml")):
        settings = FileSourceSettings.model_validate({"kind": "file", "path": path})
        source = settings.create(SourceContext("be_app", Path("/etc/dynsrv"), SharedResources()))
        assert repr(source) == f"<FileSource {absolute} for be_app>"


async def test_an_inspection_tells_where_the_file_is(path: Path) -> None:
    inspection = FileSource(path, backend="be_app").inspect()
    assert [sentence async for sentence in inspection] == [f"reads {path}"]


@pytest.mark.parametrize("path", ["", " ", "a\nb", "a\0b", "\ud800", 5, None])
def test_a_path_that_is_none_is_refused(path: object) -> None:
    with pytest.raises(ValidationError):
        FileSourceSettings.model_validate({"kind": "file", "path": path})
