"""Wheels are fetched again by tools/fetch_python.py when other versions are needed."""

from pathlib import Path
from typing import Any

import pytest

from tools import fetch_python

PROJECT = """
[build-system]
requires = ["hatchling"]
[project]
dependencies = ["aiohttp", "pydantic>=2.10"]
[project.optional-dependencies]
ec2 = ["aiobotocore>=3.10"]
dev = ["pytest"]
"""


def test_wheels_are_fetched_again_for_other_versions_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Any] = []
    monkeypatch.setattr(fetch_python, "PROJECT", tmp_path)
    monkeypatch.setattr(fetch_python, "fetch_wheels", lambda requirements, **_: fetched.append(requirements))
    monkeypatch.delattr(fetch_python, "fetch_root")
    (tmp_path / "root").mkdir()
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    for versions, fetches in (("aiohttp==1", 1), ("aiohttp==1", 1), ("aiohttp==2", 2)):
        (tmp_path / "requirements.lock").write_text(versions)
        fetch_python.fetch_missing(tmp_path)
        assert len(fetched) == fetches
