"""Whatever happens to the writer, at whichever system call: the file is the old one or the new one, whole."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynsrv.errors import ConfigFileError
from dynsrv.persist.file import ChangedMeanwhile, ReplacedFile, SystemCalls

OLD, NEW = b"old\n" * 1000, b"new\n" * 1001
CALLS = [name for name in vars(SystemCalls) if not name.startswith("_")]


class Killed(BaseException):
    """The process is gone: it makes no further call."""


class Interrupted(SystemCalls):
    """The first *calls* system calls go through; then *end* is raised: by all that follow, or *once*.

    With *after* the call is made before the process is gone. *before_exchange* does what somebody else does just then.
    """

    def __init__(
        self,
        calls: int = 10**6,
        *,
        end: Callable[[], BaseException] = Killed,
        once: bool = False,
        after: bool = False,
        no_exchange: bool = False,
        before_exchange: Iterator[Callable[[], object]] | None = None,
    ) -> None:
        self.made: list[str] = []
        for name in CALLS:
            setattr(self, name, self._counted(name, getattr(SystemCalls, name)))
        self._calls, self._end, self._once, self._after = calls, end, once, after
        self._no_exchange, self._before_exchange = no_exchange, before_exchange

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.made.append(name)
            beyond = len(self.made) - self._calls
            if beyond > (1 if self._after else 0) and not (self._once and beyond > 1):
                raise self._end()
            try:
                if name == "exchange":
                    self._exchange()
                return None if name == "fsync" else call(*arguments, **named)  # which takes its time
            finally:
                if beyond == 1 and self._after:
                    raise self._end()

        return counted

    def _exchange(self) -> None:
        if self._no_exchange:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if self._before_exchange is not None:
            next(self._before_exchange)()


def failing(path: Path, call: str, number: int, *, at: int = 0) -> SystemCalls:
    """System calls of which this one fails, the *at*th of its kind in a replacement of the file."""
    whole = Interrupted()
    replaced(path, whole)
    path.write_bytes(OLD)
    index = [place for place, name in enumerate(whole.made) if name == call][at]
    return Interrupted(index, end=lambda: OSError(number, os.strerror(number)), once=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "haproxy.cfg"
    path.write_bytes(OLD)
    path.chmod(0o640)
    return path


def replaced(path: Path, calls: SystemCalls | None = None, **arguments: Any) -> ReplacedFile:
    """Replace the file as a careful writer does: look, read, replace."""
    file = ReplacedFile(path, calls=calls)
    looked = file.look()
    file.read(looked)
    file.replace(NEW, looked, **arguments)
    return file


def beside(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir() if one != path)


def test_the_file_is_replaced_and_nothing_is_left_beside_it(path: Path) -> None:
    before = path.stat()
    file = replaced(path)
    assert path.read_bytes() == NEW
    after = path.stat()
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (0o640, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert beside(path) == []
    assert file.read(file.look()) == NEW


def test_what_is_new_is_on_the_disk_before_it_takes_its_place_and_its_name_is_before_all_is_over(path: Path) -> None:
    calls = Interrupted()
    replaced(path, calls)
    made = calls.made
    assert made.index("fsync") < made.index("exchange") < len(made) - 1 - made[::-1].index("fsync")
    assert made.count("fsync") == 2


@pytest.mark.parametrize("no_exchange", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_system_call_it_leaves_the_old_or_the_new_file_whole(
    path: Path, *, after: bool, no_exchange: bool
) -> None:
    whole = Interrupted(no_exchange=no_exchange)
    replaced(path, whole)
    states = []
    for number in range(len(whole.made)):
        path.write_bytes(OLD)
        with pytest.raises(Killed):
            replaced(path, Interrupted(number, after=after, no_exchange=no_exchange))
        states.append(path.read_bytes())
        assert states[-1] in {OLD, NEW}
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        replaced(path)  # the next writer finds its way
        assert path.read_bytes() == NEW
        assert beside(path) == []
    assert states == sorted(states, reverse=True)  # b"old" > b"new": once new it stays new
    assert set(states) == {OLD, NEW}


@pytest.mark.parametrize("no_exchange", [False, True])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_any_system_call_that_fails_is_an_error_and_leaves_the_old_or_the_new_file_whole(
    path: Path, *, number: int, no_exchange: bool
) -> None:
    whole = Interrupted(no_exchange=no_exchange)
    replaced(path, whole)
    failed = []
    for at in range(len(whole.made)):
        path.write_bytes(OLD)
        calls = Interrupted(at, end=lambda: OSError(number, os.strerror(number)), once=True, no_exchange=no_exchange)
        try:
            replaced(path, calls)
        except ConfigFileError as error:
            failed.append(str(error))
            assert path.read_bytes() in {OLD, NEW}
        else:
            assert path.read_bytes() == NEW  # such as an attribute that could not be kept
        replaced(path)
        assert beside(path) == []
    assert len(failed) > len(whole.made) / 2
    assert all(str(path) in sentence for sentence in failed)


@pytest.mark.parametrize("written", [1, 7, 100])
def test_a_file_is_whole_though_the_kernel_writes_it_bit_by_bit(path: Path, written: int) -> None:
    class Slow(SystemCalls):
        @staticmethod
        def write(file: int, content: Any) -> int:
            return os.write(file, content[:written])

    replaced(path, Slow())
    assert path.read_bytes() == NEW


# somebody else writes, too


def rename_over(path: Path, content: bytes) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(content)
    other.rename(path)


def test_what_somebody_else_wrote_since_the_look_is_not_lost(path: Path) -> None:
    file = ReplacedFile(path)
    looked = file.look()
    rename_over(path, b"theirs\n")
    with pytest.raises(ChangedMeanwhile):
        file.read(looked)
    with pytest.raises(ChangedMeanwhile):
        file.replace(NEW, looked)
    assert path.read_bytes() == b"theirs\n"
    assert beside(path) == []


def test_what_somebody_else_writes_in_the_last_moment_is_not_lost(path: Path) -> None:
    calls = Interrupted(before_exchange=iter([lambda: rename_over(path, b"theirs\n"), lambda: None]))
    with pytest.raises(ChangedMeanwhile):
        replaced(path, calls)
    assert path.read_bytes() == b"theirs\n"
    assert beside(path) == []


def test_what_somebody_else_writes_while_theirs_is_put_back_is_not_lost_either(path: Path) -> None:
    changes = iter(
        [
            lambda: rename_over(path, b"theirs\n"),
            lambda: rename_over(path, b"theirs again\n"),
            lambda: rename_over(path, b"theirs for good\n"),
            lambda: None,
        ]
    )
    with pytest.raises(ChangedMeanwhile):
        replaced(path, Interrupted(before_exchange=changes))
    assert path.read_bytes() == b"theirs for good\n"
    assert beside(path) == []


def test_a_file_that_was_there_all_at_once_is_not_overwritten(path: Path) -> None:
    file = ReplacedFile(path)
    with pytest.raises(ChangedMeanwhile):
        file.replace(NEW, None)
    assert path.read_bytes() == OLD


def test_a_file_that_is_gone_is_not_made_again(path: Path) -> None:
    file = ReplacedFile(path)
    looked = file.look()
    path.unlink()
    with pytest.raises(ChangedMeanwhile):
        file.read(looked)
    assert file.look() is None
    assert file.read(None) is None


# where it is, and whose


def test_a_symlink_stays_one_and_what_it_leads_to_is_replaced(path: Path) -> None:
    folder = path.parent / "elsewhere"
    folder.mkdir()
    target = path.rename(folder / "real.cfg")
    path.symlink_to("elsewhere/real.cfg")
    replaced(path)
    assert path.is_symlink()
    assert target.read_bytes() == NEW
    assert not target.is_symlink()
    assert [one.name for one in folder.iterdir()] == ["real.cfg"]


def test_a_file_that_was_not_there_gets_the_mode_of_its_template(tmp_path: Path) -> None:
    path, template = tmp_path / "haproxy.cfg", tmp_path / "template"
    template.touch(mode=0o604)
    template.chmod(0o604)
    file = ReplacedFile(path)
    file.replace(NEW, None, like=template)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (NEW, 0o604)


class OfSomebodyElse(SystemCalls):
    """The old file is of another user, whom only root may give files."""

    @staticmethod
    def stat(path: Any, **arguments: Any) -> os.stat_result:
        status = list(Path(path).stat(**arguments))
        status[4] = 12345
        return os.stat_result(status)

    @staticmethod
    def fchown(file: int, user: int, group: int) -> None:
        assert user == 12345
        raise PermissionError(errno.EPERM, "no")


def test_a_file_whose_owner_cannot_be_kept_is_refused_with_the_remedy(path: Path) -> None:
    file = ReplacedFile(path, calls=OfSomebodyElse())
    with pytest.raises(ConfigFileError, match=r"may not write a file of its owner 12345:.*haproxy -f … -f …") as caught:
        file.replace(NEW, file.look())
    assert caught.value.reason == "permission"
    assert path.read_bytes() == OLD
    assert beside(path) == []


@pytest.mark.parametrize(
    ("number", "reason", "told"),
    [
        (errno.EACCES, "permission", "may write no file beside it .*; give that user the folder, or have HAProxy read"),
        (errno.EROFS, "permission", "Read-only file system.*haproxy -f … -f …"),
        (errno.EBUSY, "permission", "mounted by itself and cannot be replaced; mount the folder that it is in"),
        (errno.ENOSPC, "space", "there is no space for it"),
        (errno.ENOENT, "missing", "there is no such folder"),
        (errno.EIO, "io", "it cannot be written: Input/output error"),
    ],
)
def test_what_keeps_it_from_being_written_is_told_with_what_to_do(
    path: Path, number: int, reason: str, told: str
) -> None:
    calls = failing(path, "open", number, at=1) if number == errno.ENOENT else failing(path, "exchange", number)
    with pytest.raises(ConfigFileError, match=told) as caught:
        replaced(path, calls)
    assert caught.value.reason == reason
    assert path.read_bytes() == OLD


def test_a_file_that_may_not_be_read_is_told_so(path: Path) -> None:
    with pytest.raises(ConfigFileError, match="may not read it; give that user the permission") as caught:
        replaced(path, failing(path, "open", errno.EACCES))
    assert caught.value.reason == "permission"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match="not a regular file; name the file that HAProxy reads"):
        replaced(tmp_path)


def test_a_new_file_that_is_not_valid_does_not_take_the_old_ones_place(path: Path) -> None:
    seen: list[bytes] = []

    def validate(new: Path) -> None:
        seen.append(new.read_bytes())
        assert not new.name.endswith(".cfg")  # HAProxy reads all of a folder that do
        raise ConfigFileError(path, "validation", "no")

    with pytest.raises(ConfigFileError):
        replaced(path, validate=validate)
    assert seen == [NEW]
    assert path.read_bytes() == OLD
    assert beside(path) == []


def test_what_a_dead_writer_left_is_removed_when_nobody_can_be_writing_it_any_more(path: Path) -> None:
    with pytest.raises(Killed):
        replaced(path, Interrupted(12))
    (left,) = beside(path)
    now = (path.parent / left).stat().st_mtime
    other = path.with_name(".another.cfg.dynsrv-5")
    other.touch()
    ReplacedFile(path).remove_leftovers(now + 60)
    assert left in beside(path)
    ReplacedFile(path).remove_leftovers(now + 3600)
    assert beside(path) == [other.name]
