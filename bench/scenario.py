"""What is a scenario? One round of it measures each way once, next to each other; the runner makes the rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bench.rows import Target

RAW = "raw"
DYNSRV = "dynsrv"
PLAIN = "plain"


@dataclass(frozen=True)
class Round:
    """What one round is to do, and what it could not.

    *port* is that of the listener behind all servers; *plain*: the plain way, too. *stopped* takes the ways that were
    not let come to their end, so that what they took is less than they would have.
    """

    version: str
    port: int
    plain: bool
    stopped: set[str] = field(default_factory=set)


Measured = Iterator[tuple[str, float]]
"""A way and what it took, as soon as that is known."""


@dataclass(frozen=True)
class Scenario:
    """One line of the table.

    *rounds* are made on each version, *plain_rounds* of them with the plain way, which takes longest. The *quick* ones
    are those of `make bench-quick`, the *large* ones of `make bench-whole` alone. With *points*, (a name, N), its times
    are a part of the plot.
    """

    name: str
    title: str
    run: Callable[[Round], Measured]
    rounds: int = 3
    plain_rounds: int = 1
    unit: str = "s"
    targets: tuple[Target, ...] = ()
    quick: bool = False
    large: bool = False
    points: tuple[str, int] | None = None
