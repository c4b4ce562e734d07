"""What was done to HAProxy: the last changes are remembered, and all commands are in the audit file."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dynsrv.logs import Event
from dynsrv.reconcile import audit
from dynsrv.reconcile.audit import RECENT, AuditLog
from dynsrv.steps import Admit, Applied, Delete, Outcome, Step, StepResult


def a_result(
    number: int = 1, *, outcome: Outcome = Outcome.DONE, expected: bool = False, detail: str = ""
) -> StepResult:
    step = Admit(f"dyn-{number}", "its health check passed")
    return StepResult(step, outcome, detail, expected, f"enable server be_app/dyn-{number}", 0.25)


async def record(
    audit_log: AuditLog, *results: StepResult, unanswered: Sequence[Step] = (), now: float = 1_700_000_000.5
) -> None:
    await audit_log.record(Applied(results, tuple(unanswered)), proxy="lb1", backend="be_app", now=now)


def the_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_every_change_is_remembered_with_its_number_and_its_time() -> None:
    audit_log = AuditLog()
    await record(audit_log, a_result(1), a_result(2, outcome=Outcome.UNKNOWN, detail="what?"), now=5)
    await record(audit_log, a_result(3), now=6)
    assert [(one.number, one.time.timestamp(), one.server) for one in audit_log.recent] == [
        (1, 5, "dyn-1"),
        (2, 5, "dyn-2"),
        (3, 6, "dyn-3"),
    ]
    second = audit_log.recent[1]
    assert (second.proxy, second.backend, second.step, second.reason, second.outcome, second.detail) == (
        "lb1",
        "be_app",
        "admit",
        "its health check passed",
        "unknown",
        "what?",
    )


async def test_only_the_last_changes_are_remembered_and_numbers_go_on() -> None:
    audit_log = AuditLog()
    await record(audit_log, *(a_result(number) for number in range(RECENT)))
    await record(audit_log, a_result(), a_result())
    assert len(audit_log.recent) == RECENT
    assert [one.number for one in audit_log.recent] == list(range(3, RECENT + 3))


async def test_a_refusal_that_is_tried_again_is_no_change_but_is_in_the_audit_file(tmp_path: Path) -> None:
    audit_log = AuditLog(tmp_path / "audit")
    await record(audit_log, a_result(outcome=Outcome.REFUSED, expected=True, detail="still in use"))
    assert not audit_log.recent
    assert [line["reply"] for line in the_lines(tmp_path / "audit")] == ["still in use"]
    await record(audit_log, a_result(outcome=Outcome.REFUSED, detail="no"))
    assert [one.detail for one in audit_log.recent] == ["no"]


async def test_a_line_of_the_audit_file_has_the_command_the_reply_and_why(tmp_path: Path) -> None:
    await record(AuditLog(tmp_path / "audit"), a_result(detail='it "said"\n so'))
    assert the_lines(tmp_path / "audit") == [
        {
            "time": "2023-11-14T22:13:20.500000+00:00",
            "proxy": "lb1",
            "backend": "be_app",
            "step": "admit",
            "server": "dyn-1",
            "reason": "its health check passed",
            "outcome": "done",
            "command": "enable server be_app/dyn-1",
            "reply": 'it "said"\n so',
            "seconds": 0.25,
        }
    ]


async def test_a_step_without_an_answer_is_in_the_audit_file_as_that(tmp_path: Path) -> None:
    audit_log = AuditLog(tmp_path / "audit")
    await record(audit_log, a_result(1), unanswered=[Delete("dyn-2", "drained")])
    done, lost = the_lines(tmp_path / "audit")
    assert done["outcome"] == "done"
    assert (lost["outcome"], lost["server"]) == ("unanswered", "dyn-2")
    assert (lost["command"], lost["reply"], lost["seconds"]) == (None, None, None)
    assert [one.server for one in audit_log.recent] == ["dyn-1"]


async def test_nothing_is_written_where_nothing_was_sent(tmp_path: Path) -> None:
    await record(AuditLog(tmp_path / "audit"))
    assert not (tmp_path / "audit").exists()


async def test_a_file_that_is_renamed_is_left_alone(tmp_path: Path) -> None:
    path, rotated = tmp_path / "audit", tmp_path / "audit.1"
    audit_log = AuditLog(path)
    await record(audit_log, a_result(1))
    path.rename(rotated)
    await record(audit_log, a_result(2))
    assert [line["server"] for line in the_lines(rotated)] == ["dyn-1"]
    assert [line["server"] for line in the_lines(path)] == ["dyn-2"]


async def test_lines_that_are_written_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    audit_log = AuditLog(tmp_path / "audit")
    many = [a_result(number, detail="x" * 1000) for number in range(100)]
    await asyncio.gather(*(record(audit_log, *many, now=number) for number in range(8)))
    lines = the_lines(tmp_path / "audit")
    assert len(lines) == 800
    assert [line["server"] for line in lines] == [one.step.server for one in many] * 8


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("none/audit", "there is no such directory; create it, or correct the path"),
        (".", "it is a directory; give the path of a file"),
        ("/dev/full", "it cannot be written: No space left on device"),
    ],
)
async def test_a_file_that_cannot_be_written_is_told_once(tmp_path: Path, path: str, problem: str) -> None:
    audit_log = AuditLog(tmp_path / path)
    with capture_logs() as logs:
        for number in range(3):
            await record(audit_log, a_result(number))
    assert logs == [
        {"event": Event.AUDIT_WRITE_FAILED, "log_level": "error", "path": str(tmp_path / path), "error": problem}
    ]
    assert len(audit_log.recent) == 3


def forbidden(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


async def test_a_file_that_may_not_be_written_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "open", forbidden, raising=False)  # not by the file's mode: root may write everything
    with capture_logs() as logs:
        await record(AuditLog(tmp_path / "audit"), a_result())
    assert logs[0]["error"] == f"the user with id {os.geteuid()} has no permission to write it; grant it"


async def test_that_it_can_be_written_again_is_told_and_the_next_failure_too(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    audit_log = AuditLog(folder / "audit")
    with capture_logs() as logs:
        await record(audit_log, a_result(1))
        folder.mkdir()
        await record(audit_log, a_result(2))
        await record(audit_log, a_result(3))
        (folder / "audit").rename(tmp_path / "audit")
        folder.rmdir()
        await record(audit_log, a_result(4))
    assert [line["event"] for line in logs] == [
        Event.AUDIT_WRITE_FAILED,
        Event.AUDIT_WRITE_RECOVERED,
        Event.AUDIT_WRITE_FAILED,
    ]
    assert [line["server"] for line in the_lines(tmp_path / "audit")] == ["dyn-2", "dyn-3"]


async def test_no_half_of_a_line_stays_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit"
    audit_log = AuditLog(path)
    await record(audit_log, a_result(1))
    whole = path.read_text()
    monkeypatch.setattr(audit, "open", _on_a_disk_that_is_full_after(100), raising=False)
    with capture_logs() as logs:
        await record(audit_log, a_result(2))
    monkeypatch.undo()
    assert [line["event"] for line in logs] == [Event.AUDIT_WRITE_FAILED]
    assert path.read_text() == whole
    await record(audit_log, a_result(3))
    assert [line["server"] for line in the_lines(path)] == ["dyn-1", "dyn-3"]


def _on_a_disk_that_is_full_after(size: int) -> Any:
    class Full:
        def __init__(self, path: Path) -> None:
            self._file = open(path, "ab", buffering=0)  # noqa: PTH123, SIM115 - closed by __exit__
            self._left = size

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, data: memoryview) -> int:
            if not self._left:
                raise OSError(28, "No space left on device")
            written = self._file.write(data[: self._left])
            self._left -= written
            return written

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    return lambda path, *_, **__: Full(path)


async def test_only_its_owner_can_read_a_new_audit_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        await record(AuditLog(tmp_path / "audit"), a_result())
    finally:
        os.umask(before)
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o600


async def test_an_audit_file_that_is_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "passwd"
    target.write_text("root")
    (tmp_path / "audit").symlink_to(target)
    with capture_logs() as logs:
        await record(AuditLog(tmp_path / "audit"), a_result())
    assert target.read_text() == "root"
    problem = "it is a symbolic link, which is not followed; give the path of the file itself"
    assert [line["error"] for line in logs] == [problem]
    assert audit.why_not_writable(tmp_path / "audit") == problem
