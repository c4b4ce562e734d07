"""How does one get a package of any Debian suite, without root and without a trace on the machine?

apt downloads it and verifies it (signature and hash), in folders of its own: nothing of this machine's package
state is read or changed. What is fetched is unpacked, not installed.
"""

import fcntl
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

# From the oldest to the newest. Which suite has which branch changes over the years: apt is asked.
SUITES = ("bullseye", "bookworm", "trixie", "sid", "experimental")

# Names of the main archive's suites that a machine may have in its sources.
KNOWN_SUITES = frozenset({*SUITES, "forky", "duke", "oldoldstable", "oldstable", "stable", "testing", "unstable"})

MIRROR_VARIABLE = "DYNSRV_DEBIAN_MIRROR"
KEYRINGS = tuple(Path("/usr/share/keyrings", f"debian-archive-keyring.{ending}") for ending in ("gpg", "pgp"))


class FetchError(Exception):
    """Something cannot be fetched; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of apt's sources."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """A version of a package, and the suite that has it."""

    package: str
    version: str
    suite: str

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites with what the package depends on."""
        # experimental is no whole suite: its packages are built with the libraries of sid.
        return ("experimental", "sid") if self.suite == "experimental" else (self.suite,)


def parse_list(text: str) -> Iterator[Source]:
    """Yield the `deb` entries of a one-line style file (`sources.list`)."""
    for line in text.splitlines():
        words = re.sub(r"\[[^]]*\]", " ", line.partition("#")[0]).split()
        if len(words) >= 3 and words[0] == "deb":
            yield Source(uris=(words[1],), suites=(words[2],), components=tuple(words[3:]))


def parse_deb822(text: str) -> Iterator[Source]:
    """Yield the enabled `deb` entries of a deb822 style file (`debian.sources`)."""
    without_comments = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", without_comments):
        fields: dict[str, list[str]] = {}
        name = ""
        for line in stanza.splitlines():
            value = line
            if not line[:1].isspace():
                name, _, value = line.partition(":")
            fields.setdefault(name.strip().lower(), []).extend(value.split())
        if "deb" in fields.get("types", []) and fields.get("enabled") not in (["no"], ["false"], ["0"]):
            yield Source(
                uris=tuple(fields.get("uris", ())),
                suites=tuple(fields.get("suites", ())),
                components=tuple(fields.get("components", ())),
            )


def main_archive(sources: Iterable[Source]) -> str | None:
    """Return the URI of the main Debian archive, or None if *sources* do not name it.

    Other archives may have a `main` for a Debian suite as well, so the path must say `debian`, too
    (`debian.list` is the mirror list of Debian's cloud images).
    """
    for source in sources:
        if "main" in source.components and KNOWN_SUITES.intersection(source.suites):
            for uri in source.uris:
                parts = urlsplit(uri)
                if parts.scheme != "cdrom" and {"debian", "debian.list"}.intersection(parts.path.split("/")):
                    return uri
    return None


def machine_sources(folder: Path = Path("/etc/apt")) -> Iterator[Source]:
    """Yield the entries of this machine's apt sources, Debian's own files first."""
    first = [folder / "sources.list", folder / "sources.list.d/debian.sources"]
    for path in dict.fromkeys([*first, *sorted((folder / "sources.list.d").glob("*"))]):
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            if path.suffix == ".list":
                yield from parse_list(text)
            elif path.suffix == ".sources":
                yield from parse_deb822(text)


def mirror(environment: Mapping[str, str], *, machine: Iterable[Source]) -> str:
    """Return the URI of a Debian mirror, from the environment or from the *machine*'s apt sources."""
    uri = environment.get(MIRROR_VARIABLE) or main_archive(machine)
    if uri is None:
        raise FetchError(
            "the apt sources of this machine name no Debian archive: set the environment variable "
            f"{MIRROR_VARIABLE} to the URI of a Debian mirror (what stands before the suite in a line of "
            "sources.list), and install the package debian-archive-keyring"
        )
    return uri


def keyring() -> Path:
    """Return the file with the public keys of the Debian archive."""
    for path in KEYRINGS:
        if path.is_file():
            return path
    raise FetchError(f"{KEYRINGS[0]} is missing: install the package debian-archive-keyring")


def parse_madison(text: str) -> list[Release]:
    """Return what `apt-cache madison` printed, in its order: the newest version first."""
    releases = []
    for line in text.splitlines():
        package, version, origin = (column.strip() for column in line.split("|"))
        _, suite_and_component, *_ = origin.split()
        releases.append(Release(package=package, version=version, suite=suite_and_component.partition("/")[0]))
    return releases


def newest(branch: str, releases: Sequence[Release], *, of: str) -> Release:
    """Return the newest version of *branch*, from the oldest suite that has it.

    *releases* come newest first; *of* is what the error calls them. Raises FetchError if no suite has the branch.
    """
    matching = [release for release in releases if re.match(rf"{re.escape(branch)}(?!\d)", release.version)]
    if not matching:
        found = ", ".join(f"{release.version} in {release.suite}" for release in releases) or "none at all"
        raise FetchError(
            f"no Debian suite has {of} {branch}; versions found: {found}; mirrors drop old suites: if that is why, "
            f"name one that still has them in the environment variable {MIRROR_VARIABLE}"
        )
    same = [release for release in matching if release.version == matching[0].version]
    return min(same, key=lambda release: SUITES.index(release.suite))


