"""An AWS on loopback: moto's server as a child process, which one test after the other may use."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.integration.support.aws import Aws
from tests.integration.support.between import Request, ask
from tests.integration.support.ports import a_port
from tests.integration.support.waiting import eventually


class Moto:
    """The process. As a context manager it runs until the end."""

    def __init__(self) -> None:
        self._resources = ExitStack()
        self.url = f"http://127.0.0.1:{self._resources.enter_context(a_port())}"
        self._folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="dynsrv-")))
        self.log = self._folder / "moto.log"

    def __enter__(self) -> Self:
        # Without the list of Amazon's images it starts sooner, and knows ours all the same.
        settings = {"MOTO_EC2_LOAD_DEFAULT_AMIS": "false", "AWS_EC2_METADATA_DISABLED": "true"}
        server = str(Path(sys.executable).with_name("moto_server"))
        command = [server, "-H", "127.0.0.1", "-p", self.url.rpartition(":")[2]]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **settings})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._resources.close()

    async def empty(self) -> Aws:
        """Wait until it answers, let it forget everything, and return its AWS."""

        async def forgotten() -> bool:
            assert self._process.poll() is None, self.log.read_text()
            try:
                reset = Request("POST", "/moto-api/reset", {"content-length": "0"})
                return (await ask(self.url, reset)).status == 200
            except (OSError, EOFError):
                return False

        await eventually(forgotten, what=f"moto answers: {self.log.read_text()}")
        return Aws(self.url)
