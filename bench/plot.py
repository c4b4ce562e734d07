"""How does the time grow with the number of servers? A picture of it."""

from __future__ import annotations

from pathlib import Path

from bench.rows import Results
from bench.scenario import DYNSRV, PLAIN, RAW, Scenario

_STYLES = {PLAIN: ("#c44e52", "s"), DYNSRV: ("#2c6fbb", "o"), RAW: ("#555555", "^")}
_LABELS = {PLAIN: "one connection a command, without ids", DYNSRV: "dynsrv", RAW: "raw limit"}


def plot(results: Results, scenarios: tuple[Scenario, ...], path: Path) -> None:
    """Draw the time of a fill over the number of servers, log-log, with a panel for each HAProxy version.

    A hollow mark: it was stopped there, and would have taken longer.
    """
    import matplotlib as mpl  # noqa: PLC0415 - slow, and only needed here

    mpl.use("svg")
    mpl.rcParams |= {
        "svg.hashsalt": "dynsrv",
        "svg.fonttype": "none",
    }  # the same file from the same results; text as text
    from matplotlib import pyplot  # noqa: PLC0415

    numbers = {scenario.name: scenario.points[1] for scenario in scenarios if scenario.points}
    rows = [row for row in results.rows if row.scenario in numbers]
    versions = list(dict.fromkeys(row.version for row in rows))
    figure, panels = pyplot.subplots(
        1,
        len(versions),
        figsize=(3 * len(versions), 3.4),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for panel, version in zip(panels[0], versions, strict=True):
        here = sorted((row for row in rows if row.version == version), key=lambda row: numbers[row.scenario])
        for way, (color, marker) in _STYLES.items():
            points = [
                (numbers[row.scenario], median, way in row.stopped)
                for row in here
                if (median := row.median(way)) is not None
            ]
            for number, median, stopped in points:
                panel.plot(number, median, color=color, marker=marker, fillstyle="none" if stopped else "full")
            panel.plot([one[0] for one in points], [one[1] for one in points], color=color, label=_LABELS[way])
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_title(f"HAProxy {version}")
        panel.set_xlabel("servers")
        panel.grid(visible=True, which="major", alpha=0.3)
    panels[0][0].set_ylabel("seconds from 0 to N servers")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, metadata={"Date": None})
