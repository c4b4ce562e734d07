"""What happened recently that HAProxy does not show? Kept for the planner, in memory only."""

from __future__ import annotations

from collections import Counter, deque

from dynsrv.model import AdminState, Backend, Process, Server
from dynsrv.planning import Policy, RecentHistory, RecentService
from dynsrv.steps import Add, Applied, Drain, Outcome, Plan, SetWeight, Step, WaitsFor

_TRUST = 60.0
"""Seconds before a reload or restart of HAProxy; servers that served then need not wait for a check after it."""


class _Service:
    """How many servers served within *window* seconds: either backup servers, or the others."""

    def __init__(self, window: float) -> None:
        self._window = window
        self.served: deque[tuple[float, int]] = deque()  # time, and number of servers left serving
        self.departed: deque[tuple[float, int]] = deque()  # time, and number of servers drained

    def recent(self, serving: int, *, now: float) -> RecentService:
        for events in (self.served, self.departed):
            while events and events[0][0] < now - self._window:
                events.popleft()
        peak = max([serving, *(number for _, number in self.served)])
        return RecentService(peak=peak, departed=sum(number for _, number in self.departed))

    def record(self, serving: int, drained: int, *, now: float) -> None:
        self.served.append((now, serving - drained))
        if drained:
            self.departed.append((now, drained))


class History:
    """The recent history of one backend of one proxy. All times are in seconds of the caller's clock."""

    def __init__(self, policy: Policy) -> None:
        self._owns = policy.owns
        self._drains: dict[str, float] = {}
        self._sessions: dict[str, tuple[float, int | None]] = {}  # latest start of the last one; total
        self._active = _Service(policy.limits.window)
        self._backup = _Service(policy.limits.window)
        self._replaced: frozenset[str] = frozenset()  # servers that serve until their successors do
        self._process: Process | None = None
        self._serving: frozenset[int] = frozenset()
        self._seen_at = 0.0
        self._trusted: frozenset[int] = frozenset()
        self._refused: frozenset[str] = frozenset()

    def observe(self, observed: Backend, *, now: float) -> RecentHistory:
        """Note what is observed now, and return what the planner needs to know."""
        ours = [server for server in observed.servers if self._owns(server.name)]
        self._drains = {
            server.name: min(self._drains.get(server.name, now), now - (server.drained_for or 0.0))
            for server in ours
            if server.admin is AdminState.DRAIN
        }
        self._sessions = {
            server.name: self._last_session(server, now=now) for server in ours if server.admin is not AdminState.READY
        }
        if self._process is not None and self._process != observed.process:
            self._trusted = self._serving if now - self._seen_at <= _TRUST else frozenset()
        self._process = observed.process
        # including those that began to serve since the last pass: the source may drop servers just then
        kinds = Counter(server.backup for server in ours if server.serving and server.name not in self._replaced)
        self._serving = frozenset(server.id for server in ours if server.serving)
        self._seen_at = now
        return RecentHistory(
            drains=self._drains,
            last_sessions={name: began for name, (began, _) in self._sessions.items()},
            active=self._active.recent(kinds[False], now=now),
            backup=self._backup.recent(kinds[True], now=now),
            trusted=self._trusted,
            refused=self._refused,
        )

    def _last_session(self, server: Server, *, now: float) -> tuple[float, int | None]:
        """Return the latest time at which a session may have begun on *server*, and how many had begun by then.

        In drain sessions begin by persistence, in maintenance none do.
        """
        known = self._sessions.get(server.name)
        if known is not None and known[1] == server.sessions_total:
            return known
        if known is None and server.admin is AdminState.MAINT:
            return now - max(0.0, server.since_change - 1), server.sessions_total  # whole seconds may be one too many
        return now, server.sessions_total

    def unchanged(self, *, now: float) -> None:
        """Note that nothing has changed since the last observation."""
        self._seen_at = now

    def record(self, plan: Plan, applied: Applied, observed: Backend, *, now: float) -> None:
        """Note the result of a plan."""
        done = [result.step for result in applied.results if result.outcome is Outcome.DONE]
        ended = {step.server for step in done if _ends_service(step)}
        serving = [server for server in observed.servers if server.serving and self._owns(server.name)]
        for service, backup in ((self._active, False), (self._backup, True)):
            of_this_kind = [server for server in serving if server.backup is backup]
            service.record(len(of_this_kind), sum(server.name in ended for server in of_this_kind), now=now)
        self._replaced = frozenset(wait.server for wait in plan.waits if wait.waits_for is WaitsFor.SUCCESSOR)
        self._refused = frozenset(
            result.step.server
            for result in applied.results
            if isinstance(result.step, Add) and result.outcome is not Outcome.DONE
        )
        if not any(isinstance(step, Add) for step in plan.steps):
            self._trusted = frozenset()  # all of them have been added again


def _ends_service(step: Step) -> bool:
    return isinstance(step, Drain) or (isinstance(step, SetWeight) and step.weight == 0)
