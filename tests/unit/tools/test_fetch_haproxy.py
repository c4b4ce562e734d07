"""What does not run, or is of another branch, is not taken by tools/fetch_haproxy.py."""

from pathlib import Path

import pytest

from tools import fetch_haproxy
from tools.debian import Apt, FetchError, Release
from tools.fetch_haproxy import branch_of, fetch

RELEASE = Release(package="haproxy", version="2.6.12-1", suite="bookworm")


def a_program(path: Path, *, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n[ \"$*\" = -v ] && echo '{says}'\n")
    path.chmod(0o755)
    return path


class AptWith(Apt):
    """An Apt whose one package is haproxy, with a program that says *says*."""

    def __init__(self, *, says: str) -> None:
        self.says = says

    def libraries(self, release: Release) -> set[str]:
        return set()

    def unpack(self, release: Release, *others: str, into: Path) -> None:
        a_program(into / "usr/sbin/haproxy", says=self.says)


@pytest.mark.parametrize(
    ("says", "branch"),
    [
        ("HA-Proxy version 2.2.9-2+deb11u6 2023/12/23", "2.2"),
        ("HAProxy version 3.10.1-1 2026/10/14", "3.10"),
        ("Consul v1.8.7", None),
    ],
)
def test_a_binary_tells_its_branch(tmp_path: Path, says: str, branch: str | None) -> None:
    assert branch_of(a_program(tmp_path / "haproxy", says=says)) == branch


def test_a_binary_that_does_not_run_has_no_branch(tmp_path: Path) -> None:
    assert branch_of(tmp_path / "haproxy") is None
    (tmp_path / "haproxy").write_text("half a file")
    assert branch_of(tmp_path / "haproxy") is None


def test_there_is_no_haproxy_of_a_branch_if_the_one_fetched_is_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_haproxy, "make_self_contained", lambda binary, *, root, patchelf: None)
    apt = AptWith(says="HAProxy version 3.0.1")
    with pytest.raises(FetchError, match=r"haproxy 2\.6\.12-1 does not run: try .*/usr/sbin/haproxy -v"):
        fetch("2.6", RELEASE, apt=apt, into=tmp_path, patchelf=Path("patchelf"))
    assert not (tmp_path / "2.6/haproxy").exists()
