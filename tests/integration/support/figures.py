"""What did it cost, and when did it happen? Figures that a test prints, and bounds only where they would be absurd."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Usage:
    """What a process used of the machine until now: seconds of a CPU, and MiB of memory."""

    cpu: float
    memory: float

    @classmethod
    def of(cls, pid: int) -> Self:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        ticks = int(fields[11]) + int(fields[12])
        return cls(ticks / os.sysconf("SC_CLK_TCK"), int(status["VmRSS"].split()[0]) / 1024)

    def __str__(self) -> str:
        return f"{self.cpu:.2f} s CPU, {self.memory:.0f} MiB"


@dataclass(frozen=True)
class Spread:
    """When things happened, in seconds of one clock."""

    times: Sequence[float]

    @property
    def seconds(self) -> float:
        return max(self.times) - min(self.times)

    @property
    def most_at_once(self) -> int:
        """How many there were at most within 10 ms."""
        return max(sum(0 <= other - one < 0.01 for other in self.times) for one in self.times)

    def __str__(self) -> str:
        return f"{len(self.times)} within {self.seconds * 1000:.0f} ms, at most {self.most_at_once} of them in 10 ms"
