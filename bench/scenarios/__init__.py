"""What is measured, and what must it reach?"""

from __future__ import annotations

from functools import partial

from bench.rows import Target
from bench.scenario import DYNSRV, PLAIN, RAW, Scenario
from bench.scenarios import checked, consul, daemon, drain, fill, fleet, steady, traffic

_BEFORE_3_4 = ("2.6", "3.0", "3.2")

SCENARIOS = (
    Scenario(
        "fill-100", "fill 0 → 100", partial(fill.fill, number=100), rounds=5, plain_rounds=5, points=("fill", 100)
    ),
    Scenario(
        "fill-1000",
        "fill 0 → 1,000",
        partial(fill.fill, number=1_000),
        rounds=5,
        plain_rounds=3,
        quick=True,
        points=("fill", 1_000),
    ),
    Scenario(
        "fill-10000",
        "fill 0 → 10,000",
        partial(fill.fill, number=10_000),
        points=("fill", 10_000),
        targets=(
            Target(DYNSRV, RAW, at_most=1.5),
            Target(PLAIN, DYNSRV, at_least=4, versions=_BEFORE_3_4),
            Target(PLAIN, DYNSRV, at_least=1.5, versions=("3.4",)),
        ),
    ),
    Scenario(
        "fill-30000",
        "fill 0 → 30,000",
        partial(fill.fill, number=30_000),
        rounds=1,
        large=True,
        points=("fill", 30_000),
        targets=(Target(DYNSRV, RAW, at_most=1.4), Target(PLAIN, DYNSRV, at_least=4, versions=_BEFORE_3_4)),
    ),
    *(
        Scenario(
            f"fill-{name}",
            f"fill 0 → 3,000, {name}",
            partial(fill.fill, number=3_000, balance=balance),
            plain_rounds=0,
        )
        for name, balance in (
            ("leastconn", "balance leastconn"),
            ("random", "balance random"),
            ("hash", "balance uri\nhash-type consistent"),
        )
    ),
    Scenario("fill-checked", "fill 0 → 1,000, after-check", partial(checked.after_check, number=1_000), quick=True),
    Scenario(
        "empty-10000",
        "empty 10,000 → 0, no sessions",
        partial(fill.empty, number=10_000),
        targets=(Target(DYNSRV, RAW, at_most=3), Target(PLAIN, DYNSRV, at_least=2)),
    ),
    Scenario("empty-1000", "empty 1,000 → 0, no sessions", partial(fill.empty, number=1_000), quick=True),
    Scenario(
        "drain", "empty 1,000 → 0, after the last of 100 requests", partial(drain.drain, number=1_000), quick=True
    ),
    Scenario("churn", "replace 1,000 of 10,000", partial(fill.churn, number=10_000)),
    Scenario(
        "no-op",
        "no-op pass at 10,000",
        partial(steady.no_op, number=10_000),
        targets=(Target(DYNSRV, RAW, at_most=4),),
        quick=True,
    ),
    Scenario(
        "change",
        "one change at 10,000",
        partial(steady.change, number=10_000),
        targets=(Target(DYNSRV, RAW, at_most=4),),
    ),
    Scenario("change-file", "one change at 10,000, by file", partial(steady.change_of_file, number=10_000)),
    Scenario(
        "fleet",
        "50 HAProxies, 200 servers each",
        partial(fleet.fleet, proxies=50, number=200),
        targets=(Target(DYNSRV, RAW, at_most=1.6),),
    ),
    Scenario(
        "memory",
        "resident memory at 30,000",
        partial(daemon.memory, number=30_000),
        rounds=1,
        large=True,
        unit="MiB",
        targets=(Target(daemon.RESIDENT, at_most=150),),
    ),
    Scenario(
        "idle",
        "CPU while idle at 10,000",
        partial(daemon.idle, number=10_000, seconds=30),
        rounds=1,
        unit="% of a core",
        targets=(Target(DYNSRV, at_most=1.5),),
    ),
    Scenario(
        "stall",
        "event loop's longest stall, fill 0 → 10,000",
        partial(daemon.stall, number=10_000),
        rounds=1,
        unit="ms",
        targets=(Target(daemon.STALL, at_most=50),),
    ),
    Scenario(
        "traffic",
        "p99 of other traffic, fill 0 → 1,000",
        partial(traffic.neighbours, number=1_000),
        unit="ms",
        targets=(Target(DYNSRV, traffic.QUIET, at_most=1.5),),
    ),
    Scenario("consul", "registration in Consul → first request", consul.registration, rounds=1, quick=True),
)
"""In the order of the table."""
