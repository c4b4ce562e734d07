"""Which scenarios are measured now, and where do the results go?

python -m bench [--only fill] [--versions 3.2,3.4] [--quick | --whole] [--rounds 1] [--strict]
python -m bench report    # into docs/performance.md
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path

from bench import machine, report, table
from bench.haproxy import REPOSITORY, VERSIONS, binary, origin
from bench.plot import plot
from bench.rows import Results, Row
from bench.scenario import Round, Scenario
from bench.scenarios import SCENARIOS

RESULTS = REPOSITORY / "bench" / "results" / "results.json"
PARTIAL = RESULTS.with_name("partial.json")
"""Of any other run than the whole, so that it does not end up in the page."""
PAGE = REPOSITORY / "docs" / "performance.md"
PICTURE = PAGE.with_suffix(".svg")

_ENOUGH = 2.0
"""Seconds of one scenario on one version after which it has no other round, if not the whole is measured."""


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and print medians and ratios.")
    parser.add_argument("what", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument(
        "--only", default="", help="scenarios by their names or first words (fill, fill-1000), separated by commas"
    )
    parser.add_argument("--versions", default=",".join(VERSIONS), help="of HAProxy; by default %(default)s")
    parser.add_argument("--quick", action="store_true", help="a few scenarios, one round each")
    parser.add_argument("--whole", action="store_true", help="with all rounds, and 30,000 servers: half an hour")
    parser.add_argument("--rounds", type=int, help="so many of each scenario")
    parser.add_argument("--results", type=Path, help="JSON file, to write or to report")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if a target is missed")
    options = parser.parse_args()
    if options.what == "report":
        write_report(options.results or RESULTS)
        return
    only = options.only.split(",") if options.only else []
    sized = [one for one in SCENARIOS if options.whole or only or not one.large]
    chosen = [one for one in sized if _meant(one, only) and (one.quick or not options.quick)]
    if not chosen:
        parser.error(f"--only: found {options.only!r}, expected some of: {', '.join(one.name for one in SCENARIOS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or the HAProxies would be left
    versions = options.versions.split(",")
    whole = options.whole and chosen == list(SCENARIOS) and versions == list(VERSIONS) and not options.rounds
    results = options.results or (RESULTS if whole else PARTIAL)
    rounds = 1 if options.quick else options.rounds
    enough = math.inf if options.whole or rounds else _ENOUGH
    missed = measure(chosen, versions, rounds=rounds, enough=enough, results=results)
    if missed and options.strict:
        sys.exit(1)


def _meant(scenario: Scenario, only: list[str]) -> bool:
    """Whether one of *only* is its name or the first words of it, or nothing was asked for."""
    return not only or any(f"{scenario.name}-".startswith(f"{one}-") for one in only)


def measure(
    chosen: list[Scenario], versions: list[str], *, rounds: int | None, enough: float, results: Path
) -> list[str]:
    """Measure, print the table, and return a sentence for each target that was missed.

    After *enough* seconds a scenario has no other round.
    """
    began = time.monotonic()
    found = Results(machine.describe())
    for version in versions:
        binary(version)
    with origin() as port:
        for scenario in chosen:
            for version in versions:
                found.rows.append(_measured(scenario, version, port=port, rounds=rounds, enough=enough))
                found.save(results)
    found.machine["minutes"] = f"{(time.monotonic() - began) / 60:.0f}"
    found.save(results)
    missed = table.missed(found, chosen)
    print(table.text(list(table.cells(found, chosen))))
    print("", *(missed or ["every target was reached"]), sep="\n")
    return missed


def write_report(results: Path) -> None:
    """Write the last results into docs/performance.md and docs/performance.svg."""
    found = Results.read(results)
    PAGE.write_text(report.inserted(PAGE.read_text(), found, SCENARIOS))
    plot(found, SCENARIOS, PICTURE)
    print(f"docs/{PAGE.name} and docs/{PICTURE.name} tell of the run of {found.machine['date']}")


def _measured(scenario: Scenario, version: str, *, port: int, rounds: int | None, enough: float) -> Row:
    began = time.monotonic()
    values = defaultdict[str, list[float]](list)
    stopped: set[str] = set()
    for number in range(rounds or scenario.rounds):
        this = Round(version, port, plain=number < scenario.plain_rounds, stopped=stopped)
        for way, value in scenario.run(this):
            values[way].append(value)
        if time.monotonic() - began > enough:
            break
    row = Row(scenario.name, version, scenario.unit, dict(values), sorted(stopped))
    took = time.monotonic() - began
    print(f"{scenario.title}, HAProxy {version}: {table.medians(row)} ({took:.0f} s)", file=sys.stderr, flush=True)
    return row


if __name__ == "__main__":
    main()
