"""What tools/debian.py decides: which mirror, which version of which suite, which libraries, what is unpacked where."""

import fcntl
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools import debian
from tools.debian import (
    SUITES,
    Apt,
    FetchError,
    Release,
    Source,
    library_closure,
    locked,
    machine_sources,
    main_archive,
    mirror,
    newest,
    parse_deb822,
    parse_list,
    parse_madison,
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


def test_versions_are_read_out_of_what_apt_prints() -> None:
    text = """\
   haproxy |    3.4.7-1 | http://mirror.example/debian experimental/main amd64 Packages
   haproxy | 3.0.11-1+deb13u3 | http://mirror.example/debian trixie/main amd64 Packages
"""
    assert parse_madison(text) == [
        Release(package="haproxy", version="3.4.7-1", suite="experimental"),
        Release(package="haproxy", version="3.0.11-1+deb13u3", suite="trixie"),
    ]


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


def test_the_libraries_of_libraries_are_followed_and_nothing_else() -> None:
    depends = """\
haproxy
  Depends: libc6
 |Depends: libssl3
  Depends: libssl3t64
  Depends: zlib1g
  Depends: adduser
  Depends: <systemd-sysusers>
    systemd
libssl3t64
  PreDepends: libc6
  Depends: libzstd1
  Depends: openssl-provider
libc6
  Depends: libgcc-s1
libgcc-s1
  Depends: gcc-14-base
  Depends: libc6
adduser
  Depends: libpam0g
<systemd-sysusers>
"""
    assert library_closure("haproxy", depends) == {
        "libc6",
        "libgcc-s1",
        "libssl3",
        "libssl3t64",
        "libzstd1",
        "zlib1g",
    }


class SpokenTo(Apt):
    """An Apt that runs nothing: it keeps what it is told, answers *answer*, and downloads empty packages."""

    def __init__(self, folder: Path, *, answer: str = "") -> None:
        self._folder = folder
        self.answer = answer
        self.commands: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def run(self, *command: str, suites: Sequence[str], cwd: Path | None = None) -> str:
        self.commands.append((command, tuple(suites)))
        if command[:2] == ("apt-get", "download"):
            assert cwd is not None
            for package in command[2:]:
                (cwd / f"{package.partition('=')[0]}.deb").touch()
        return self.answer


def test_every_suite_is_asked_for_a_package(tmp_path: Path) -> None:
    apt = SpokenTo(tmp_path, answer="consul | 1.8.7-2 | http://mirror.example/debian bullseye/main amd64 Packages\n")
    assert apt.releases("consul") == [Release(package="consul", version="1.8.7-2", suite="bullseye")]
    assert apt.commands == [(("apt-cache", "madison", "consul"), SUITES)]


@pytest.mark.parametrize(("suite", "suites"), [("bullseye", ("bullseye",)), ("experimental", ("experimental", "sid"))])
def test_libraries_come_from_the_suites_that_fit_the_package(
    tmp_path: Path, suite: str, suites: tuple[str, ...]
) -> None:
    apt = SpokenTo(tmp_path, answer="haproxy\n  Depends: libc6\n")
    assert apt.libraries(a_release("3.4.7-1", suite=suite)) == {"libc6"}
    assert apt.commands == [
        (("apt-cache", "depends", "--recurse", "--important", "haproxy=3.4.7-1"), suites),
    ]


def test_all_that_a_package_needs_is_what_apt_would_install(tmp_path: Path) -> None:
    apt = SpokenTo(
        tmp_path, answer="NOTE: a simulation\nInst libc6 (2.41 Debian)\nInst pip (25 Debian)\nConf libc6 (2.41)\n"
    )
    assert apt.needed(a_release("25", suite="trixie"), "dash") == {"libc6", "pip"}


def test_a_package_is_unpacked_with_the_others_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[tuple[str, Path]] = []

    def unpack(program: str, option: str, deb: Path, into: Path) -> str:
        assert (program, option, deb.is_file()) == ("dpkg", "-x", True)
        unpacked.append((deb.name, into))
        return ""

    monkeypatch.setattr(debian, "run", unpack)
    apt = SpokenTo(tmp_path)
    root = tmp_path / "root"
    apt.unpack(a_release("2.6.12-1", suite="bookworm"), "libc6", into=root)
    assert apt.commands == [(("apt-get", "download", "haproxy=2.6.12-1", "libc6"), ("bookworm",))]
    assert unpacked == [("haproxy.deb", root), ("libc6.deb", root)]
    assert list(tmp_path.iterdir()) == []


def test_a_suite_that_the_mirror_lacks_is_told_and_the_others_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*command: str, suites: Sequence[str]) -> str:
        raise FetchError("bullseye has no Release file")

    apt = SpokenTo(tmp_path)
    monkeypatch.setattr(apt, "run", refuse)
    apt.update()
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
