"""What would dynsrv do to other traffic if it did not pace what it sends? The same program, with everything at once."""

from __future__ import annotations

from unittest.mock import patch

from dynsrv.__main__ import main
from dynsrv.haproxy.batching import BatchSizer


class Unpaced(BatchSizer):
    """All commands in one batch."""

    def size(self, backend: str, kind: str) -> int:  # noqa: ARG002 - as a Pace has it
        """Return how many commands go at once."""
        return 1_000_000


if __name__ == "__main__":
    with patch("dynsrv.haproxy.proxy.Pace", Unpaced):
        main()
