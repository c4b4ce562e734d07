from __future__ import annotations

from pathlib import Path

import pytest

from dynsrv.haproxy.command_line import files_read_by, unread_files


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A folder with configurations."""
    folder = tmp_path / "etc"
    (folder / "conf.d").mkdir(parents=True)
    for name in ("haproxy.cfg", "other.cfg", "conf.d/10-app.cfg"):
        (folder / name).touch()
    return folder


def a_process(tmp_path: Path, *words: str, cwd: Path) -> Path:
    """Return a /proc with a process 7 that was started so."""
    process = tmp_path / "proc" / "7"
    process.mkdir(parents=True)
    (process / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    (process / "cwd").symlink_to(cwd)
    return tmp_path / "proc"


@pytest.mark.parametrize(
    "words",
    [
        ["-W", "-f", "{etc}/haproxy.cfg"],
        ["-Ws", "-f", "{etc}/other.cfg", "-f", "{etc}/haproxy.cfg", "-p", "/run/haproxy.pid"],
        ["-f", "haproxy.cfg"],
        ["-C", "{etc}", "-f", "haproxy.cfg"],
        ["-f", "{etc}"],
        ["-W", "--", "{etc}/other.cfg", "{etc}/haproxy.cfg"],
        ["-f", "{etc}/conf.d/../haproxy.cfg"],
    ],
)
def test_a_file_that_is_named_in_any_way_is_read(tmp_path: Path, etc: Path, words: list[str]) -> None:
    proc = a_process(tmp_path, "/usr/sbin/haproxy", *(word.format(etc=etc) for word in words), cwd=etc)
    assert unread_files(7, [etc / "haproxy.cfg"], proc=proc) is None


def test_a_symlink_to_the_file_that_is_named_is_read_too(tmp_path: Path, etc: Path) -> None:
    (etc / "link.cfg").symlink_to("haproxy.cfg")
    proc = a_process(tmp_path, "haproxy", "-f", str(etc / "haproxy.cfg"), cwd=etc)
    assert unread_files(7, [etc / "link.cfg"], proc=proc) is None


def test_a_file_that_is_not_named_is_told_with_those_that_are(tmp_path: Path, etc: Path) -> None:
    proc = a_process(tmp_path, "haproxy", "-f", "other.cfg", "-f", str(etc / "conf.d"), cwd=etc)
    assert unread_files(7, [etc / "conf.d" / "10-app.cfg", etc / "haproxy.cfg"], proc=proc) == (
        f"HAProxy (pid 7) does not read {etc}/haproxy.cfg: it was started with -f {etc}/other.cfg, -f {etc}/conf.d"
    )


def test_of_a_process_that_is_not_here_or_not_haproxy_nobody_can_tell(tmp_path: Path, etc: Path) -> None:
    proc = a_process(tmp_path, "/usr/bin/python3", "-f", "x", cwd=etc)
    assert files_read_by(7, proc=proc) is None
    assert files_read_by(8, proc=proc) is None
    assert unread_files(7, [etc / "haproxy.cfg"], proc=proc) is None
