"""Fetch programs that need the libc alone, as those of Go do, out of one of Debian's packages.

The machine's own libc will do. What is there already is not fetched again, and needs no network.
"""

import argparse
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tools.debian import Apt, FetchError, Release, locked, newest, run, updated_apt


@dataclass(frozen=True)
class Packaged:
    """The *programs* of one package, of the newest version of *branch*.

    Asked by *argument* (its words), each says *says* (where `{}` is its own name) with its version right behind it.
    """

    name: str
    package: str
    branch: str
    programs: tuple[str, ...]
    argument: str
    says: str
    folder: str = "usr/bin"  # of the package

    def check(self, binary: Path) -> None:
        """Raise FetchError or OSError if *binary* does not run, or is not of the branch."""
        text = run(binary, *self.argument.split())
        if not re.match(re.escape(self.says.format(binary.name) + self.branch) + r"(?!\d)", text):
            said, _, _ = text.partition("\n")
            raise FetchError(f"{binary} is no {binary.name} {self.branch}: its `{self.argument}` says {said!r}")

    def is_there(self, folder: Path) -> bool:
        """Tell whether *folder* has all programs, of the branch, and whether they run."""
        try:
            for program in self.programs:
                self.check(folder / program)
        except (FetchError, OSError):
            return False
        return True

    def fetch(self, release: Release, *, apt: Apt, into: Path) -> None:
        """Put the programs of *release* into the folder *into*, only if all of them run."""
        with tempfile.TemporaryDirectory(dir=into) as root:
            apt.unpack(release, into=Path(root))
            binaries = [Path(root, self.folder, program) for program in self.programs]
            for binary in binaries:
                self.check(binary)
            for binary in binaries:
                binary.replace(into / binary.name)

    def fetch_missing(self, into: Path) -> None:
        """Fetch the programs if they are not there yet."""
        if self.is_there(into):
            print(f"{self.name} {self.branch}: there already, {into / self.programs[0]}")
            return
        with updated_apt(into) as apt:
            release = newest(self.branch, apt.releases(self.package), of=self.name)
            print(f"{self.name} {self.branch}: fetching {release.version} from {release.suite}", flush=True)
            self.fetch(release, apt=apt, into=into)

    def main(self) -> None:
        """Run the command line."""
        parser = argparse.ArgumentParser(description=f"Fetch the {self.name} for the integration tests.")
        folder = Path(f".{self.package}")
        parser.add_argument("--into", type=Path, default=folder, help="folder (default: %(default)s)")
        into: Path = parser.parse_args().into.resolve()
        try:
            with locked(into):
                self.fetch_missing(into)
        except (FetchError, OSError) as error:
            sys.exit(f"fetch_{self.package}: {error}")
