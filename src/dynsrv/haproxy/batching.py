"""How many commands go in one batch, so that traffic is not stalled?"""

from __future__ import annotations

from collections import deque
from statistics import median_low

_BATCH_SECONDS = 0.005
_FIRST_BATCH = 16
_GROWTH = 4
_LARGEST_BATCH = 4096
_REMEMBERED = 3  # batches; the median counts, because a single one may be delayed or seem too fast


class BatchSizer:
    """Limits batches to what HAProxy executes in five milliseconds, by measuring the previous ones.

    While there are commands to read, HAProxy's thread that reads them serves none of its other connections; between two
    batches it does. The cost of a command depends on its kind, and on the backend's algorithm and number of servers:
    enabling a server of weight 100 takes 3 µs with `roundrobin`, and up to 3 ms with `random` (2.6-3.4).
    """

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, str], int] = {}
        self._costs: dict[tuple[str, str], deque[float]] = {}  # seconds per command, of the last batches

    def size(self, backend: str, kind: str) -> int:
        """Return how many commands of *kind* the next batch may have."""
        return self._sizes.get((backend, kind), _FIRST_BATCH)

    def observe(self, seconds: float, *, backend: str, kind: str, commands: int) -> None:
        """Note that a batch took so many *seconds*."""
        costs = self._costs.setdefault((backend, kind), deque(maxlen=_REMEMBERED))
        costs.append(seconds / commands)
        fitting = int(_BATCH_SECONDS / max(median_low(costs), 1e-9))
        self._sizes[backend, kind] = max(1, min(fitting, _GROWTH * commands, _LARGEST_BATCH))
