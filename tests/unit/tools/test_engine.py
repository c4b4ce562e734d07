"""Other machines than this one, and failures: what tools/engine.py does that no run of `make test` shows."""

import os
from pathlib import Path

import pytest

from tools import engine
from tools.debian import FetchError


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a Docker engine, whose only programs are in this folder; time costs none."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "LOG", tmp_path / "dockerd.log")
    monkeypatch.setattr(engine, "SYSTEMD", tmp_path / "systemd")
    monkeypatch.setattr("time.sleep", lambda _: os.sched_yield())
    a_program(tmp_path / "docker", f"test -e {tmp_path}/answers || {{ echo 'Cannot connect' >&2; exit 1; }}")
    a_program(tmp_path / "iptables", "true")
    return tmp_path


def a_program(path: Path, does: str) -> None:
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)


def test_a_machine_without_docker_says_so(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(programs / "nothing"))
    assert engine.missing_engine() == "there is no command docker"


def test_systemd_starts_the_engine_where_it_runs(programs: Path) -> None:
    (programs / "systemd").mkdir()
    a_program(programs / "systemctl", f'[ "$*" = "start docker" ] && touch {programs}/answers')
    assert engine.start() is None
    assert engine.missing_engine() is None


def test_an_engine_that_ends_at_once_is_told_with_its_last_words(programs: Path) -> None:
    a_program(programs / "dockerd", "echo 'no permission for iptables'; exit 1")
    with pytest.raises(FetchError, match="dockerd ended:\nno permission for iptables"):
        engine.start()


def test_an_engine_that_never_answers_is_given_up(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 0.0)
    (programs / "systemd").mkdir()
    a_program(programs / "systemctl", "true")
    with pytest.raises(FetchError, match=r"Cannot connect\), 0 s after it was started; see "):
        engine.start()


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("variable", "user", "says"),
    [("tcp://elsewhere:2375", 0, "DOCKER_HOST names another"), ("", 1000, "start one, or run this as root")],
)
def test_no_engine_is_started_where_that_would_not_help(
    monkeypatch: pytest.MonkeyPatch, variable: str, user: int, says: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", variable)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.delattr(engine, "start")
    with pytest.raises(SystemExit, match=says):
        engine.main()
