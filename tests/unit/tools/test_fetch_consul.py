"""What tools/fetch_consul.py decides: when there is a Consul, and which one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools import packaged
from tools.debian import Apt, FetchError, Release
from tools.fetch_consul import CONSUL

RELEASES = [
    Release(package="consul", version="1.18.1-1", suite="sid"),
    Release(package="consul", version="1.8.7+dfsg1-2+b3", suite="bullseye"),
]


def a_program(path: Path, *, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n[ \"$*\" = version ] && printf '%s\\nProtocol 2 spoken by default\\n' '{says}'\n")
    path.chmod(0o755)
    return path


class AptWith(Apt):
    """An Apt that has *releases* of consul, with a program that says *says*."""

    def __init__(self, *releases: Release, says: str = "Consul v1.8.7") -> None:
        self.says = says
        self._releases = list(releases)
        self.unpacked: list[Release] = []

    def releases(self, package: str) -> list[Release]:
        assert package == "consul"
        return self._releases

    def unpack(self, release: Release, *others: str, into: Path) -> None:
        assert not others
        self.unpacked.append(release)
        a_program(into / "usr/bin/consul", says=self.says)


def a_fetch(apt: Apt, *, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def updated_apt(folder: Path) -> Iterator[Apt]:
        yield apt

    monkeypatch.setattr(packaged, "updated_apt", updated_apt)
    CONSUL.fetch_missing(into)


@pytest.mark.parametrize(
    ("says", "expected"), [("Consul v1.8.7", True), ("Consul v1.18.1", False), ("Consul v1.80.0", False), ("", False)]
)
def test_a_consul_is_known_by_what_it_says(tmp_path: Path, says: str, *, expected: bool) -> None:
    a_program(tmp_path / "consul", says=says)
    assert CONSUL.is_there(tmp_path) == expected


def test_a_consul_that_does_not_run_is_none(tmp_path: Path) -> None:
    assert not CONSUL.is_there(tmp_path)
    (tmp_path / "consul").write_text("half a file")
    assert not CONSUL.is_there(tmp_path)


def test_the_consul_of_the_branch_is_fetched_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "consul").write_text("half a file")
    apt = AptWith(*RELEASES)
    a_fetch(apt, into=tmp_path, monkeypatch=monkeypatch)
    assert apt.unpacked == [RELEASES[1]]
    assert CONSUL.is_there(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["consul"]


def test_a_consul_that_is_there_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(packaged, "updated_apt")
    a_program(tmp_path / "consul", says="Consul v1.8.7")
    CONSUL.fetch_missing(tmp_path)


def test_there_is_no_consul_if_the_one_fetched_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FetchError, match=r"is no consul 1\.8: its `version` says 'Consul v1\.9\.0'"):
        a_fetch(AptWith(*RELEASES, says="Consul v1.9.0"), into=tmp_path, monkeypatch=monkeypatch)
    assert list(tmp_path.iterdir()) == []


def test_a_consul_that_no_suite_has_is_refused_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FetchError, match=r"no Debian suite has Consul 1\.8; versions found: 1\.18\.1-1 in sid; "):
        a_fetch(AptWith(RELEASES[0]), into=tmp_path, monkeypatch=monkeypatch)
