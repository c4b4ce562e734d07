"""What deploy/systemd has is understood by systemd, and keeps dynsrv from what it does not need."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.integration.support.systemd_host import SYSUSERS, UNIT


def run(*command: str | Path) -> str:
    """Return what *command* printed, errors too; it has to succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # its program has to be there
    unit.write_text(UNIT.read_text().replace("/opt/dynsrv/bin/dynsrv", sys.executable))
    assert run("systemd-analyze", "verify", "--man=no", unit) == ""
    unit.write_text(unit.read_text().replace("WatchdogSec=30s", "WatchdogSecs=30s"))
    assert "'WatchdogSecs'" in run("systemd-analyze", "verify", "--man=no", unit)


def test_an_example_in_a_comment_of_the_unit_is_understood(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    text, examples = re.subn(r"^#(?=[A-Z]\w+=)", "", UNIT.read_text(), flags=re.MULTILINE)
    assert examples == 3
    unit.write_text(text.replace("/opt/dynsrv/bin/dynsrv", sys.executable))
    assert run("systemd-analyze", "verify", "--man=no", unit) == ""


def test_dynsrv_is_hardly_exposed() -> None:
    text = run("systemd-analyze", "security", "--offline=true", "--no-pager", UNIT)
    score = re.search(r"Overall exposure level for dynsrv.service: ([\d.]+)", text)
    assert score is not None
    assert float(score[1]) < 2, text


def test_the_user_is_made_and_may_use_the_socket_of_haproxy(tmp_path: Path) -> None:
    folder = tmp_path / "etc/sysusers.d"
    folder.mkdir(parents=True)
    (folder / "dynsrv.conf").write_text(SYSUSERS.read_text())
    run("systemd-sysusers", f"--root={tmp_path}")
    assert "dynsrv:" in (tmp_path / "etc/passwd").read_text()
    groups = (tmp_path / "etc/group").read_text()
    assert re.search(r"^haproxy:x:\d+:dynsrv$", groups, re.MULTILINE), groups
