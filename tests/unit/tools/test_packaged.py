"""What is half there, or another than was wanted, is not taken by tools/packaged.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools import packaged
from tools.debian import Apt, FetchError, Release
from tools.fetch_prometheus import PROMETHEUS

PROGRAMS = PROMETHEUS.programs

RELEASES = [
    Release(package="prometheus", version="2.53.3+ds1-2", suite="trixie"),
    Release(package="prometheus", version="2.42.0+ds-5+b5", suite="bookworm"),
]


def programs(folder: Path, *, version: str = "2.42.0+ds", names: tuple[str, ...] = PROGRAMS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / name
        says = f"{name}, version {version} (branch: debian/sid)"
        path.write_text(f"#!/bin/sh\n[ \"$*\" = --version ] && printf '%s\\n  platform: linux\\n' '{says}'\n")
        path.chmod(0o755)
    return folder


class AptWith(Apt):
    """An Apt that has *releases* of prometheus, with programs of *version*."""

    def __init__(self, *releases: Release, version: str = "2.42.0+ds") -> None:
        self.version = version
        self._releases = list(releases)

    def releases(self, package: str) -> list[Release]:
        assert package == "prometheus"
        return self._releases

    def unpack(self, release: Release, *others: str, into: Path) -> None:
        programs(into / "usr/bin", version=self.version)


def a_fetch(apt: Apt, *, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def updated_apt(folder: Path) -> Iterator[Apt]:
        yield apt

    monkeypatch.setattr(packaged, "updated_apt", updated_apt)
    PROMETHEUS.fetch_missing(into)


@pytest.mark.parametrize(
    ("version", "expected"), [("2.42.0+ds", True), ("2.53.3+ds1", False), ("2.420.0", False), ("", False)]
)
def test_a_prometheus_is_known_by_what_it_says(tmp_path: Path, version: str, *, expected: bool) -> None:
    assert PROMETHEUS.is_there(programs(tmp_path, version=version)) == expected


def test_one_of_the_two_programs_is_not_enough(tmp_path: Path) -> None:
    assert not PROMETHEUS.is_there(tmp_path)
    assert not PROMETHEUS.is_there(programs(tmp_path, names=("prometheus",)))
    (tmp_path / "promtool").write_text("half a file")
    assert not PROMETHEUS.is_there(tmp_path)


def test_there_is_no_prometheus_if_the_one_fetched_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FetchError, match=r"is no prometheus 2\.42: its `--version` says 'prometheus, version 2\.43"):
        a_fetch(AptWith(*RELEASES, version="2.43.0"), into=tmp_path, monkeypatch=monkeypatch)
    assert list(tmp_path.iterdir()) == []


def test_a_prometheus_that_no_suite_has_is_refused_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FetchError, match=r"no Debian suite has Prometheus 2\.42; versions found: 2\.53\.3\+ds1-2 in "):
        a_fetch(AptWith(RELEASES[0]), into=tmp_path, monkeypatch=monkeypatch)
