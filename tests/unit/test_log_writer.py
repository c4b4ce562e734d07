from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator

import pytest

from dynsrv.log_writer import LogWriter

DESCRIPTOR = 77


class Disk:
    """Stands for a file descriptor: *full*, or blocked until *readable* is set."""

    def __init__(self) -> None:
        self.content = b""
        self.full = False
        self.room = 10_000
        self.readable = threading.Event()
        self.readable.set()

    def write(self, descriptor: int, content: bytes) -> int:
        assert descriptor == DESCRIPTOR
        self.readable.wait()
        taken = bytes(content)[: self.room]
        if self.full or not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(taken)
        self.content += taken
        return len(taken)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr(os, "write", disk.write)
    yield disk
    disk.readable.set()


def report(lines: int) -> str:
    return f"lost {lines}\n"


def test_lines_are_written_in_their_order(disk: Disk) -> None:
    writer = LogWriter(DESCRIPTOR, report=report)
    for number in range(3):
        writer.write(f"line {number}\n")
    writer.drain(timeout=10)
    assert disk.content == b"line 0\nline 1\nline 2\n"


def test_lines_that_a_full_disk_loses_are_counted_and_reported_when_there_is_room_again(disk: Disk) -> None:
    lost: list[int] = []
    writer = LogWriter(DESCRIPTOR, report=report, count=lost.append)
    disk.full = True
    writer.write("one\n")
    writer.write("two\n")
    writer.drain(timeout=10)
    assert (disk.content, sum(lost)) == (b"", 2)
    disk.full = False
    writer.write("three\n")
    writer.write("four\n")
    writer.drain(timeout=10)
    assert disk.content == b"three\nlost 2\nfour\n"


def test_after_half_a_line_the_next_one_begins_on_a_line_of_its_own(disk: Disk) -> None:
    writer = LogWriter(DESCRIPTOR, report=report)
    disk.room = 4
    writer.write("broken\n")
    writer.drain(timeout=10)
    disk.room = 1000
    writer.write("whole\n")
    writer.drain(timeout=10)
    assert disk.content == b"brok\nwhole\nlost 1\n"


def test_while_nobody_reads_writing_returns_at_once_and_what_exceeds_the_capacity_is_lost(disk: Disk) -> None:
    lost: list[int] = []
    writer = LogWriter(DESCRIPTOR, report=report, count=lost.append, capacity=10)
    disk.readable.clear()
    for number in range(100):
        writer.write(f"{number}\n")
    writer.drain(timeout=0)
    assert sum(lost) in {89, 90}  # one may have left the queue
    disk.readable.set()
    writer.drain(timeout=10)
    assert disk.content.startswith(f"0\nlost {sum(lost)}\n1\n".encode())
    assert disk.content.count(b"\n") == 101 - sum(lost)
