"""Fetch the Prometheus that the integration tests run against, with its promtool.

    python -m tools.fetch_prometheus [--into .prometheus]    # in the project's folder

The result is a runnable `.prometheus/prometheus` and `.prometheus/promtool`, those of Debian.
"""

from tools.packaged import Packaged

# The one of bookworm.
PROMETHEUS = Packaged(
    name="Prometheus",
    package="prometheus",
    branch="2.42",
    programs=("prometheus", "promtool"),
    argument="--version",
    says="{}, version ",
)

if __name__ == "__main__":
    PROMETHEUS.main()
