"""How did it go? The demo's outcome, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from dynsrv.demo.load import Load
from dynsrv.demo.story import ACTS, Act

EXIT_OK = 0
EXIT_LOST = 1
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was played and what became of the requests, at one time."""

    version: str
    acts: tuple[Act, ...]
    sent: int
    failed: int
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, version: str, acts: list[Act], load: Load) -> Outcome:
        """Return the outcome as it is now."""
        return cls(version, tuple(acts), load.sent, load.failed, tuple(load.reasons))

    @property
    def exit_code(self) -> int:
        """0, or 1 if a request was lost, or 130 if not all acts were played."""
        if self.failed:
            return EXIT_LOST
        return EXIT_OK if len(self.acts) == len(ACTS) else EXIT_INTERRUPTED

    def print(self, console: Console) -> None:
        """Print how long each act took, and how many requests failed."""
        requests = f"HAProxy {self.version}: {self.sent} requests sent, {self.failed} failed"
        if len(self.acts) < len(ACTS):
            lines = [f"interrupted after {len(self.acts)} of {len(ACTS)} acts; {requests}"]
        else:
            took = [f"{act.seconds:5.1f}  {act.sentence}" for act in self.acts]
            lines = ["", "Seconds until HAProxy was as it should be:", *took, "", requests]
        if self.failed:
            lines += ["REQUESTS WERE LOST, which must not happen. The first of them:", *self.reasons]
        for line in lines:
            console.print(line, markup=False, soft_wrap=not console.is_terminal)
