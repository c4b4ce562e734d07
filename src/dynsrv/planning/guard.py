"""May so many serving servers be removed now? The rules that protect a backend from a wrong source.

    | situation                                               | decision                                             |
    |---------------------------------------------------------|------------------------------------------------------|
    | the snapshot is empty, `on_empty: keep`                 | refuse: no server is removed                         |
    | new servers are starting                                | keep as many as are desired until these serve        |
    | the rest satisfies `max_removed` and `min_ready`        | remove all                                           |
    | it would, once the new servers pass their checks        | wait for them                                        |
    | it would not                                            | refuse                                               |

Only serving servers are counted: one that HAProxy considers DOWN may always be removed. Backup servers receive no
requests while another server can, so the rules apply to them separately.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dynsrv.model import Server
from dynsrv.planning.policy import Limits, OnEmpty
from dynsrv.planning.recent_history import RecentService
from dynsrv.steps import Refusal, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalRequest:
    """What the guard decides about: the removal of backup servers, or of the other servers.

    *leaving* are the serving servers that shall receive no more requests (and all others, if the snapshot is *empty*).
    *serving* counts the serving servers that dynsrv owns, including these; *foreign* the other serving servers.
    *wanted* is how many shall serve in the end; of these, *coming* have not finished their first check, and *failing*
    fail it. For *backup* servers, *foreign* includes all servers that are no backup servers.
    """

    leaving: Sequence[Server]
    serving: int
    wanted: int
    foreign: int = 0
    coming: int = 0
    failing: int = 0
    empty: bool = False
    backup: bool = False

    @property
    def kind(self) -> str:
        """What an operator calls these servers."""
        return "backup servers" if self.backup else "servers"


@dataclass(frozen=True, slots=True)
class RemovalDecision:
    """How many servers may leave now, why the others are kept, and the refusal, if it is one."""

    may_leave: int
    kept: str = ""
    refusal: Refusal | None = None


def evaluate(request: RemovalRequest, *, recent: RecentService, limits: Limits) -> RemovalDecision:
    """Apply the rules of *limits*. Pure."""
    leaving = len(request.leaving)
    if request.empty and limits.on_empty is OnEmpty.REMOVE:
        return RemovalDecision(leaving)
    if request.empty:
        reason = (
            f"the source lists no servers: keeping the {request.serving} that are serving (limits.on_empty: keep);"
            " if this is intended, set it to remove, or run dynsrv apply --force"
        )
        return RemovalDecision(0, "the source lists no servers", Refusal(Rule.ON_EMPTY, reason))
    if not leaving:
        return RemovalDecision(0)

    # the peak of the window, less the servers that went down by themselves
    before = min(recent.peak, request.serving + recent.departed)
    allowed = _allowed(limits, before)
    if request.backup and limits.max_removed:
        allowed = max(1, allowed)  # the last one too, while min_ready others serve
    least = max(before - allowed, limits.min_ready - request.foreign)
    after = request.serving - leaving
    if request.coming:
        within_limits = after + request.coming + request.failing >= least
        enough = min(before, request.wanted) if within_limits else before
        may_leave = min(leaving, max(0, request.serving - max(enough, least)))
        return RemovalDecision(may_leave, f"keeps serving until new servers do: {request.coming} not ready yet")
    if after >= least:
        return RemovalDecision(leaving)
    if after + request.failing >= least:
        return RemovalDecision(0, f"keeps serving until new servers do: {request.failing} failing their health check")
    if before - after > allowed:
        share = f"{limits.max_removed:.0%}" if isinstance(limits.max_removed, float) else str(limits.max_removed)
        reason = (
            f"{leaving} of {request.serving} serving {request.kind} would be removed, {before - after} fewer than"
            f" served within the last {limits.window:g} s; the limit is {allowed}"
            f" (limits.max_removed: {share}); if this is intended, run dynsrv apply --force"
        )
        return RemovalDecision(0, "kept by the guard (limits.max_removed)", Refusal(Rule.MAX_REMOVED, reason))
    reason = (
        f"{leaving} of {request.serving} serving {request.kind} would be removed and {after + request.foreign} would"
        f" remain, fewer than limits.min_ready: {limits.min_ready}; if this is intended, run dynsrv apply --force"
    )
    return RemovalDecision(0, "kept by the guard (limits.min_ready)", Refusal(Rule.MIN_READY, reason))


def _allowed(limits: Limits, before: int) -> int:
    if isinstance(limits.max_removed, float):
        return math.floor(limits.max_removed * before + 1e-9)  # 29 % of 100 are 28.999… in floats
    return limits.max_removed
