"""What was the result of the demo, and how is it printed?"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from dynsrv.demo.load import Load
from dynsrv.demo.scenario import PHASES, Phase

EXIT_OK = 0
EXIT_LOST = 1
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Outcome:
    """The completed phases and the results of the requests, at one time."""

    version: str
    phases: tuple[Phase, ...]
    sent: int
    failed: int
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, version: str, phases: list[Phase], load: Load) -> Outcome:
        """Return the current outcome."""
        return cls(version, tuple(phases), load.sent, load.failed, tuple(load.reasons))

    @property
    def exit_code(self) -> int:
        """0, or 1 if a request was lost, or 130 if not all phases were completed."""
        if self.failed:
            return EXIT_LOST
        return EXIT_OK if len(self.phases) == len(PHASES) else EXIT_INTERRUPTED

    def print(self, console: Console) -> None:
        """Print the duration of each phase, and how many requests failed."""
        requests = f"HAProxy {self.version}: {self.sent} requests sent, {self.failed} failed"
        if len(self.phases) < len(PHASES):
            lines = [f"interrupted after {len(self.phases)} of {len(PHASES)} phases; {requests}"]
        else:
            took = [f"{phase.seconds:5.1f}  {phase.sentence}" for phase in self.phases]
            lines = ["", "Seconds until HAProxy was in sync:", *took, "", requests]
        if self.failed:
            lines += ["REQUESTS WERE LOST, which must not happen. The first ones:", *self.reasons]
        for line in lines:
            console.print(line, markup=False, soft_wrap=not console.is_terminal)
