"""The wheel and the sdist have what they should, and dynsrv works where nothing but the wheel was installed."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
import zipfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import yaml
from packaging.metadata import Metadata

from dynsrv import __version__
from tests.integration.support.controller import Dynsrv, Finished
from tests.integration.support.haproxy import REPOSITORY, HAProxy, serves
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version

WHEELS = REPOSITORY / ".wheels"
SOURCES = {path.relative_to(REPOSITORY / "src") for path in (REPOSITORY / "src").rglob("*") if path.is_file()}
PACKAGE = {str(path) for path in SOURCES if "__pycache__" not in path.parts}


def build(kind: str, *, of: Path = REPOSITORY, into: Path) -> Path:
    """Build as `make dist` does, and return the file."""
    command = (sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", into)
    subprocess.run(command, cwd=of, check=True, capture_output=True)
    (file,) = into.iterdir()
    return file


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return build("wheel", into=tmp_path / "wheel")


@pytest.fixture
def sdist(tmp_path: Path) -> Path:
    return build("sdist", into=tmp_path / "sdist")


def test_the_wheel_has_the_package_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = f"dynsrv-{__version__}.dist-info"
    beside = {f"{about}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    assert names == PACKAGE | beside
    assert {"dynsrv/py.typed", "dynsrv/web/page.html", "dynsrv/web/page.css", "dynsrv/web/page.js"} < names


def test_the_sdist_has_what_is_needed_to_build_to_test_and_to_deploy(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert {f"src/{name}" for name in PACKAGE} < names
    assert {"LICENSE", "Makefile", "README.md", "pyproject.toml", "requirements.lock"} < names
    assert {"tests/integration/test_packages.py", "tools/debian.py", "deploy/systemd/dynsrv.service"} < names
    hidden = {name for name in names if name.startswith(".")}
    assert hidden <= {".ci/run", ".dockerignore", ".gitignore"}
    assert not [name for name in names if "__pycache__" in name or name.startswith("dist/")]


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert build("wheel", of=unpacked, into=tmp_path / "again").read_bytes() == wheel.read_bytes()


def test_the_metadata_are_valid_and_whole(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"dynsrv-{__version__}.dist-info/METADATA")
    metadata = Metadata.from_email(text, validate=True)
    assert metadata.summary
    assert (metadata.license_expression, metadata.license_files) == ("Apache-2.0", ["LICENSE"])
    assert (metadata.description_content_type, str(metadata.requires_python)) == ("text/markdown", ">=3.11")
    assert metadata.description == (REPOSITORY / "README.md").read_text()
    assert metadata.classifiers
    assert {"Typing :: Typed", "Programming Language :: Python :: 3.11"} < set(metadata.classifiers)
    assert {"ec2", "dev"} == set(metadata.provides_extra or ())


class Installed(Dynsrv):
    """dynsrv out of a wheel, in an environment in which there is nothing else."""

    home: Path

    def command(self, command: str, *arguments: str) -> list[str]:
        return [str(self.home / "bin/dynsrv"), command, "-c", str(self.configuration), *arguments]

    def module(self, *arguments: str) -> Finished:
        command = [str(self.home / "bin/python"), "-m", "dynsrv", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)


def install(wheel: Path, home: Path) -> None:
    """Install *wheel*, and what it needs, into an empty environment at *home*."""
    assert (WHEELS / "downloaded").exists(), "there is nothing to install from: run `make .wheels/downloaded`"
    venv.create(home)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin/python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--find-links", WHEELS, wheel], check=True)


async def test_dynsrv_works_where_nothing_but_the_wheel_was_installed(
    wheel: Path, haproxy: HAProxy, web_servers: WebServers, *, stack: AsyncExitStack, tmp_path: Path
) -> None:
    dynsrv = Installed(tmp_path, haproxy)
    stack.push_async_callback(dynsrv.stop)
    dynsrv.home = tmp_path / "home"
    install(wheel, dynsrv.home)
    assert dynsrv.module("--version").out == f"dynsrv, version {__version__}\n"
    assert dynsrv.module("schema").json["title"]
    servers = await web_servers(2)
    dynsrv.want(servers)
    assert (await dynsrv.run("check", "--live")).code == 0
    assert (await dynsrv.run("plan")).code == 2
    await dynsrv.start()
    await serves(haproxy, servers)
    assert await dynsrv.stop() == 0
    settings = yaml.safe_load(dynsrv.configuration.read_text())
    settings["backends"][0]["source"] = {"kind": "ec2", "port": 80, "region": "eu-central-1"}
    dynsrv.configuration.write_text(yaml.safe_dump(settings))
    finished = await dynsrv.run("check")
    assert finished.code == 1
    assert "pip install 'dynsrv[ec2]'" in finished.err
