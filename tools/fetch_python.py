"""Fetch what stands in for the image python:3.13-slim where no registry can be reached.

    python -m tools.fetch_python [--into .python]    # in the project's folder

The result is `.python/root`, a file system with Debian's Python and pip, and `.python/wheels`, all that this pip needs
to install dynsrv. So an image is built without a network, and without knowing how this machine reaches a package index.
"""

import argparse
import hashlib
import platform
import shutil
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from tools.debian import FetchError, locked, newest, run, updated_apt

VERSION = "3.13"
PACKAGES = ("base-files", "dash", "coreutils", "python3-pip")
PROJECT = Path(__file__).parents[1]


def fetch_root(into: Path) -> None:
    """Make the file system *into*, as the last thing: what is half-finished is not there."""
    with updated_apt(into.parent) as apt:
        release = newest(VERSION, apt.releases("python3"), of="Python")
        print(f"Python {VERSION}: fetching {release.version} from {release.suite}", flush=True)
        new = into.with_name("new")
        shutil.rmtree(new, ignore_errors=True)
        apt.unpack(release, *sorted(apt.needed(release, *PACKAGES)), into=new)
    # What packages put there when they are installed, as far as it is needed.
    for name in ("doc", "info", "locale", "man"):
        shutil.rmtree(new / "usr/share" / name, ignore_errors=True)
    (new / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (new / "etc/group").write_text("root:x:0:\n")
    certificates = sorted((new / "usr/share/ca-certificates").rglob("*.crt"))
    (new / "etc/ssl/certs/ca-certificates.crt").write_text("".join(path.read_text() for path in certificates))
    new.rename(into)


def wanted(pyproject: Path) -> list[str]:
    """Return the requirements of dynsrv with all sources, and those of its build."""
    document = tomllib.loads(pyproject.read_text())
    project = document["project"]
    return [*document["build-system"]["requires"], *project["dependencies"], *project["optional-dependencies"]["ec2"]]


def fetch_wheels(requirements: Iterable[str], *, constraints: Path, into: Path) -> None:
    """Make the folder *into* with the wheels of *requirements*, by this machine's pip as it is configured."""
    new = into.with_name("new-wheels")
    shutil.rmtree(new, ignore_errors=True)
    digits = VERSION.replace(".", "")
    machine = platform.machine()
    tags = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (17, 28, 34)]
    tags += [
        f"--platform=manylinux2014_{machine}",
        "--platform=any",
        "--implementation=cp",
        f"--python-version={VERSION}",
    ]
    tags += [f"--abi={abi}" for abi in (f"cp{digits}", "abi3", "none")]
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", *tags)
    run(*pip, "--dest", new, "--constraint", constraints, *requirements)
    shutil.rmtree(into, ignore_errors=True)
    new.rename(into)


def fetch_missing(into: Path) -> None:
    """Fetch what is not there yet, or is for other requirements."""
    if (into / "root").is_dir():
        print(f"Python {VERSION}: there already, {into / 'root'}")
    else:
        fetch_root(into / "root")
    constraints = PROJECT / "requirements.lock"
    requirements = wanted(PROJECT / "pyproject.toml")
    key = hashlib.sha256("\n".join([constraints.read_text(), *requirements]).encode()).hexdigest()
    stamp = into / "wheels.for"
    if not stamp.exists() or stamp.read_text() != key:
        print(f"Python {VERSION}: fetching wheels", flush=True)
        fetch_wheels(requirements, constraints=constraints, into=into / "wheels")
        stamp.write_text(key)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Fetch a base for images of dynsrv.")
    parser.add_argument("--into", type=Path, default=Path(".python"), help="folder (default: %(default)s)")
    into: Path = parser.parse_args().into.resolve()
    try:
        with locked(into):
            fetch_missing(into)
    except (FetchError, OSError) as error:
        sys.exit(f"fetch_python: {error}")


if __name__ == "__main__":
    main()
