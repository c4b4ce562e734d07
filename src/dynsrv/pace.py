"""How many commands go in one batch, so that traffic gets its turn?"""

from __future__ import annotations

_BATCH_SECONDS = 0.05
_SMALLEST_BATCH = 16
_LARGEST_BATCH = 4096


class Pace:
    """How many commands go in one batch: as many as HAProxy answers in a twentieth of a second.

    HAProxy stops all its threads to add or delete a server, and that takes longer the more servers a backend has, most
    of all with `random` and consistent hashes. Between two batches traffic gets its turn.
    """

    def __init__(self) -> None:
        self.size = 256

    def took(self, seconds: float, *, commands: int) -> None:
        """Take in how long a batch took."""
        fitting = int(commands * _BATCH_SECONDS / max(seconds, 1e-6))
        self.size = max(_SMALLEST_BATCH, min(fitting, 2 * self.size, _LARGEST_BATCH))
