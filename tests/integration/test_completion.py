"""A shell completes what may follow `dynsrv`: asked as bash asks when somebody presses Tab."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.integration.support.haproxy import environment

_SCRIPT = """
source <(dynsrv completion bash)
[ "$(complete -p dynsrv)" = "complete -o nosort -F _dynsrv_completion dynsrv" ] || exit 1
COMP_WORDS=(dynsrv "$@")
COMP_CWORD=$#
_dynsrv_completion dynsrv 2>&1
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(*words: str, folder: Path) -> list[str]:
    """Return what bash offers for the last of *words* behind `dynsrv`."""
    path = f"{Path(sys.executable).parent}:{environment()['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", _SCRIPT, "bash", *words],
        cwd=folder,
        env=environment() | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    backends = [
        {"name": name, "source": {"kind": "file", "path": "servers.yaml"}} for name in ("be_web", "be_app", "x")
    ]
    settings = {"proxies": [{"address": "/run/haproxy/admin.sock"}], "backends": backends}
    for name in ("dynsrv.yaml", "other.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump(settings))
        settings["backends"] = backends[2:]
    return tmp_path


def test_commands_are_completed(folder: Path) -> None:
    assert complete("", folder=folder) == [
        *("apply", "check", "completion", "demo", "plan", "render", "run", "schema", "status"),
    ]
    assert complete("completion", "z", folder=folder) == ["zsh"]


def test_options_are_completed(folder: Path) -> None:
    assert complete("apply", "--", folder=folder) == ["--config", "--backend", "--timeout", "--force", "--help"]


def test_backends_of_the_configuration_file_are_completed(folder: Path) -> None:
    assert complete("plan", "--backend", "be_", folder=folder) == ["be_app", "be_web"]
    assert complete("plan", "-c", "other.yaml", "--backend", "", folder=folder) == ["x"]


def test_a_configuration_that_cannot_be_read_completes_to_nothing_and_without_a_word(folder: Path) -> None:
    (folder / "dynsrv.yaml").write_text("nonsense: 1\n")
    assert complete("plan", "--backend", "", folder=folder) == []
    assert complete("plan", "-c", "nowhere.yaml", "--backend", "", folder=folder) == []


@pytest.mark.parametrize(
    ("shell", "line"), [("zsh", "#compdef dynsrv"), ("fish", "complete --no-files --command dynsrv --arguments")]
)
def test_other_shells_have_a_script_of_their_own(shell: str, line: str) -> None:
    command = [sys.executable, "-m", "dynsrv", "completion", shell]
    assert line in subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
