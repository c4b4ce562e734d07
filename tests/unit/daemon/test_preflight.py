"""Files that dynsrv could not use are refused before anything starts; one that others can read is a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dynsrv.daemon.preflight import check_files
from dynsrv.errors import ConfigurationError
from dynsrv.settings import Settings


def the_warnings_of(directory: Path, **keys: Any) -> list[str]:
    backend = {"name": "be_app", "source": {"kind": "file", "path": "servers.yaml"}}
    keys = {"proxies": [{"address": "/run/admin.sock"}], "backends": [backend], **keys}
    settings = Settings.model_validate(keys, context={"directory": directory, "environ": {}})
    return check_files(settings, directory=directory)


def test_without_such_files_there_is_nothing_to_check(tmp_path: Path) -> None:
    assert the_warnings_of(tmp_path) == []


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o604, 1)])
def test_a_token_that_others_can_read_is_a_warning(tmp_path: Path, mode: int, warnings: int) -> None:
    (tmp_path / "token").write_text("hunter2")
    (tmp_path / "token").chmod(mode)
    found = the_warnings_of(tmp_path, web={"token_file": "token"})
    assert found == [f"web.token_file: every user of this machine can read {tmp_path}/token; chmod o-r it"] * warnings


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    problem = "there is no such file" if content is None else "it is empty; write a token to it"
    with pytest.raises(ConfigurationError, match=rf"^web\.token_file: {tmp_path}/token: {problem}"):
        the_warnings_of(tmp_path, web={"token_file": "token"})


def test_an_audit_file_that_cannot_be_written_is_refused_and_a_good_one_is_not_created(tmp_path: Path) -> None:
    assert the_warnings_of(tmp_path, audit={"path": "audit"}) == []
    assert not (tmp_path / "audit").exists()
    (tmp_path / "link").symlink_to(tmp_path / "audit")
    for path, problem in (("none/audit", "no such directory"), (".", "a directory"), ("link", "a symbolic link")):
        with pytest.raises(ConfigurationError, match=rf"^audit\.path: .*{problem}"):
            the_warnings_of(tmp_path, audit={"path": path})
