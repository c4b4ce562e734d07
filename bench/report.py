"""How do the results of a run come into the documentation? Between two markers: nobody copies numbers by hand."""

from __future__ import annotations

from collections.abc import Sequence

from bench import table
from bench.rows import Results
from bench.scenario import Scenario

BEGIN = "<!-- results: written by `python -m bench report` -->"
END = "<!-- end of the results -->"


def inserted(page: str, results: Results, scenarios: Sequence[Scenario]) -> str:
    """Return *page* with these results instead of those that it has."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"the page has no place for the results: it needs the lines {BEGIN} and {END}")
    machine = "; ".join(f"{name}: {value}" for name, value in results.machine.items())
    tables = table.markdown(list(table.cells(results, scenarios)))
    return f"{before}{BEGIN}\n\n{machine}\n\n{tables}\n\n{END}{after}"
