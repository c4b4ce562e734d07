"""Fetch the Prometheus that the integration tests run against, with its promtool.

    python -m tools.fetch_prometheus [--into .prometheus]    # in the project's folder

The result is a runnable `.prometheus/prometheus` and `.prometheus/promtool`, those of Debian (`tools/debian.py`
fetches them). They are programs of Go that need the libc alone, so that the machine's own will do.

What is there already is not fetched again, and needs no network.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

from tools.debian import Apt, FetchError, Release, locked, newest, run, updated_apt

# The one of bookworm.
BRANCH = "2.42"
PROGRAMS = ("prometheus", "promtool")


def check(binary: Path) -> None:
    """Raise FetchError or OSError if *binary* does not run, or is not of BRANCH."""
    text = run(binary, "--version")
    if not re.match(rf"{binary.name}, version {re.escape(BRANCH)}(?!\d)", text):
        said, _, _ = text.partition("\n")
        raise FetchError(f"{binary} is no {binary.name} {BRANCH}: its `--version` says {said!r}")


def is_there(folder: Path) -> bool:
    """Tell whether *folder* has a Prometheus and a promtool of BRANCH that run."""
    try:
        for program in PROGRAMS:
            check(folder / program)
    except (FetchError, OSError):
        return False
    return True


def fetch(release: Release, *, apt: Apt, into: Path) -> None:
    """Put the programs of *release* into the folder *into*, only if all of them run."""
    with tempfile.TemporaryDirectory(dir=into) as root:
        apt.unpack(release, into=Path(root))
        binaries = [Path(root, "usr/bin", program) for program in PROGRAMS]
        for binary in binaries:
            check(binary)
        for binary in binaries:
            binary.replace(into / binary.name)


def fetch_missing(into: Path) -> None:
    """Fetch Prometheus if it is not there yet."""
    if is_there(into):
        print(f"Prometheus {BRANCH}: there already, {into / 'prometheus'}")
        return
    with updated_apt(into) as apt:
        release = newest(BRANCH, apt.releases("prometheus"), of="Prometheus")
        print(f"Prometheus {BRANCH}: fetching {release.version} from {release.suite}", flush=True)
        fetch(release, apt=apt, into=into)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Fetch the Prometheus for the integration tests.")
    parser.add_argument("--into", type=Path, default=Path(".prometheus"), help="folder (default: %(default)s)")
    into: Path = parser.parse_args().into.resolve()
    try:
        with locked(into):
            fetch_missing(into)
    except (FetchError, OSError) as error:
        sys.exit(f"fetch_prometheus: {error}")


if __name__ == "__main__":
    main()
