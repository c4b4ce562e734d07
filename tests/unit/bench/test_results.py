from __future__ import annotations

from pathlib import Path

import pytest

from bench import report, table
from bench.rows import Results, Row, Target
from bench.scenario import DYNSRV, PLAIN, RAW, Scenario
from bench.scenarios import SCENARIOS

TARGETS = (Target(DYNSRV, RAW, at_most=1.5), Target(PLAIN, DYNSRV, at_least=4, versions=("3.2",)))
SCENARIO = Scenario("fill", "fill 0 → 10", lambda _: iter(()), targets=TARGETS)


def a_row(version: str = "3.2", **values: list[float]) -> Row:
    return Row("fill", version, "s", values)


def missed(row: Row) -> list[str]:
    return table.missed(Results({}, [row]), [SCENARIO])


def test_a_ratio_is_that_of_the_medians() -> None:
    row = a_row(raw=[1.0, 9.0, 2.0], dynsrv=[3.0, 3.0, 0.0], plain=[12.0])
    assert TARGETS[0].found(row) == 1.5
    assert missed(row) == []


def test_a_missed_target_is_told_with_what_was_found() -> None:
    assert missed(a_row(raw=[1.0], dynsrv=[2.0], plain=[6.0])) == [
        "fill 0 → 10 on 3.2: dynsrv : raw ≤ 1.5, found 2.00",
        "fill 0 → 10 on 3.2: plain : dynsrv ≥ 4, found 3.00",
    ]


def test_a_target_of_other_versions_does_not_count() -> None:
    assert missed(a_row("3.4", raw=[1.0], dynsrv=[1.0], plain=[1.0])) == []


def test_what_was_not_measured_is_not_judged() -> None:
    row = a_row(dynsrv=[1.0])
    assert [target.found(row) for target in TARGETS] == [None, None]
    assert missed(row) == []


def test_an_absolute_bound_is_judged_by_the_median() -> None:
    target = Target("resident", at_most=150)
    assert target.reached(150.0)
    assert not target.reached(150.1)
    assert target.found(a_row(resident=[140.0, 160.0, 150.0])) == 150.0


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = Results({"cpu": "2 of a kind"}, [a_row(raw=[0.25], dynsrv=[1.5])])
    results.save(tmp_path / "results" / "one.json")
    assert Results.read(tmp_path / "results" / "one.json") == results


def test_a_page_gets_new_results_and_keeps_the_rest() -> None:
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    results = Results({"cpu": "2 of a kind"}, [a_row(raw=[2.0], dynsrv=[4.0])])
    new = report.inserted(page, results, [SCENARIO])
    assert new.startswith(f"before\n{report.BEGIN}\n")
    assert new.endswith(f"{report.END}\nafter\n")
    assert "cpu: 2 of a kind" in new
    assert "old" not in new
    assert report.inserted(new, results, [SCENARIO]) == new


def test_a_page_without_a_place_for_results_is_refused() -> None:
    with pytest.raises(SystemExit, match="has no place for the results"):
        report.inserted("nothing", Results({}), [SCENARIO])


def test_every_scenario_has_a_name_of_its_own() -> None:
    names = [one.name for one in SCENARIOS]
    assert len(set(names)) == len(names)
