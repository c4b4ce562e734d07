"""The alerts, the runbook and the dashboard that are shipped speak of the same things as dynsrv."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric

from dynsrv.logs import Event
from dynsrv.metrics import Metrics

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dynsrv.json"
RUNBOOK = ROOT / "docs" / "runbook.md"
OF_THE_PROCESS = {"process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text())["panels"])


def graphs() -> list[dict[str, Any]]:
    return [panel for panel in panels() if panel["type"] != "row"]


def names_in(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    return set(re.findall(r"\b(?:dynsrv|process)_\w+", expression)) - {"dynsrv_"}


def series_names(families: Iterator[Metric]) -> Iterator[str]:
    for family in families:
        endings = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
            "info": ("_info",),
        }.get(family.type, ("",))
        yield from (family.name + ending for ending in endings)


KNOWN = {
    *series_names(iter(list(Metrics().registry.collect()))),
    *re.findall(r"^\| `(dynsrv_server_\w+)`", (ROOT / "docs" / "operations.md").read_text(), flags=re.MULTILINE),
}


def test_the_alerts_ask_only_for_what_is_told() -> None:
    for rule in rules():
        assert names_in(rule["expr"]) <= KNOWN, rule["alert"]


def test_the_dashboard_asks_only_for_what_is_told() -> None:
    for panel in graphs():
        for target in panel["targets"]:
            assert names_in(target["expr"]) <= KNOWN, panel["title"]


def test_the_dashboard_shows_every_metric() -> None:
    asked = {name for panel in graphs() for target in panel["targets"] for name in names_in(target["expr"])}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    of_dynsrv = {re.sub(r"_(bucket|sum|count)$", "", name) for name in KNOWN if name.startswith("dynsrv_")}
    assert of_dynsrv - shown == set()
    assert asked >= OF_THE_PROCESS


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Dynsrv[A-Z]\w+", rule["alert"])
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    told = rule["annotations"]
    assert told.keys() == {"summary", "description", "runbook_url"}
    assert told["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_the_runbook_has_a_part_for_each_alert_and_for_nothing_else() -> None:
    parts = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), flags=re.MULTILINE)
    assert sorted(parts) == sorted(rule["alert"] for rule in rules())
    assert len(parts) == len(set(parts))


def test_the_runbook_quotes_sentences_that_the_log_has() -> None:
    runbook = " ".join(RUNBOOK.read_text().split())
    for event in (
        Event.HAPROXY_UNREACHABLE,
        Event.SOURCE_FAILED,
        Event.SOURCE_DATA_IGNORED,
        Event.CONFIGURATION_RELOAD_FAILED,
        Event.DRIFT_DETECTED,
        Event.RECONCILE_FAILED,
        Event.COMMAND_REJECTED,
        Event.COMMAND_RETRIED,
    ):
        assert f"`{event}`" in runbook


def test_the_runbook_quotes_reasons_that_the_planner_gives() -> None:
    source = "".join(path.read_text() for path in (ROOT / "src" / "dynsrv").rglob("*.py"))
    for sentence in (
        "keeps serving until new servers do",
        "its first health check has not finished",
        "its health check is failing",
    ):
        assert sentence in source
        assert sentence in " ".join(RUNBOOK.read_text().split())


def test_the_dashboard_is_well_formed() -> None:
    identifiers = [panel["id"] for panel in panels()]
    assert len(identifiers) == len(set(identifiers))
    for panel in graphs():
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])


def test_no_panel_of_the_dashboard_covers_another() -> None:
    for one, other in combinations((panel["gridPos"] for panel in panels()), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above
        assert one["x"] + one["w"] <= 24


def test_the_dashboard_lets_one_choose_the_prometheus_the_proxy_and_the_backend() -> None:
    variables = json.loads(DASHBOARD.read_text())["templating"]["list"]
    assert [one["name"] for one in variables] == ["datasource", "proxy", "backend"]
    asked = " ".join(target["expr"] for panel in graphs() for target in panel["targets"])
    assert set(re.findall(r"\$(\w+)", asked)) == {"proxy", "backend", "__rate_interval"}
