"""Which scenarios are measured now, and where do the results go?

python -m bench [--only fill] [--versions 3.2,3.4] [--quick] [--rounds 1] [--strict]    # in the project's folder
python -m bench report                                                                  # into docs/performance.md
"""

from __future__ import annotations

import argparse
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
"""Of a run with some scenarios or versions only, so that it does not end up in the page."""
PAGE = REPOSITORY / "docs" / "performance.md"
PICTURE = PAGE.with_suffix(".svg")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and print medians and ratios.")
    parser.add_argument("what", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument(
        "--only", default="", help="scenarios by their names or first words (fill, fill-1000), separated by commas"
    )
    parser.add_argument("--versions", default=",".join(VERSIONS), help="of HAProxy; by default %(default)s")
    parser.add_argument("--quick", action="store_true", help="a few scenarios, one round each")
    parser.add_argument("--rounds", type=int, help="so many of each scenario")
    parser.add_argument("--results", type=Path, help="JSON file, to write or to report")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if a target is missed")
    options = parser.parse_args()
    if options.what == "report":
        write_report(options.results or RESULTS)
        return
    only = options.only.split(",") if options.only else []
    chosen = [one for one in SCENARIOS if _meant(one, only) and (one.quick or not options.quick)]
    if not chosen:
        parser.error(f"--only: found {options.only!r}, expected some of: {', '.join(one.name for one in SCENARIOS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or the HAProxys would be left
    versions = options.versions.split(",")
    whole = chosen == list(SCENARIOS) and versions == list(VERSIONS)
    results = options.results or (RESULTS if whole else PARTIAL)
    missed = measure(chosen, versions, rounds=1 if options.quick else options.rounds, results=results)
    if missed and options.strict:
        sys.exit(1)


def _meant(scenario: Scenario, only: list[str]) -> bool:
    """Whether one of *only* is its name or the first words of it, or nothing was asked for."""
    return not only or any(f"{scenario.name}-".startswith(f"{one}-") for one in only)


def measure(chosen: list[Scenario], versions: list[str], *, rounds: int | None, results: Path) -> list[str]:
    """Measure, print the table, and return a sentence for each target that was missed."""
    began = time.monotonic()
    found = Results(machine.describe())
    for version in versions:
        binary(version)
    with origin() as port:
        for scenario in chosen:
            for version in versions:
                found.rows.append(_measured(scenario, version, port=port, rounds=rounds))
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


def _measured(scenario: Scenario, version: str, *, port: int, rounds: int | None) -> Row:
    began = time.monotonic()
    values = defaultdict[str, list[float]](list)
    stopped: set[str] = set()
    for number in range(rounds or scenario.rounds):
        this = Round(version, port, plain=number < scenario.plain_rounds, stopped=stopped)
        for way, value in scenario.run(this):
            values[way].append(value)
    row = Row(scenario.name, version, scenario.unit, dict(values), sorted(stopped))
    took = time.monotonic() - began
    print(f"{scenario.title}, HAProxy {version}: {table.medians(row)} ({took:.0f} s)", file=sys.stderr, flush=True)
    return row


if __name__ == "__main__":
    main()
