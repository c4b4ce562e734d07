"""A pod without a cluster: the processes of its containers, as their users, with the files of its ConfigMaps.

There is no image, no probe and no network of its own: a test asks what kubelet would ask.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.integration.support.controller import Dynsrv
from tests.integration.support.haproxy import HAProxy, binary, environment
from tests.integration.support.kubernetes import Manifest, containers
from tests.integration.support.waiting import eventually

IS_ROOT = os.geteuid() == 0
"""Only root can start processes of other users: for anybody else all are one user's."""


class ConfigMapFolder:
    """A ConfigMap as kubelet mounts it: a new version of all files arrives by the rename of one symlink, `..data`."""

    def __init__(self, folder: Path, data: Mapping[str, str]) -> None:
        self.folder = folder
        self._version = 0
        folder.mkdir()
        self.write(data)
        for name in data:
            (folder / name).symlink_to(Path("..data", name))

    def write(self, data: Mapping[str, str]) -> None:
        self._version += 1
        before = self.folder / f"..{self._version - 1}"
        (after := self.folder / f"..{self._version}").mkdir()
        for name, text in data.items():
            (after / name).write_text(text)
        (temporary := self.folder / "..data_tmp").symlink_to(after.name)
        temporary.rename(self.folder / "..data")
        for old in before.glob("*"):
            old.unlink()
        if before.exists():
            before.rmdir()


def as_user(container: Manifest, pod: Manifest) -> list[str]:
    """Return what starts a process as the user and with the groups of *container*, and with no right besides.

    It may read every file, or it would not come to its program where this folder is root's alone.
    """
    if not IS_ROOT:
        return []
    context = container["securityContext"]
    user, group = context["runAsUser"], context["runAsGroup"]
    return ["setpriv", *_user(user, group), f"--groups={pod['securityContext']['fsGroup']}", *_READS_ALL]


def as_stranger() -> list[str]:
    """Return what starts a process of a user that no container has."""
    return ["setpriv", *_user(65534, 65534), "--clear-groups", *_READS_ALL]


def _user(user: int, group: int) -> list[str]:
    return [f"--reuid={user}", f"--regid={group}"]


_READS_ALL = [
    "--no-new-privs",
    *(f"--{kind}=-all,+dac_read_search" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
]


def a_secret(path: Path, text: str, pod: Manifest) -> Path:
    """Write a file as kubelet does of a Secret with the mode 0440."""
    path.write_text(text)
    if IS_ROOT:
        os.chown(path, 0, pod["securityContext"]["fsGroup"])
    path.chmod(0o440)
    return path


def a_shared_volume(folder: Path, pod: Manifest) -> Path:
    """Make *folder* what kubelet makes of an emptyDir in a pod with an fsGroup."""
    folder.mkdir()
    if IS_ROOT:
        os.chown(folder, 0, pod["securityContext"]["fsGroup"])
    folder.chmod(0o2777)
    return folder


def replaced(text: str, **values: str) -> str:
    """Return *text* with other values for what a pod has for itself alone, such as `listen="127.0.0.1:9105"`.

    Each is that of a key, which *text* has to have.
    """
    for key, value in values.items():
        lines = [line for line in text.splitlines() if line.strip().startswith((f"{key}:", f"- {key}:"))]
        assert lines, f"no {key} in {text}"
        for line in lines:
            text = text.replace(line, f"{line.partition(f'{key}:')[0]}{key}: {value}")
    return text


class PodHAProxy(HAProxy):
    """HAProxy as its container runs it, with *configuration* as it is.

    The stats socket and the frontend are unix sockets in `shared`, a volume of *pod*; kubelet asks on port *health*.
    What else the pod has belongs into `folder`, which everybody may enter.
    """

    def __init__(self, version: str, configuration: str, pod: Manifest, *, health: int, **variables: str) -> None:
        super().__init__(version)
        self.folder = self.configuration.parent
        self.folder.chmod(0o755)
        self.shared = a_shared_volume(self.folder / "run", pod)
        self.configuration.write_text(configuration)
        self.socket = self.shared / "admin.sock"
        self.frontend = self.shared / "frontend.sock"
        self._pod = pod
        self._variables = {
            "STATS_SOCKET": str(self.socket),
            "FRONTEND": f"unix@{self.frontend}",
            "HEALTH": f"127.0.0.1:{health}",
            **variables,
        }

    def mount(self, certificates: Path) -> None:
        """Let it find its certificates in a folder, before it starts."""
        self._variables["CERTIFICATES"] = str(certificates)

    def command(self, *arguments: str) -> list[str]:
        (container,) = (one for one in containers(self._pod) if one["name"] == "haproxy")
        program = [str(binary(self.version)), *arguments, "-f", str(self.configuration)]
        return [*as_user(container, self._pod), *program]

    async def start(self) -> None:
        with self.log.open("ab") as log:
            # what the image's entry point makes of its command
            self._process = await asyncio.create_subprocess_exec(
                *self.command("-W", "-db"), stdout=log, stderr=log, env=environment() | self._variables
            )
        await eventually(self._answers, what=f"HAProxy {self.version} answers: {self.log.read_text()}")

    async def check(self) -> str:
        """Return what `haproxy -c` complains of; fail if it takes the configuration for wrong."""
        process = await asyncio.create_subprocess_exec(
            *self.command("-c"), stderr=asyncio.subprocess.PIPE, env=environment() | self._variables
        )
        _, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return "".join(line for line in err.decode().splitlines() if "[NOTICE]" not in line)

    async def ended(self, *, within: float) -> int:
        """Wait until it has ended by itself, and return its exit code."""
        assert self._process is not None
        async with asyncio.timeout(within):
            return await self._process.wait()


class PodDynsrv(Dynsrv):
    """dynsrv as its container runs it, with *configuration* as it is, in a ConfigMap."""

    def __init__(self, folder: Path, configuration: str, pod: Manifest, **variables: str) -> None:
        folder.mkdir()
        super().__init__(folder)
        self.mounted = ConfigMapFolder(folder / "etc-dynsrv", {"dynsrv.yaml": configuration})
        self.configuration = self.mounted.folder / "dynsrv.yaml"
        self.environment |= variables
        (self._container,) = (one for one in containers(pod) if one["name"] == "dynsrv")
        self._pod = pod

    def change(self, configuration: str) -> None:
        """Let kubelet bring another version of the ConfigMap."""
        self.mounted.write({"dynsrv.yaml": configuration})

    def command(self, command: str, *arguments: str) -> list[str]:
        words = self._container["args"] if command == "run" else [command]
        program = [sys.executable, "-m", "dynsrv", *words, "-c", str(self.configuration), *arguments]
        return [*as_user(self._container, self._pod), *program]
