"""Make the images that the tests of containers use: without a registry, out of what was fetched from Debian already.

    python -m tools.images    # in the project's folder, after fetch_haproxy and fetch_consul

They are made like the official ones, as far as a user of these can see: the same users, paths and signals. One that was
made of the same things before is not made again. Where a registry can be reached, a variable of the environment names
another image instead, which Docker pulls: DYNSRV_TEST_HAPROXY_IMAGE=haproxy:{} (`{}` is the branch),
DYNSRV_TEST_CONSUL_IMAGE=hashicorp/consul:1.20, DYNSRV_TEST_BASE_IMAGE=python:3.13-slim.
"""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tools import fetch_python
from tools.debian import FetchError, locked, run
from tools.engine import missing_engine
from tools.fetch_compose import COMPOSE
from tools.fetch_haproxy import BRANCHES, find_patchelf

PROJECT = Path(__file__).parents[1]
LABEL = "dynsrv.test.made-of"
DYNSRV = "dynsrv-test/dynsrv"


def haproxy_image(branch: str) -> str:
    """Return the name of the image of HAProxy *branch*."""
    return os.environ.get("DYNSRV_TEST_HAPROXY_IMAGE", "dynsrv-test/haproxy:{}").format(branch)


def consul_image() -> str:
    """Return the name of the image of Consul."""
    return os.environ.get("DYNSRV_TEST_CONSUL_IMAGE", "dynsrv-test/consul")


def base_image() -> str:
    """Return the name of the image that dynsrv's is built on."""
    return os.environ.get("DYNSRV_TEST_BASE_IMAGE", "dynsrv-test/python:3.13-slim")


def docker_build(*arguments: str | Path, context: IO[bytes] | None = None) -> None:
    """Build an image; raise FetchError with the last that was said if that fails."""
    command = ["docker", "build", *arguments]
    done = subprocess.run(
        command, stdin=context, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise FetchError(f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}")


@dataclass(frozen=True)
class Image:
    """A Dockerfile, and what it copies: files and folders of this machine, and short texts."""

    name: str
    dockerfile: str
    files: Mapping[str, Path]
    texts: Mapping[str, str] = field(default_factory=dict)

    def members(self) -> Iterator[tuple[str, Path]]:
        """Yield the name for the Dockerfile, and the path on this machine, of everything in `files`."""
        for name, path in self.files.items():
            yield name, path
            if path.is_dir():
                for inner in sorted(path.rglob("*")):
                    yield f"{name}/{inner.relative_to(path)}", inner

    def made_of(self) -> str:
        """Return what differs as soon as the image would."""
        digest = hashlib.sha256(f"{self.dockerfile}{self.texts}".encode())
        for name, path in self.members():
            status = path.lstat()
            # When a folder was changed tells nothing.
            digest.update(repr((name, path.is_dir() or (status.st_size, status.st_mtime_ns))).encode())
        return digest.hexdigest()

    def write(self, context: tarfile.TarFile) -> None:
        """Write everything into the tar that Docker builds from."""
        for name, path in self.members():
            context.add(path, name, recursive=False)
        for name, text in {**self.texts, "Dockerfile": f"{self.dockerfile}\nLABEL {LABEL}={self.made_of()}\n"}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            context.addfile(entry, io.BytesIO(text.encode()))

    def make(self) -> None:
        """Make the image if there is none that is made of the same."""
        if _label_of(self.name) == self.made_of():
            print(f"{self.name}: there already")
            return
        print(f"{self.name}: making it", flush=True)
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as context:
                self.write(context)
            file.seek(0)
            docker_build("-t", self.name, "-", context=file)


def _label_of(image: str) -> str | None:
    try:
        return run("docker", "image", "inspect", image, "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}').strip()
    except FetchError:
        return None


@contextmanager
def haproxy(branch: str) -> Iterator[Image]:
    """Yield the image of HAProxy *branch*, like docker.io/library/haproxy."""
    root = PROJECT / ".haproxy" / branch / "root"
    with tempfile.TemporaryDirectory() as folder:
        # What fetch_haproxy made runs on this machine, by a loader at this machine's path.
        original, binary = root / "usr/sbin/haproxy", Path(folder, "haproxy")
        shutil.copyfile(original, binary)
        binary.chmod(0o755)
        loader = Path(run(find_patchelf(), "--print-interpreter", binary).strip()).relative_to(root)
        run(find_patchelf(), "--set-interpreter", f"/{loader}", binary)
        shutil.copystat(original, binary)
        libraries = {f"root/{name}": root / name for name in ("lib", "usr/lib") if (root / name).is_dir()}
        users = {"etc/passwd": "haproxy:x:99:99::/var/lib/haproxy:/bin/false\n", "etc/group": "haproxy:x:99:\n"}
        yield Image(
            haproxy_image(branch),
            """FROM scratch
COPY root /
COPY --chown=99:99 home /var/lib/haproxy
ENTRYPOINT ["haproxy", "-W", "-db"]
CMD ["-f", "/usr/local/etc/haproxy/haproxy.cfg"]
USER haproxy
WORKDIR /var/lib/haproxy
STOPSIGNAL SIGUSR1""",
            files={**libraries, "root/usr/sbin/haproxy": binary},
            texts={**{f"root/{name}": text for name, text in users.items()}, "home/.keep": ""},
        )


def python() -> Image:
    """Return the image of Python, like docker.io/library/python of the kind slim, with wheels for dynsrv."""
    return Image(
        base_image(),
        'FROM scratch\nCOPY root /\nCMD ["python3"]',
        files={"root": PROJECT / ".python/root", "root/usr/share/wheels": PROJECT / ".python/wheels"},
        texts={"root/etc/pip.conf": "[global]\nno-index = true\nfind-links = /usr/share/wheels\n"},
    )


def consul() -> Image:
    """Return the image of Consul, like docker.io/hashicorp/consul; of its base it needs the libc."""
    return Image(
        consul_image(),
        f"""FROM {base_image()}
COPY consul /bin/consul
ENTRYPOINT ["consul"]
CMD ["agent", "-dev", "-client", "0.0.0.0"]""",
        files={"consul": PROJECT / ".consul/consul"},
    )


def make_all() -> None:
    """Make every image that the environment does not name, and dynsrv's."""
    if "DYNSRV_TEST_BASE_IMAGE" not in os.environ:
        python().make()
    if "DYNSRV_TEST_HAPROXY_IMAGE" not in os.environ:
        for branch in BRANCHES[1:]:
            with haproxy(branch) as image:
                image.make()
    if "DYNSRV_TEST_CONSUL_IMAGE" not in os.environ:
        consul().make()
    print(f"{DYNSRV}: building it", flush=True)
    make = ("make", "--no-print-directory", "image")
    *_, size = run(*make, f"IMAGE={DYNSRV}", f"BASE_IMAGE={base_image()}", cwd=PROJECT).splitlines()
    print(f"{DYNSRV}: {size}")
    # What was built for earlier versions of the sources, and has no name any more.
    run("docker", "image", "prune", "--force", f"--filter=label={LABEL}", "--filter=until=24h")


def main() -> None:
    """Run the command line."""
    if reason := missing_engine():
        print(f"No images are made: {reason}. The tests that need them will not be run.", file=sys.stderr)
        return
    try:
        with locked(PROJECT / ".docker-compose"):
            COMPOSE.fetch_missing(PROJECT / ".docker-compose")
        with locked(PROJECT / ".python"):
            fetch_python.fetch_missing(PROJECT / ".python")
            make_all()
    except (FetchError, OSError) as error:
        sys.exit(f"images: {error}")


if __name__ == "__main__":
    main()
