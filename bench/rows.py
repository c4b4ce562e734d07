"""What was measured, and did it reach what it must? Values that are written as JSON and read again."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One scenario on one HAProxy version: by way (raw, dynsrv, plain, …), what each round measured in *unit*.

    The ways in *stopped* were not let come to their end: they take longer than that.
    """

    scenario: str
    version: str
    unit: str
    values: dict[str, list[float]]
    stopped: list[str] = field(default_factory=list)

    def median(self, way: str) -> float | None:
        """Return the median of *way*, None if that was not measured."""
        values = self.values.get(way)
        return statistics.median(values) if values else None


@dataclass(frozen=True)
class Target:
    """A bound of the median of *way*, or of its ratio to that of *to*, on *versions* (all if empty)."""

    way: str
    to: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    versions: Sequence[str] = ()

    def found(self, row: Row) -> float | None:
        """Return what *row* has of it; None: it was not measured, or does not count on this version."""
        value = row.median(self.way)
        if value is None or (self.versions and row.version not in self.versions):
            return None
        if self.to is None:
            return value
        other = row.median(self.to)
        return value / other if other else None

    def reached(self, value: float) -> bool:
        """Whether *value* is within the bound."""
        if self.at_most is not None and value > self.at_most:
            return False
        return self.at_least is None or value >= self.at_least

    def __str__(self) -> str:
        what = self.way if self.to is None else f"{self.way} : {self.to}"
        return f"{what} {'≤' if self.at_least is None else '≥'} {self.at_most or self.at_least:g}"


@dataclass
class Results:
    """One run: the machine, and a row for each scenario and version."""

    machine: dict[str, str]
    rows: list[Row] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write them as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what `save` wrote."""
        data: dict[str, Any] = json.loads(path.read_text())
        return cls(data["machine"], [Row(**one) for one in data["rows"]])
