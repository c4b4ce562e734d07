from __future__ import annotations

from itertools import product

import pytest
from prometheus_client import Gauge

from dynsrv import __version__
from dynsrv.metrics import Metrics
from dynsrv.runtime import Broke, Replied

# other people's dashboards and alerts depend on these
METRICS = {
    "dynsrv_serving_servers": ("gauge", "proxy", "backend"),
    "dynsrv_servers": ("gauge", "proxy", "backend", "state"),
    "dynsrv_desired_servers": ("gauge", "backend"),
    "dynsrv_reconcile_duration_seconds": ("histogram", "proxy", "backend"),
    "dynsrv_reconcile": ("counter", "proxy", "backend", "result"),
    "dynsrv_steps": ("counter", "proxy", "backend", "step", "result"),
    "dynsrv_convergence_seconds": ("histogram", "backend"),
    "dynsrv_source_up": ("gauge", "backend", "kind"),
    "dynsrv_source_last_success_timestamp_seconds": ("gauge", "backend", "kind"),
    "dynsrv_source_errors": ("counter", "backend", "kind", "reason"),
    "dynsrv_source_ignored": ("gauge", "backend", "kind"),
    "dynsrv_guard_refusals": ("counter", "backend", "rule"),
    "dynsrv_guarded_servers": ("gauge", "proxy", "backend", "rule"),
    "dynsrv_backend_rejected": ("gauge", "proxy", "backend", "reason"),
    "dynsrv_proxy_up": ("gauge", "proxy"),
    "dynsrv_proxy_reloads": ("counter", "proxy"),
    "dynsrv_runtime_command_duration_seconds": ("histogram", "proxy", "command"),
    "dynsrv_runtime_connections_broken": ("counter", "proxy", "error"),
    "dynsrv_drift": ("counter", "proxy", "backend"),
    "dynsrv_held_servers": ("gauge", "proxy", "backend"),
    "dynsrv_converged": ("gauge", "proxy", "backend"),
    "dynsrv_oldest_wait_timestamp_seconds": ("gauge", "proxy", "backend"),
    "dynsrv_oldest_drain_timestamp_seconds": ("gauge", "proxy", "backend"),
    "dynsrv_log_lines_lost": ("counter",),
    "dynsrv_internal_errors": ("counter", "part"),
    "dynsrv_config_file_current": ("gauge", "proxy", "backend"),
    "dynsrv_config_file_writes": ("counter", "path"),
    "dynsrv_config_file_last_write_timestamp_seconds": ("gauge", "path"),
    "dynsrv_config_file_errors": ("counter", "path", "reason"),
    "dynsrv_config_last_reload_successful": ("gauge",),
    "dynsrv_config_last_reload_success_timestamp_seconds": ("gauge",),
}


def test_every_metric_has_the_name_the_type_and_the_labels_that_are_documented() -> None:
    metrics = Metrics()
    found = {
        metric._name: (metric._type, *metric._labelnames)
        for metric in vars(metrics).values()
        if hasattr(metric, "_labelnames")
    }
    assert found == METRICS


def test_every_metric_is_told_and_says_what_it_is() -> None:
    families = {family.name: family for family in Metrics().registry.collect()}
    assert families.keys() >= METRICS.keys()
    assert all(families[name].documentation.endswith(".") for name in METRICS)


def test_the_version_is_told() -> None:
    assert Metrics().registry.get_sample_value("dynsrv_build_info", {"version": __version__}) == 1


def test_the_process_itself_is_measured() -> None:
    names = {family.name for family in Metrics().registry.collect()}
    assert names >= {"process_resident_memory_bytes", "process_cpu_seconds", "python_info"}


def test_two_of_them_do_not_know_of_each_other() -> None:
    one, other = Metrics(), Metrics()
    one.proxy_up.labels("lb1").set(1)
    assert other.registry.get_sample_value("dynsrv_proxy_up", {"proxy": "lb1"}) is None


def test_a_run_of_commands_is_measured_by_the_mean() -> None:
    metrics = Metrics()
    hook = metrics.runtime_hook("lb1")
    hook(Replied("add server", replies=10, seconds=0.5))
    hook(Broke("ReplyTimeout"))
    labels = {"proxy": "lb1", "command": "add server"}
    value = metrics.registry.get_sample_value
    assert value("dynsrv_runtime_command_duration_seconds_count", labels) == 1
    assert value("dynsrv_runtime_command_duration_seconds_sum", labels) == pytest.approx(0.05)
    assert value("dynsrv_runtime_connections_broken_total", {"proxy": "lb1", "error": "ReplyTimeout"}) == 1


def set_all_gauges(metrics: Metrics, **values: tuple[str, ...]) -> None:
    """Set every gauge that has labels, for all combinations of these values of them."""
    for metric in vars(metrics).values():
        if isinstance(metric, Gauge) and metric._labelnames:
            for labels in product(*(values.get(name, ("other",)) for name in metric._labelnames)):
                metric.labels(*labels).set(1)


def gauges_with(metrics: Metrics, **labels: str) -> set[str]:
    """Return the gauges that have a series with these labels."""
    return {
        family.name
        for family in metrics.registry.collect()
        for sample in family.samples
        if family.type == "gauge" and labels.items() <= sample.labels.items()
    }


@pytest.mark.parametrize(
    "gone",
    [
        {"backend": "be_app"},
        {"proxy": "lb1"},
        {"proxy": "lb1", "backend": "be_app"},
        {"backend": "be_app", "kind": "file"},
    ],
)
def test_every_gauge_of_what_is_no_longer_managed_ends_and_no_other(gone: dict[str, str]) -> None:
    metrics = Metrics()
    set_all_gauges(metrics, proxy=("lb1", "lb2"), backend=("be_app", "be_other"), kind=("file", "consul"))
    others = [{name: value} for name, value in {"proxy": "lb2", "backend": "be_other", "kind": "consul"}.items()]
    before = [gauges_with(metrics, **other) for other in others]
    assert gauges_with(metrics, **gone) == {
        name for name, (kind, *labels) in METRICS.items() if kind == "gauge" and gone.keys() <= set(labels)
    }
    metrics.forget(**gone)
    assert gauges_with(metrics, **gone) == set()
    assert [gauges_with(metrics, **other) for other in others] == before


def test_counters_outlive_what_they_count() -> None:
    metrics = Metrics()
    metrics.drift.labels("lb1", "be_app").inc()
    metrics.forget(backend="be_app")
    assert metrics.registry.get_sample_value("dynsrv_drift_total", {"proxy": "lb1", "backend": "be_app"}) == 1
