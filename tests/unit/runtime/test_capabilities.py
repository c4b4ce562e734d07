from __future__ import annotations

import pytest

from dynsrv.runtime import Capabilities


@pytest.mark.parametrize(
    ("version", "add_server", "experimental_mode", "wait_removable", "init_state"),
    [
        ("2.2.9-2+deb11u6", False, False, False, False),
        ("2.4.0", False, True, False, False),
        ("2.4.33", False, True, False, False),
        ("2.5-dev12", False, True, False, False),
        ("2.5.0", False, True, False, False),
        ("2.5.0-1ppa1~jammy", False, True, False, False),
        ("2.5.1", True, True, False, False),
        ("2.5.14-1", True, True, False, False),
        ("2.6-dev0", True, False, False, False),
        ("2.6.12-1+deb12u3", True, False, False, False),
        ("2.8.0", True, False, False, False),
        ("3.0.11-1+deb13u3", True, False, True, False),
        ("3.1-dev3", True, False, True, True),
        ("3.4.7-1", True, False, True, True),
        ("10.0", True, False, True, True),
    ],
)
def test_a_version_tells_what_haproxy_can_do(
    version: str, *, add_server: bool, experimental_mode: bool, wait_removable: bool, init_state: bool
) -> None:
    capabilities = Capabilities.of(version)
    assert capabilities.add_server is add_server
    assert capabilities.experimental_mode is experimental_mode
    assert capabilities.wait_removable is wait_removable
    assert capabilities.init_state is init_state


@pytest.mark.parametrize(
    ("keyword", "first"),
    [
        ("shard", "2.8"),
        ("cookie", "3.0"),
        ("guid", "3.0"),
        ("init-state", "3.1"),
        ("strict-maxconn", "3.2"),
        ("ktls", "3.3"),
        ("no-sni-auto", "3.4"),
    ],
)
def test_a_keyword_is_taken_from_its_first_version_on(keyword: str, first: str) -> None:
    versions = ["2.4", "2.5", "2.6", "2.8", "3.0", "3.1", "3.2", "3.3", "3.4"]
    taken = [version for version in versions if Capabilities.of(f"{version}.7-1").takes(keyword)]
    assert taken == versions[versions.index(first) :]


def test_a_keyword_that_does_not_depend_on_the_version_is_haproxy_s_to_judge() -> None:
    for version in ("2.4.0", "3.4.7", "unknown"):
        assert Capabilities.of(version).takes("check")
        assert Capabilities.of(version).takes("nonsense")


def test_enabled_is_taken_only_by_versions_that_never_use_such_a_server() -> None:
    assert Capabilities.of("2.6.12").takes("enabled")
    assert not Capabilities.of("3.0.0").takes("enabled")


@pytest.mark.parametrize("version", ["", "unknown", "v3.2"])
def test_a_version_that_cannot_be_read_counts_as_the_newest(version: str) -> None:
    assert Capabilities.of(version) == Capabilities.of("99.0")
