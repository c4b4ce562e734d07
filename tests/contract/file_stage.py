from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from tests.contract.stage import Stage


class FileStage(Stage):
    """A file in a folder of its own, written as a careful author does: to a new file, then renamed."""

    kind = "file"
    settings: ClassVar[Mapping[str, object]] = {"path": "servers.yaml"}

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self._content = ""
        self.set()

    def set(self, *hosts: int) -> None:
        """See `Stage`."""
        self._content = "servers:\n" + "".join(f"- {{address: 10.0.0.{host}, port: 80}}\n" for host in hosts)
        if not hosts:
            self._content = "servers: []\n"
        self._write(self._content)

    def break_(self) -> None:
        """See `Stage`."""
        (self.folder / "servers.yaml").unlink(missing_ok=True)

    def cut(self) -> None:
        """See `Stage`."""
        self._write(self._content[:-5])

    def heal(self) -> None:
        """See `Stage`."""
        self._write(self._content)

    def _write(self, content: str) -> None:
        new = self.folder / "servers.yaml.new"
        new.write_text(content)
        new.rename(self.folder / "servers.yaml")
