"""A HAProxy, dynsrv's passes over it, and everything that must never happen, watched at every line that is sent."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from copy import deepcopy
from dataclasses import replace
from itertools import islice

from dynsrv.haproxy.proxy import HAProxy
from dynsrv.model import Endpoint, EndpointState
from dynsrv.planning import Admission, DrainTimeoutAction, Policy, make_plan
from dynsrv.reconcile.history import History
from dynsrv.runtime import Client
from dynsrv.steps import Applied, Delete, Outcome, Plan
from tests.fakes.builders import the_targets
from tests.fakes.haproxy import FakeBackend, FakeHAProxy, FakeServer
from tests.fakes.haproxy_process import CONFIGURED, DRAIN, ENABLED, MAINT, PAUSED
from tests.fakes.streams import Wire

DRAIN_TIMEOUT = 1.5  # seconds, of which one passes between two passes
PATIENCE = 4  # passes until sessions end by themselves where they are not closed

_LEADS_TO_THE_END: set[Hashable] = set()
"""Places from which a world has converged."""


def is_held(server: FakeServer) -> bool:
    """Whether an operator put it into the drain or the maintenance that it is in.

    dynsrv gives its own weight 0, and disables the agent of those that have one.
    """
    if not server.admin:
        return False
    if server.agent_state & ENABLED:
        return True  # or its agent put it there
    checked = server.check_state & CONFIGURED
    new = not server.check_state & PAUSED if checked else server.agent_state
    return bool(server.weight) and not (server.admin == MAINT and new)


class World:
    """One backend in which *servers* are and *wanted* is wanted. A pass is made as the reconciler makes it."""

    def __init__(
        self,
        servers: list[FakeServer],
        *,
        wanted: tuple[Endpoint, ...],
        policy: Policy,
        version: str = "3.4.7-1",
        foreign: bool = True,
    ) -> None:
        configured = [FakeServer("web1", address="10.0.0.1", id=1)] if foreign else []
        self.haproxy = FakeHAProxy(version, backends=[FakeBackend(servers=configured)])
        for server in servers:
            self.haproxy.backend().add(replace(server, changed_at=self.haproxy.process.now()))
        self.wanted = wanted
        self.policy = policy
        self.passes = 0
        self.story: list[str] = []
        self._wire = Wire(self.haproxy)
        self._wire.before_line = self._watch
        self._client = Client("/run/haproxy/admin.sock", opener=self._wire)
        self._proxy = HAProxy("lb1", self._client)
        self._history = History(policy)
        self._serving = self._now_serving()
        self._served_at = {server.name: 0.0 for server in servers}  # when it last got new requests
        self._began_at: dict[str, float] = {}  # when its last session began
        # those whose first check need not be awaited: somebody else let them in, or they served before a reload
        self._let_in = {server.id for server in servers if not server.admin}
        self._seen_serving: set[int] = set()
        self.held = {server.name for server in servers if is_held(server)}
        """Servers that an operator put into their drain or maintenance."""
        self._once_held = set(self.held)

    def close(self) -> None:
        """End what is open."""
        self._client.close()

    def copy(self) -> World:
        """Return another world in which all is as it is in this one."""
        other = World([], wanted=self.wanted, policy=self.policy, version=self.haproxy.version)
        other.haproxy.advance(self.haproxy.clock())
        other.haproxy.backend().servers[:] = [replace(server) for server in self.haproxy.backend().servers]
        other.passes = self.passes
        other.story = list(self.story)
        other.held = set(self.held)
        other._once_held = set(self._once_held)
        other._let_in = set(self._let_in)
        other._seen_serving = set(self._seen_serving)
        other._served_at = dict(self._served_at)
        other._began_at = dict(self._began_at)
        other._serving = set(self._serving)
        other._history = deepcopy(self._history)
        return other

    async def make_pass(self, *, steps: int | None = None) -> Plan:
        """Make one pass, of which only the first *steps* get as far as HAProxy."""
        self.passes += 1
        serving = len(self._now_serving())
        self._seen_serving = {server.id for server in self.ours() if server.takes_traffic}
        observed = await self._proxy.observe("be_app", with_maxconn=False)
        now = self.haproxy.clock()
        history = self._history.observe(observed, now=now)
        desired = the_targets(*self.wanted, policy=self.policy)
        plan = make_plan(desired=desired, observed=observed, history=history, now=now, policy=self.policy)
        sent = plan.steps[:steps]
        self.story.append(f"pass {self.passes}: {[f'{step.kind} {step.server}' for step in sent]}")
        applied = await self._proxy.apply(observed, sent) if sent else Applied()
        assert applied.error is None, str(self)
        for result in applied.results:
            expected = isinstance(result.step, Delete) and result.expected
            assert result.outcome is Outcome.DONE or expected, f"{result}\n{self}"
        self._history.record(plan, applied, observed, now=now)
        self._look()
        left = len(self._serving)
        assert left >= min(serving, self.policy.limits.min_ready), f"{left} of {serving} are left serving\n{self}"
        return plan

    def restart_dynsrv(self) -> None:
        """Forget all that is not in HAProxy."""
        self.story.append("dynsrv restarts")
        self._history = History(self.policy)
        self._proxy = HAProxy("lb1", self._client)

    def reload_haproxy(self) -> None:
        """Lose all servers that are not in the configuration file."""
        self.story.append("HAProxy reloads")
        admitted = (
            server for server in self.ours() if server.takes_traffic or (not server.admin and server.passed_once)
        )
        self._let_in = self._seen_serving | {server.id for server in admitted}
        self.haproxy.reload()
        self._serving = self._now_serving()
        self._served_at.clear()
        self.held.clear()

    def operate(self, name: str, state: str) -> None:
        """Put a server into *state* by hand."""
        self.story.append(f"an operator sets {name} {state}")
        server = self.haproxy.server(name)
        server.set_state(state, self.haproxy.process)
        self._serving = self._now_serving()
        if state == "ready":
            self._let_in.add(server.id)
            self.held.discard(name)
        elif is_held(server):
            self.held.add(name)
            self._once_held.add(name)

    def agent_says(self, name: str, reply: str) -> None:
        """Let the agent of a server say something, if it is asked."""
        self.story.append(f"the agent of {name} says {reply}")
        server = self.haproxy.server(name)
        admin = server.admin
        self.haproxy.agent_says(name, reply)
        self._serving = self._now_serving()
        if admin and not server.admin:
            self._let_in.add(server.id)
        self.held.discard(name)
        if is_held(server):
            self.held.add(name)
            self._once_held.add(name)

    def open_session(self, name: str) -> None:
        """Begin a session with a server."""
        self.story.append(f"a session begins on {name}")
        self.haproxy.open_session(name)
        self._began_at[name] = self.haproxy.clock()

    def let_time_pass(self, passing: Callable[[FakeServer], bool] = lambda _: True) -> None:
        """Let a second pass, in which checks run, and after some passes the sessions end that nobody closes."""
        self.haproxy.advance(1.0)
        self.haproxy.run_checks(passing)
        self._serving = self._now_serving()
        if self.policy.on_drain_timeout is DrainTimeoutAction.WAIT and self.passes >= PATIENCE:
            for server in self.haproxy.process.servers():
                server.sessions = 0

    async def converge(self, *, within: int, to_the_end: bool = False) -> None:
        """Make passes until nothing is to be done or waited for, at most so many.

        Unless *to_the_end* is asked for, it stops where another world has gone on from, for the same must follow.
        """
        passed = []
        for _ in range(within):
            here = self.place()
            passed.append(here)
            if here in _LEADS_TO_THE_END and not to_the_end:
                break
            converged = (await self.make_pass()).converged
            self.let_time_pass()
            if converged:
                self._check_that_it_is_as_desired()
                break
        else:
            raise AssertionError(f"not converged after {within} passes\n{self}")
        _LEADS_TO_THE_END.update(passed)

    def place(self) -> Hashable:
        """Return everything that decides what follows. Times count only as far as they make a difference."""
        now = self.haproxy.clock()
        server_now = self.haproxy.process.now()
        longest = 2 * DRAIN_TIMEOUT
        servers = tuple(
            (
                *(server.name, server.id, server.admin, server.operational, server.check_state, server.check_result),
                *(server.agent_state, server.initial_weight),
                *(server.weight, server.sessions, server.closing, server.idle, server.passed_once),
                *(
                    server.id in self._let_in,
                    server.id in self._seen_serving,
                    server.name in self.held,
                    server.name in self._once_held,
                ),
                min(server_now - server.changed_at, longest) if server.in_maintenance else 0,
                min(now - self._served_at.get(server.name, now), longest) if server.sessions else 0,
                min(now - self._began_at.get(server.name, 0), longest) if server.sessions else 0,
            )
            for server in self.ours()
        )
        history = self._history
        totals = {server.name: server.total for server in self.ours()}
        remembered = (
            tuple(
                (name, min(now - began, longest), total == totals.get(name))
                for name, (began, total) in history._sessions.items()
            ),
            tuple((name, min(now - since, longest)) for name, since in history._drains.items()),
            # no story is as long as the window
            max((number for _, number in history._active.served), default=-1),
            history._active.left,
            sum(number for _, number in history._active.departed),
            (history._trusted, history._serving, history._refused),
            history._process is not None and history._process.pid == self.haproxy.process.pid,
        )
        waits = self.policy.on_drain_timeout is DrainTimeoutAction.WAIT and any(
            server.sessions for server in self.ours()
        )
        patience = min(self.passes, PATIENCE) if waits else 0
        return self.haproxy.process.number, self.policy, self.wanted, servers, remembered, patience

    def __str__(self) -> str:
        return "\n".join([f"wanted: {self.wanted!r}", f"policy: {self.policy}", *self.story, *map(str, self.ours())])

    # ---- what must hold

    def ours(self) -> list[FakeServer]:
        """Return the servers that dynsrv may touch."""
        return [server for server in self.haproxy.backend().servers if server.name != "web1"]

    def _now_serving(self) -> set[str]:
        return {server.name for server in self.haproxy.backend().servers if server.takes_traffic}

    def _look(self) -> None:
        """Compare what serves now with what served before the last line."""
        serving = self._now_serving()
        for server in self.ours():
            if server.name in serving - self._serving and self.policy.admission is Admission.AFTER_CHECK:
                checked = not server.check_state & CONFIGURED or server.passed_once or server.id in self._let_in
                assert checked, f"{server.name} serves before its first passed check\n{self}"
            if server.name in serving or server.name not in self._served_at:
                self._served_at[server.name] = self.haproxy.clock()
        self._serving = serving
        self.held &= {server.name for server in self.ours()}

    def _watch(self, line: str) -> None:
        self._look()
        assert "web1" not in line, f"a foreign server is touched: {line}\n{self}"
        words = line.split()
        if words[:2] == ["shutdown", "sessions"]:
            path = words[3]
        elif words[-2:] == ["state", "maint"]:
            path = words[2]
            self.held.discard(path.partition("/")[2])  # from now on dynsrv has put it there
        elif words[:2] == ["disable", "agent"]:
            self.held.discard(words[2].partition("/")[2])
            return
        elif words[:2] == ["set", "server"] and words[3] == "weight":
            server = self.haproxy.server(words[2].partition("/")[2])
            assert not server.agent_state & ENABLED, f"its agent decides about the weight: {line}\n{self}"
            return
        else:
            return
        server = self.haproxy.server(path.partition("/")[2])
        if server.sessions:
            drained_for = self.haproxy.clock() - self._served_at[server.name]
            assert drained_for >= self.policy.drain_timeout, f"{line} after {drained_for} s of drain\n{self}"
            if words[0] == "shutdown":
                lasted = self.haproxy.clock() - self._began_at.get(server.name, 0)
                assert lasted >= self.policy.drain_timeout, f"{line} after a session of {lasted} s\n{self}"

    def _check_that_it_is_as_desired(self) -> None:
        ours = {(server.address, server.port): server for server in self.ours()}
        assert self.haproxy.backend().find("web1") is None or self.haproxy.traffic("web1")
        assert len(ours) == len(self.ours()), f"two servers for one endpoint\n{self}"
        assert set(ours) == {(endpoint.address, endpoint.port) for endpoint in self.wanted}, str(self)
        desired = the_targets(*self.wanted, policy=self.policy)
        for endpoint in self.wanted:
            server = ours[endpoint.address, endpoint.port]
            if server.name in self.held:
                assert is_held(server), f"what an operator held was let go\n{self}"
            elif server.name in self._once_held and is_held(server):
                pass  # it was to be removed meanwhile, and is wanted again: either is right
            elif endpoint.state is EndpointState.DRAIN:
                assert server.admin == DRAIN, str(self)
            else:
                target = desired[endpoint.address, endpoint.port]
                assert bool(server.agent_state & ENABLED) is (target.agent and target.weight > 0), str(self)
                if target.agent and target.weight:
                    assert server.id in islice(target.ids(), 8), str(self)
                    assert server.initial_weight == target.weight, str(self)
                else:
                    assert self.haproxy.traffic(server.name) or not target.weight, str(self)
                    assert (server.id, server.weight) == (target.id, target.weight), str(self)
