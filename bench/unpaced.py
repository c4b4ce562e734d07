"""What would dynsrv do to other traffic if it did not pace what it sends? The same program, with everything at once."""

from __future__ import annotations

from unittest.mock import patch

from dynsrv import cli
from dynsrv.pace import Pace


class Unpaced(Pace):
    """All commands in one batch."""

    def __init__(self) -> None:
        self.size = 1_000_000

    def took(self, seconds: float, *, commands: int) -> None:
        """Learn nothing from it."""


if __name__ == "__main__":
    with patch("dynsrv.proxy.Pace", Unpaced):
        cli.main()