def library_closure(package: str, depends: str) -> set[str]:
    """Return the libraries that *package* needs, according to the output of `apt-cache depends --recurse`.

    Only libraries are followed: a binary runs without init scripts, users and documentation.
    """
    needs: dict[str, set[str]] = {}
    name = ""
    for line in depends.splitlines():
        if not line[:1].isspace() and not line.startswith("|"):
            name = line.partition(":")[0]
        elif match := re.fullmatch(r"\s*\|?(?:Pre)?Depends: (lib[^<>:\s]+|zlib1g)(?::any)?", line):
            needs.setdefault(name, set()).add(match[1])
    closure: set[str] = set()
    front = {package}
    while front:
        front = set().union(*(needs.get(name, set()) for name in front)) - closure
        closure |= front
    return closure


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run *command* and return what it printed; raise FetchError with its last words if it fails."""
    environment = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise FetchError(f"{command[0]}: no such command; it is needed to fetch packages of Debian") from None
    if done.returncode != 0:
        last_words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise FetchError(f"{' '.join(map(str, command))} failed:\n{last_words}")
    return done.stdout


class Apt:
    """An apt with state, cache and sources of its own, in *folder*."""

    def __init__(self, folder: Path, *, mirror: str, keyring: Path) -> None:
        self._folder = folder
        self._mirror = mirror
        self._keyring = keyring
        self._architecture = run("dpkg", "--print-architecture").strip()
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        # Read after the machine's own configuration, so that its proxies stay and its hooks, pins and
        # default release do not count. The sandbox user could not write into our folder.
        (folder / "apt.conf").write_text(
            f"""
            #clear APT::Update;
            #clear DPkg;
            #clear APT::Architectures;
            APT::Architecture "{self._architecture}";
            APT::Architectures {{ "{self._architecture}"; }};
            APT::Default-Release "";
            APT::Update::Error-Mode "any";
            APT::Sandbox::User "root";
            Dir::State "{folder}/state";
            Dir::State::status "{folder}/status";
            Dir::Cache "{folder}/cache";
            Dir::Cache::pkgcache "";
            Dir::Cache::srcpkgcache "";
            Dir::Etc::sourceparts "/dev/null";
            Dir::Etc::preferences "/dev/null";
            Dir::Etc::preferencesparts "/dev/null";
            """
        )

    def run(self, *command: str, suites: Sequence[str], cwd: Path | None = None) -> str:
        """Run an apt command that sees only *suites*."""
        # Of each suite only the list of packages, whole: no translations, contents, differences. sid's
        # Release file may be past its date on a mirror that lags.
        options = (
            f"arch={self._architecture} target=Packages lang=none pdiffs=no check-valid-until=no "
            f"signed-by={self._keyring}"
        )
        sources = self._folder / f"{'-'.join(suites)}.list"
        sources.write_text("".join(f"deb [{options}] {self._mirror} {suite} main\n" for suite in suites))
        program, *arguments = command
        settings = ("-q", "-c", self._folder / "apt.conf", "-o", f"Dir::Etc::sourcelist={sources}")
        return run(program, *settings, *arguments, cwd=cwd)

    def update(self) -> None:
        """Read the lists of packages of all SUITES; print which cannot be read, if any."""
        print(f"Debian: reading the package lists of {', '.join(SUITES)}", flush=True)
        try:
            self.run("apt-get", "update", suites=SUITES)
        except FetchError as error:
            # A mirror may have dropped an old suite; the others may have what is wanted.
            print(error, file=sys.stderr)

    def releases(self, package: str) -> list[Release]:
        """Return every version of *package*, the newest first."""
        return parse_madison(self.run("apt-cache", "madison", package, suites=SUITES))

    def libraries(self, release: Release) -> set[str]:
        """Return the libraries that *release* needs, with their own libraries."""
        wanted = f"{release.package}={release.version}"
        depends = self.run("apt-cache", "depends", "--recurse", "--important", wanted, suites=release.suites)
        return library_closure(release.package, depends)

    def needed(self, release: Release, *others: str) -> set[str]:
        """Return everything that *release*, and *others* of its suite, need to run, with *others*."""
        wanted = f"{release.package}={release.version}"
        options = ("-y", "--no-install-recommends", "--simulate")
        text = self.run("apt-get", "install", *options, wanted, *others, suites=release.suites)
        return set(re.findall(r"^Inst (\S+)", text, re.MULTILINE)) - {release.package}

    def unpack(self, release: Release, *others: str, into: Path) -> None:
        """Download *release*, and *others* of its suite, and unpack all of them in the folder *into*."""
        wanted = f"{release.package}={release.version}"
        with tempfile.TemporaryDirectory(dir=self._folder) as debs:
            self.run("apt-get", "download", wanted, *others, suites=release.suites, cwd=Path(debs))
            for deb in sorted(Path(debs).iterdir()):
                run("dpkg", "-x", deb, into)


@contextmanager
def updated_apt(folder: Path) -> Iterator[Apt]:
    """Yield an apt that has read the lists of packages; it keeps them in *folder*, and only until the end."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        apt = Apt(Path(own), mirror=mirror(os.environ, machine=machine_sources()), keyring=keyring())
        apt.update()
        yield apt


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make *folder* if there is none, and have it alone: two runs would take away each other's half-finished files."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
