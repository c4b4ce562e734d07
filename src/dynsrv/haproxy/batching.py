"""How many commands go in one batch, so that traffic gets its turn?"""

from __future__ import annotations

from collections import deque
from statistics import median_low

_BATCH_SECONDS = 0.005
_FIRST_BATCH = 16
_GROWTH = 4
_LARGEST_BATCH = 4096
_REMEMBERED = 3  # batches, of which the median counts: one that was held up, or seemed quick, says little


class BatchSizer:
    """How many commands of one kind go in one batch: as many as HAProxy answers in five milliseconds.

    As long as there are commands to read, the thread of HAProxy's that reads them serves none of its other connections;
    between two batches it does. What a command costs depends on its kind, on the backend's algorithm and on its number
    of servers: to enable a server of weight 100 takes 3 µs with `roundrobin`, and up to 3 ms with `random` (2.6-3.4).
    """

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, str], int] = {}
        self._costs: dict[tuple[str, str], deque[float]] = {}  # seconds of a command, in the last batches

    def size(self, backend: str, kind: str) -> int:
        """Return how many commands of *kind* may go at once."""
        return self._sizes.get((backend, kind), _FIRST_BATCH)

    def observe(self, seconds: float, *, backend: str, kind: str, commands: int) -> None:
        """Take in how long a batch took."""
        costs = self._costs.setdefault((backend, kind), deque(maxlen=_REMEMBERED))
        costs.append(seconds / commands)
        fitting = int(_BATCH_SECONDS / max(median_low(costs), 1e-9))
        self._sizes[backend, kind] = max(1, min(fitting, _GROWTH * commands, _LARGEST_BATCH))
