"""Fetch the Consul that the integration tests run against.

    python -m tools.fetch_consul [--into .consul]    # in the project's folder

The result is a runnable `.consul/consul`, the one of Debian (`tools/debian.py` fetches it). It is a program of Go
that needs the libc alone, so that the machine's own will do.

A Consul that is there already is not fetched again, and needs no network.
"""

import argparse
import re
import sys
import tempfile
from pathlib import Path

from tools.debian import Apt, FetchError, Release, locked, newest, run, updated_apt

# The last one that Debian had, in bullseye.
BRANCH = "1.8"


def check(binary: Path) -> None:
    """Raise FetchError or OSError if *binary* does not run, or is no Consul of BRANCH."""
    text = run(binary, "version")
    if not re.match(rf"Consul v{re.escape(BRANCH)}(?!\d)", text):
        said, _, _ = text.partition("\n")
        raise FetchError(f"{binary} is no Consul {BRANCH}: its `consul version` says {said!r}")


def is_there(binary: Path) -> bool:
    """Tell whether *binary* is a Consul of BRANCH that runs."""
    try:
        check(binary)
    except (FetchError, OSError):
        return False
    return True


def fetch(release: Release, *, apt: Apt, into: Path) -> None:
    """Make `into/consul`, as the last thing and only if it runs."""
    with tempfile.TemporaryDirectory(dir=into) as root:
        apt.unpack(release, into=Path(root))
        binary = Path(root, "usr/bin/consul")
        check(binary)
        binary.replace(into / "consul")


def fetch_missing(into: Path) -> None:
    """Fetch Consul if it is not there yet."""
    binary = into / "consul"
    if is_there(binary):
        print(f"Consul {BRANCH}: there already, {binary}")
        return
    with updated_apt(into) as apt:
        release = newest(BRANCH, apt.releases("consul"), of="Consul")
        print(f"Consul {BRANCH}: fetching {release.version} from {release.suite}", flush=True)
        fetch(release, apt=apt, into=into)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Fetch the Consul for the integration tests.")
    parser.add_argument("--into", type=Path, default=Path(".consul"), help="folder (default: %(default)s)")
    into: Path = parser.parse_args().into.resolve()
    try:
        with locked(into):
            fetch_missing(into)
    except (FetchError, OSError) as error:
        sys.exit(f"fetch_consul: {error}")


if __name__ == "__main__":
    main()
