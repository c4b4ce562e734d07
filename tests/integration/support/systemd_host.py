"""A machine with systemd, HAProxy and dynsrv as docs/systemd.md says: a container that has the /usr of this machine.

So it needs no image, and boots in less than a second. Its network is that of this machine.
"""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.integration.support.containers import a_name, docker
from tests.integration.support.controller import Finished
from tests.integration.support.haproxy import CONFIGURATION, REPOSITORY, binary
from tests.integration.support.waiting import eventually

SYSTEMD = Path("/usr/lib/systemd/systemd")
UNIT = REPOSITORY / "deploy/systemd/dynsrv.service"
SYSUSERS = REPOSITORY / "deploy/systemd/sysusers.conf"
PACKAGES = next(path for path in map(Path, sys.path) if path.name == "site-packages" and path.is_dir())

# What an installation into /opt/dynsrv has there; Python (which looks for its library) and packages are those of here.
_DYNSRV = f"""#!/usr/bin/env -S LD_LIBRARY_PATH=/opt/python/lib /opt/python/bin/{Path(sys.executable).resolve().name}
import sys
sys.path[:0] = ["/opt/dynsrv/src", "/opt/dynsrv/site-packages"]
from dynsrv.cli.commands import main
main()
"""
# As Debian's package has it: the folder hands its group on to the sockets in it.
_HAPROXY = f"""[Service]
Type=notify
ExecStart={binary("3.2")} -Ws -f /etc/haproxy.cfg
"""
_FRONTEND = "[Service]\nEnvironment=FRONTEND=127.0.0.1:{}\n"
_IMAGE = "dynsrv-test/systemd"
_INIT = f"{SYSTEMD} --unit=basic.target"
_ALSO_TCP = "global\n    stats socket ipv4@127.0.0.1:{} level admin\n"
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "hosts: files\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/machine-id": "",
    "etc/sysusers.d/haproxy.conf": 'u haproxy - "HAProxy" /var/lib/haproxy\n',
    "etc/sysusers.d/dynsrv.conf": SYSUSERS.read_text(),
    "etc/tmpfiles.d/haproxy.conf": "d /run/haproxy 2775 haproxy haproxy -\n",
    "etc/systemd/system/haproxy.service": _HAPROXY,
    "etc/systemd/system/dynsrv.service": UNIT.read_text(),
    "opt/dynsrv/bin/dynsrv": _DYNSRV,
}
_LINKS = {
    name: str(Path("/", name).readlink()) for name in ("bin", "sbin", "lib", "lib64") if Path("/", name).is_symlink()
}


class SystemdHost:
    """The container; *folder* is its /etc/dynsrv, and *drop_in* what is changed of the service.

    HAProxy takes requests at the port *frontend*, and commands at the port *runtime*, too.
    """

    def __init__(self, folder: Path, *, frontend: int, runtime: int, drop_in: str) -> None:
        self.folder = folder
        self.runtime = runtime
        self.name = a_name()
        folder.chmod(0o755)
        self._files = {
            **_FILES,
            "etc/haproxy.cfg": CONFIGURATION.read_text() + _ALSO_TCP.format(runtime),
            "etc/systemd/system/haproxy.service.d/test.conf": _FRONTEND.format(frontend),
            "etc/systemd/system/dynsrv.service.d/test.conf": f"[Service]\n{drop_in}\n",
        }

    async def __aenter__(self) -> Self:
        if not docker("images", "--quiet", _IMAGE):
            await self._docker("import", "-", _IMAGE, data=_tar({"etc/os-release": "PRETTY_NAME=test\n"}))
        mounts = [
            ("/usr", "/usr"),
            (binary("3.2").parent, binary("3.2").parent),
            (sys.base_prefix, "/opt/python"),
            (PACKAGES, "/opt/dynsrv/site-packages"),
            (REPOSITORY / "src", "/opt/dynsrv/src"),
        ]
        await self._docker(
            *("create", "--rm", "--name", self.name, "--network", "host", "--cgroupns", "private"),
            *("--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE"),
            *(f"--security-opt={one}=unconfined" for one in ("seccomp", "apparmor", "systempaths")),
            *(f"--tmpfs={one}" for one in ("/run", "/tmp", "/var/log")),
            *(f"--volume={here}:{there}:ro" for here, there in mounts),
            f"--volume={self.folder}:/etc/dynsrv",
            # a machine's mounts are shared, or no service would see its credentials
            *("--env", "container=docker", _IMAGE, "/usr/bin/sh", "-c", f"mount --make-rshared / && exec {_INIT}"),
        )
        await self._docker("cp", "-", f"{self.name}:/", data=_tar(self._files))
        await self._docker("start", self.name)
        await eventually(self._booted, what="systemd has booted")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        print((await self.run("journalctl", "--no-pager", "--boot")).out[-20_000:])
        await self._docker("rm", "--force", self.name)

    async def run(self, *command: str) -> Finished:
        """Run a command to its end."""
        process = await asyncio.create_subprocess_exec(
            *("docker", "exec", self.name, *command), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return Finished(process.returncode or 0, out.decode(), err.decode())

    async def done(self, *command: str) -> str:
        """Run a command that must succeed, and return what it printed."""
        finished = await self.run(*command)
        assert finished.code == 0, (command, finished)
        return finished.out

    async def show(self, *properties: str) -> dict[str, str]:
        """Return what systemd knows of dynsrv.service."""
        shown = await self.done("systemctl", "show", "dynsrv", *(f"--property={one}" for one in properties))
        return dict(line.split("=", 1) for line in shown.splitlines())

    async def is_so(self, **properties: str) -> None:
        """Wait until systemd says so; a value may be the begin of what it says."""

        async def so() -> bool:
            shown = await self.show(*properties)
            assert all(shown[name].startswith(value) for name, value in properties.items()), shown
            return True

        await eventually(so, within=60)

    async def status(self) -> Any:
        """Return what `dynsrv status --json` prints to the user dynsrv."""
        command = (
            "setpriv",
            "--reuid=dynsrv",
            "--regid=dynsrv",
            "--init-groups",
            "/opt/dynsrv/bin/dynsrv",
            "status",
            "--json",
        )
        finished = await self.run(*command, "-c", "/etc/dynsrv/dynsrv.yaml")
        assert finished.code in {0, 2}, finished
        return json.loads(finished.out)

    async def journal(self) -> str:
        return await self.done("journalctl", "--no-pager", "--unit", "dynsrv")

    def configure(self, **settings: object) -> None:
        """Write /etc/dynsrv/dynsrv.yaml."""
        (self.folder / "dynsrv.yaml").write_text(yaml.safe_dump(settings))

    async def _booted(self) -> bool:
        return (await self.run("systemctl", "is-active", "basic.target")).out == "active\n"

    async def _docker(self, *arguments: str, data: bytes = b"") -> None:
        process = await asyncio.create_subprocess_exec(
            *("docker", *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        out, _ = await process.communicate(data)
        assert process.returncode == 0, (arguments, out.decode())


def _tar(files: Mapping[str, str]) -> bytes:
    """Return a tar with *files* and their folders, and with what leads to this machine's /usr."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for path in sorted({parent for name in files for parent in list(Path(name).parents)[:-1]}):
            folder = tarfile.TarInfo(str(path))
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        for name, target in _LINKS.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, text in files.items():
            file = tarfile.TarInfo(name)
            file.size, file.mode = len(text.encode()), 0o755 if "/bin/" in name else 0o644
            tar.addfile(file, io.BytesIO(text.encode()))
    return data.getvalue()
