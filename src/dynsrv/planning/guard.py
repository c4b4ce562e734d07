"""May so many serving servers leave now? The rules that make it safe to leave dynsrv alone.

    | situation                                               | then                                                 |
    |---------------------------------------------------------|------------------------------------------------------|
    | the snapshot is empty, `on_empty: keep`                 | refuse: nothing of the backend goes                  |
    | new servers are on their way                            | as many as are wanted stay until these serve         |
    | the rest stays within `max_removed` and `min_ready`     | all may leave                                        |
    | it would, if the new servers passed their checks        | wait for them                                        |
    | it would not                                            | refuse                                               |

Only serving servers are counted: one that HAProxy sees DOWN may always go, since nobody misses it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dynsrv.model import Server
from dynsrv.planning.policy import Limits, OnEmpty
from dynsrv.planning.recent_history import RecentHistory
from dynsrv.steps import Refusal, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalRequest:
    """What the guard judges.

    *leaving* are the serving servers that are to get no more requests (and all others, if the snapshot is *empty*).
    *serving* counts all of ours that serve, these included; *foreign* the serving servers that are not ours.
    *wanted* is how many are to serve in the end; *coming* are those of them whose first check is not over, *failing*
    those whose check fails.
    """

    leaving: Sequence[Server]
    serving: int
    wanted: int
    foreign: int = 0
    coming: int = 0
    failing: int = 0
    empty: bool = False


@dataclass(frozen=True, slots=True)
class RemovalDecision:
    """How many of those that leave may do so now, why the others may not, and whether that is a refusal."""

    may_leave: int
    kept: str = ""
    refusal: Refusal | None = None


def evaluate(request: RemovalRequest, *, history: RecentHistory, limits: Limits) -> RemovalDecision:
    """Apply the rules of *limits*. Pure."""
    leaving = len(request.leaving)
    if request.empty and limits.on_empty is OnEmpty.REMOVE:
        return RemovalDecision(leaving)
    if request.empty:
        reason = (
            f"the source wants no server at all: {request.serving} that serve are kept (limits.on_empty: keep);"
            " if that is meant, set it to remove, or use dynsrv apply --force"
        )
        return RemovalDecision(0, "the source wants no server at all", Refusal(Rule.ON_EMPTY, reason))
    if not leaving:
        return RemovalDecision(0)

    # what served at the best time of the window, but for those that went down by themselves
    before = min(history.peak, request.serving + history.departed)
    least = max(before - _allowed(limits, before), limits.min_ready - request.foreign)
    after = request.serving - leaving
    if request.coming:
        within_limits = after + request.coming + request.failing >= least
        enough = min(before, request.wanted) if within_limits else before
        may_leave = min(leaving, max(0, request.serving - max(enough, least)))
        return RemovalDecision(may_leave, f"serves until new servers do: {request.coming} are not ready yet")
    if after >= least:
        return RemovalDecision(leaving)
    if after + request.failing >= least:
        return RemovalDecision(0, f"serves until new servers do: {request.failing} fail their check")
    if before - after > _allowed(limits, before):
        share = f"{limits.max_removed:.0%}" if isinstance(limits.max_removed, float) else str(limits.max_removed)
        reason = (
            f"{leaving} of {request.serving} serving servers would go, {before - after} fewer than served within the"
            f" last {limits.window:g} s, and at most {_allowed(limits, before)} may (limits.max_removed: {share});"
            " if that is meant, use dynsrv apply --force"
        )
        return RemovalDecision(0, "the guard keeps it (limits.max_removed)", Refusal(Rule.MAX_REMOVED, reason))
    reason = (
        f"{leaving} of {request.serving} serving servers would go, and {after + request.foreign} would be left,"
        f" fewer than limits.min_ready: {limits.min_ready}; if that is meant, use dynsrv apply --force"
    )
    return RemovalDecision(0, "the guard keeps it (limits.min_ready)", Refusal(Rule.MIN_READY, reason))


def _allowed(limits: Limits, before: int) -> int:
    if isinstance(limits.max_removed, float):
        return math.floor(limits.max_removed * before + 1e-9)  # 29 % of 100 are 28.999… in floats
    return limits.max_removed
