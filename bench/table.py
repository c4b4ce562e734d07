"""What do the results look like? Tables of medians and ratios, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.rows import Results, Row
from bench.scenario import DYNSRV, PLAIN, RAW, Scenario

HEADER = ("Scenario", "HAProxy", "Unit", "Medians", "dynsrv : raw", "plain : dynsrv", "Targets")


def cells(results: Results, scenarios: Sequence[Scenario]) -> Iterator[tuple[str, ...]]:
    """Yield the cells of one line for each scenario and version, as `HEADER` names them."""
    for scenario in scenarios:
        for row in results.rows:
            if row.scenario == scenario.name:
                yield (
                    scenario.title,
                    row.version,
                    row.unit,
                    medians(row),
                    _ratio(row, DYNSRV, RAW),
                    _ratio(row, PLAIN, DYNSRV),
                    "; ".join(_judged(row, scenario)),
                )


def medians(row: Row) -> str:
    """Return what each way took; `>` where it was stopped."""
    return ", ".join(f"{way} {'> ' * (way in row.stopped)}{figure(row.median(way))}" for way in row.values)


def figure(value: float | None) -> str:
    """Return a number with three significant digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def text(lines: Sequence[tuple[str, ...]]) -> str:
    """Return a table for a terminal."""
    everything = [HEADER, *lines]
    widths = [max(len(line[column]) for line in everything) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in everything
    )


def markdown(lines: Sequence[tuple[str, ...]]) -> str:
    """Return a table for a page."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (HEADER, ("---",) * len(HEADER), *lines))


def missed(results: Results, scenarios: Sequence[Scenario]) -> list[str]:
    """Return a sentence for each target that was not reached."""
    return [
        f"{scenario.title} on {row.version}: {target}, found {found:.2f}"
        for scenario in scenarios
        for row in results.rows
        if row.scenario == scenario.name
        for target in scenario.targets
        if (found := target.found(row)) is not None and not target.reached(found)
    ]


def _ratio(row: Row, way: str, to: str) -> str:
    value, other = row.median(way), row.median(to)
    return f"{'> ' * (way in row.stopped)}{value / other:.2f}" if value is not None and other else ""


def _judged(row: Row, scenario: Scenario) -> Iterator[str]:
    for target in scenario.targets:
        found = target.found(row)
        if found is not None:
            yield f"{target}: {'reached' if target.reached(found) else f'**missed** ({found:.2f})'}"
