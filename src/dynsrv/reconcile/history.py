"""What happened recently that HAProxy does not show? Kept for the planner, in memory only."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from dynsrv.model import AdminState, Backend, Process, Server
from dynsrv.planning import Policy, RecentHistory, RecentService
from dynsrv.steps import Add, Admit, Applied, Drain, Outcome, Plan, SetWeight, Step, WaitsFor

_TRUST = 60.0
"""Seconds before a reload or restart of HAProxy; servers that served then need not wait for a check after it."""


class _Service:
    """How many servers served within *window* seconds: either backup servers, or the others."""

    def __init__(self, window: float) -> None:
        self._window = window
        self.served: deque[tuple[float, int]] = deque()  # time, and number of servers, descending
        self.departed: deque[tuple[float, int]] = deque()  # time, and number of servers drained
        self.left = 0
        """How many the last pass left serving."""

    def observe(self, serving: int, replaced: int, *, now: float) -> RecentService:
        """Note that so many serve, *replaced* of them only until their successors do."""
        # Those that the last pass left have served ever since. Those that began to serve since then count, too: the
        # source may drop servers just then.
        self._served(max(min(self.left, serving), serving - replaced), now=now)
        for events in (self.served, self.departed):
            while events and events[0][0] <= now - self._window:
                events.popleft()
        return RecentService(tuple(self.served), tuple(self.departed))

    def record(self, serving: int, drained: int, *, now: float) -> None:
        """Note what a pass left."""
        self.left = serving - drained
        self._served(self.left, now=now)
        if drained:
            self.departed.append((now, drained))

    def unchanged(self, *, now: float) -> None:
        """Note that as many serve as the last pass left."""
        self._served(self.left, now=now)

    def _served(self, number: int, *, now: float) -> None:
        while self.served and self.served[-1][1] <= number:
            self.served.pop()
        self.served.append((now, number))


class History:
    """The recent history of one backend of one proxy. All times are in seconds of the caller's clock."""

    def __init__(self, policy: Policy) -> None:
        self._owns = policy.owns
        self._drains: dict[str, float] = {}
        self._sessions: dict[str, tuple[float, int | None]] = {}  # latest start of the last one; total
        self._active = _Service(policy.limits.window)
        self._backup = _Service(policy.limits.window)
        self._leaving: frozenset[str] = frozenset()  # servers that only wait for a successor or for the file to leave
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
        self._serving = frozenset(server.id for server in ours if server.serving)
        self._seen_at = now
        return RecentHistory(
            drains=self._drains,
            last_sessions={name: began for name, (began, _) in self._sessions.items()},
            active=self._observe_service(self._active, [one for one in ours if not one.backup], now=now),
            backup=self._observe_service(self._backup, [one for one in ours if one.backup], now=now),
            trusted=self._trusted,
            refused=self._refused,
        )

    def _observe_service(self, service: _Service, servers: Sequence[Server], *, now: float) -> RecentService:
        serving = [server.name for server in servers if server.serving]
        return service.observe(len(serving), sum(name in self._leaving for name in serving), now=now)

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
        self._active.unchanged(now=now)
        self._backup.unchanged(now=now)

    def record(self, plan: Plan, applied: Applied, observed: Backend, *, now: float) -> None:
        """Note the result of a plan."""
        done = [result.step for result in applied.results if result.outcome is Outcome.DONE]
        ended = {step.server for step in done if _ends_service(step)}
        unnamed = {wait.server for wait in plan.waits if wait.waits_for is WaitsFor.CONFIG_FILE}
        serving = [server for server in observed.servers if server.serving and self._owns(server.name)]
        for service, backup in ((self._active, False), (self._backup, True)):
            of_this_kind = [server for server in serving if server.backup is backup]
            left = sum(server.name not in unnamed for server in of_this_kind)
            service.record(left, sum(server.name in ended for server in of_this_kind), now=now)
        replaced = {wait.server for wait in plan.waits if wait.waits_for is WaitsFor.SUCCESSOR}
        self._leaving = frozenset(replaced | unnamed)
        # HAProxy may be another process before it is observed again
        admitted = {step.server for step in done if isinstance(step, Admit)}
        if admitted or ended:
            ids = {server.name: server.id for server in observed.servers}
            ids |= {step.server: step.id for step in done if isinstance(step, Add)}
            self._serving = self._serving.union(ids[name] for name in admitted)
            self._serving = self._serving.difference(ids[name] for name in ended)
        self._refused = frozenset(
            result.step.server
            for result in applied.results
            if isinstance(result.step, Add) and result.outcome is not Outcome.DONE
        )
        if not any(isinstance(step, Add) for step in plan.steps):
            self._trusted = frozenset()  # all of them have been added again


def _ends_service(step: Step) -> bool:
    return isinstance(step, Drain) or (isinstance(step, SetWeight) and step.weight == 0)
