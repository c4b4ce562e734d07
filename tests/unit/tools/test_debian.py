"""Other machines than this one, and failures: what tools/debian.py does that no run of `make test` shows."""

import fcntl
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools.debian import (
    Apt,
    FetchError,
    Release,
    Source,
    locked,
    machine_sources,
    main_archive,
    mirror,
    newest,
    parse_deb822,
    parse_list,
    run,
)

MIRROR = "http://mirror.example/debian"


def a_source(uri: str = MIRROR, *, suite: str = "bookworm", component: str = "main") -> Source:
    return Source(uris=(uri,), suites=(suite,), components=(component,))


def a_release(version: str, *, suite: str) -> Release:
    return Release(package="haproxy", version=version, suite=suite)


def test_a_one_line_entry_is_read_with_and_without_options() -> None:
    text = """\
# deb http://commented.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib # a comment
deb-src http://mirror.example/debian bookworm main

deb [ arch=amd64 signed-by=/usr/share/keyrings/a.gpg ] http://other.example/debian sid main
"""
    assert list(parse_list(text)) == [
        Source(uris=(MIRROR,), suites=("bookworm",), components=("main", "contrib")),
        Source(uris=("http://other.example/debian",), suites=("sid",), components=("main",)),
    ]


def test_a_deb822_file_is_read_with_comments_continuations_and_several_stanzas() -> None:
    text = """\
Types: deb deb-src
# a comment within a stanza
URIs: http://mirror.example/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

types: deb
uris: http://mirror.example/debian-security
suites: bookworm-security
components: main
"""
    assert list(parse_deb822(text)) == [
        Source(uris=(MIRROR,), suites=("bookworm", "bookworm-updates"), components=("main",)),
        Source(
            uris=("http://mirror.example/debian-security",),
            suites=("bookworm-security",),
            components=("main",),
        ),
    ]


@pytest.mark.parametrize("line", ["Enabled: no", "Types: deb-src"])
def test_a_deb822_stanza_that_gives_no_binaries_is_left_out(line: str) -> None:
    text = f"Types: deb\nURIs: {MIRROR}\nSuites: sid\nComponents: main\n"
    name = line.partition(":")[0]
    kept = [other for other in text.splitlines() if not other.startswith(name)]
    assert list(parse_deb822("\n".join([*kept, line]))) == []


@pytest.mark.parametrize(
    "other",
    [
        a_source("http://mirror.example/debian-security", suite="bookworm-security"),
        a_source("http://mirror.example/linux/debian", component="stable"),
        a_source("http://vendor.example/apt", suite="bookworm"),
        a_source("http://mirror.example/ubuntu", suite="jammy"),
        a_source("cdrom:[Debian 12]/debian"),
    ],
    ids=["security", "a vendor's component", "a vendor's main", "Ubuntu", "a disc"],
)
def test_the_main_archive_is_told_from_other_entries(other: Source) -> None:
    assert main_archive([other]) is None
    assert main_archive([other, a_source()]) == MIRROR


@pytest.mark.parametrize(
    "uri",
    [
        "https://mirror.example/pub/debian/",
        "mirror+file:///etc/apt/mirrors/debian.list",
        "http://snapshot.example/archive/debian/20250101T000000Z",
    ],
)
def test_the_main_archive_is_known_in_all_the_forms_of_its_address(uri: str) -> None:
    assert main_archive([a_source(uri)]) == uri


def test_both_forms_of_sources_are_read_and_debians_own_file_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (folder / "a-vendor.list").write_text("deb http://vendor.example/debian bookworm main\n")
    (folder / "debian.sources").write_text(f"Types: deb\nURIs: {MIRROR}\nSuites: bookworm\nComponents: main\n")
    (folder / "old.list.save").write_text("deb http://old.example/debian buster main\n")
    assert list(machine_sources(tmp_path)) == [a_source(), a_source("http://vendor.example/debian")]


def test_the_environment_decides_before_the_machine() -> None:
    assert mirror({"DYNSRV_DEBIAN_MIRROR": MIRROR}, machine=[a_source("http://other.example/debian")]) == MIRROR


def test_a_machine_without_a_debian_archive_is_told_what_it_needs() -> None:
    with pytest.raises(FetchError, match=r"DYNSRV_DEBIAN_MIRROR.*debian-archive-keyring"):
        mirror({}, machine=[a_source("http://mirror.example/ubuntu", suite="jammy")])


# The newest first, as apt prints them.
RELEASES = [
    a_release("3.10.1-1", suite="experimental"),
    a_release("3.2.26-1", suite="sid"),
    a_release("3.2.26-1", suite="trixie"),
    a_release("3.2.5-1", suite="bookworm"),
    a_release("3.1~dev4-1", suite="bullseye"),
]


@pytest.mark.parametrize(
    ("branch", "expected"),
    [
        ("3.10", a_release("3.10.1-1", suite="experimental")),
        ("3.2", a_release("3.2.26-1", suite="trixie")),
        ("3.1", a_release("3.1~dev4-1", suite="bullseye")),
    ],
)
def test_the_newest_version_of_a_branch_is_taken_from_the_oldest_suite_that_has_it(
    branch: str, expected: Release
) -> None:
    assert newest(branch, RELEASES, of="HAProxy") == expected


def test_a_branch_that_no_suite_has_is_refused_with_what_there_is() -> None:
    with pytest.raises(FetchError, match=r"HAProxy 2\.8; .*3\.2\.5-1 in bookworm"):
        newest("2.8", RELEASES, of="HAProxy")


def test_a_package_that_no_suite_has_is_refused_and_a_mirror_that_may_have_it_asked_for() -> None:
    with pytest.raises(FetchError, match=r"no Debian suite has Consul 1\.8; .*none at all; .*DYNSRV_DEBIAN_MIRROR"):
        newest("1.8", [], of="Consul")


def test_a_suite_that_the_mirror_lacks_is_told_and_the_others_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Refusing(Apt):
        def __init__(self) -> None: ...

        def run(self, *command: str, suites: Sequence[str], cwd: Path | None = None) -> str:
            raise FetchError("bullseye has no Release file")

    Refusing().update()
    assert "bullseye has no Release file" in capsys.readouterr().err


def test_a_command_that_is_missing_is_named() -> None:
    with pytest.raises(
        FetchError, match=r"^no-such-command: no such command; it is needed to fetch packages of Debian$"
    ):
        run("no-such-command")


def test_a_command_that_fails_has_the_last_words() -> None:
    with pytest.raises(FetchError, match=r"sh -c .* failed:\nline 2\n(line \d\n)*line 9$"):
        run("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do echo line $i >&2; done; exit 1")


def test_a_folder_is_made_and_had_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with locked(folder), (folder / ".lock").open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (folder / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
