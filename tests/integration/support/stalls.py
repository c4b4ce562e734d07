"""For how long does a web server not answer? Asked in a process of its own, so that nothing here is in the way.

python -m tests.integration.support.stalls PORT SECONDS
"""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RHYTHM = 0.005

REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True)
class Stalls:
    """How long the answers took, in seconds."""

    seconds: Sequence[float]

    @property
    def longest(self) -> float:
        return max(self.seconds)

    def __str__(self) -> str:
        p99 = sorted(self.seconds)[int(len(self.seconds) * 0.99)]
        median = statistics.median(self.seconds)
        told = f"median {median * 1000:.1f} ms, p99 {p99 * 1000:.0f} ms, longest {self.longest * 1000:.0f} ms"
        return f"{told} of {len(self.seconds)} answers"


async def stalls(port: int, *, seconds: float) -> Stalls:
    """Ask for /healthz at a fast rhythm, on one connection, for so many seconds."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __spec__.name, str(port), str(seconds)), stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return Stalls(json.loads(out))


def _measure(port: int, seconds: float) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    took = []
    begun = due = time.monotonic()
    while due < begun + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        asked = time.monotonic()
        connection.request("GET", "/healthz")
        with connection.getresponse() as answer:
            answer.read()
            assert answer.status == 200
        took.append(time.monotonic() - asked)
        due = max(due + RHYTHM, time.monotonic())
    connection.close()
    return took


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]), float(sys.argv[2]))))
