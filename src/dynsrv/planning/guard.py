"""May so many serving servers be removed now? The rules that protect a backend from a wrong source.

    | situation                                               | decision                                             |
    |---------------------------------------------------------|------------------------------------------------------|
    | the snapshot is empty, `on_empty: keep`                 | refuse: no server is removed                         |
    | new servers are starting                                | keep as many as are desired until these serve        |
    | the rest satisfies `max_removed` and `min_ready`        | remove all                                           |
    | it would, once the new servers pass their checks        | wait for them; remove only what is stopping          |
    | it would not                                            | remove as many as the limits allow, refuse the rest  |

Only serving servers are counted: one that HAProxy considers DOWN may always be removed. Backup servers receive no
requests while another server can, so the rules apply to them separately.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dynsrv.planning.policy import Limits, OnEmpty
from dynsrv.planning.recent_history import RecentService
from dynsrv.steps import Refusal, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalRequest:
    """What the guard decides about: the removal of backup servers, or of the other servers.

    *leaving* is how many serving servers shall receive no more requests (and all others, if the snapshot is *empty*);
    of these, *stopping* are about to end by themselves, as the source says. *serving* counts the serving servers that
    dynsrv owns, including these; *foreign* the other serving servers. *wanted* is how many shall serve in the end; of
    these, *coming* have not finished their first check, and *failing* fail it. For *backup* servers, *foreign* includes
    all servers that are no backup servers.
    """

    leaving: int
    serving: int
    wanted: int
    stopping: int = 0
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
    """How many servers may leave now, why the others are kept, and the refusal, if it is one.

    *deadline*: in how many seconds more may leave, if nothing else changes; None: never, or it depends on others.
    """

    may_leave: int
    kept: str = ""
    refusal: Refusal | None = None
    deadline: float | None = None


def evaluate(request: RemovalRequest, *, recent: RecentService, now: float, limits: Limits) -> RemovalDecision:
    """Apply the rules of *limits*. Pure."""
    leaving = request.leaving
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

    before = recent.before(request.serving)
    least = max(_share_left(request, limits, before), limits.min_ready - request.foreign)
    may_leave = min(leaving, max(0, request.serving - least))
    after = request.serving - leaving
    if request.coming:
        within_limits = after + request.coming + request.failing >= least
        enough = min(before, request.wanted) if within_limits else before
        may_leave = min(leaving, max(0, request.serving - max(enough, least)))
        return RemovalDecision(may_leave, f"keeps serving until new servers do: {request.coming} not ready yet")
    if may_leave == leaving:
        return RemovalDecision(leaving)
    if after + request.failing >= least:
        kept = f"keeps serving until new servers do: {request.failing} failing their health check"
        return RemovalDecision(min(may_leave, request.stopping), kept)
    return _refused(request, may_leave, recent=recent, now=now, limits=limits)


def _refused(
    request: RemovalRequest, may_leave: int, *, recent: RecentService, now: float, limits: Limits
) -> RemovalDecision:
    """Let *may_leave* servers leave, and say why not the others, and until when."""
    before = recent.before(request.serving)
    what = f"{request.leaving} of {request.serving} serving {request.kind} would be removed: {may_leave} now,"
    rest = request.leaving - may_leave
    force = "if this is intended, run dynsrv apply --force"
    if limits.min_ready - request.foreign >= _share_left(request, limits, before):
        remain = request.serving + request.foreign - request.leaving
        reason = f"{what} {rest} not: {remain} would remain, fewer than limits.min_ready: {limits.min_ready}; {force}"
        return RemovalDecision(may_leave, "kept by the guard (limits.min_ready)", Refusal(Rule.MIN_READY, reason))
    deadline = _next_allowance(request, may_leave, recent=recent, now=now, limits=limits)
    when = "not" if deadline is None else f"in {math.ceil(deadline)} s at the earliest"
    share = f"{limits.max_removed:.0%}" if isinstance(limits.max_removed, float) else str(limits.max_removed)
    reason = (
        f"{what} {rest} {when}: at most {_allowed(request, limits, before)} of {before} may be removed within"
        f" {limits.window:g} s (limits.max_removed: {share}); {force}"
    )
    kept = "kept by the guard (limits.max_removed)"
    return RemovalDecision(may_leave, kept, Refusal(Rule.MAX_REMOVED, reason), deadline)


def _next_allowance(
    request: RemovalRequest, may_leave: int, *, recent: RecentService, now: float, limits: Limits
) -> float | None:
    """Return in how many seconds another server may leave, after *may_leave* of them did now."""
    serving = request.serving - may_leave
    later = RecentService(recent.served, (*recent.departed, (now, may_leave)))
    for forgotten in sorted({at for at, _ in (*later.served, *later.departed)}):
        before = max(serving, later.before(serving, after=forgotten))
        if serving > max(_share_left(request, limits, before), limits.min_ready - request.foreign):
            return forgotten + limits.window - now
    return None


def _share_left(request: RemovalRequest, limits: Limits, before: int) -> int:
    """Return how many of *before* have to keep serving."""
    return before - _allowed(request, limits, before)


def _allowed(request: RemovalRequest, limits: Limits, before: int) -> int:
    """Return how many of *before* may be removed."""
    if isinstance(limits.max_removed, int):
        return limits.max_removed
    allowed = math.floor(limits.max_removed * before + 1e-9)  # 29 % of 100 are 28.999… in floats
    # the last backup server, too, while min_ready others serve
    return max(1, allowed) if request.backup and limits.max_removed else allowed
