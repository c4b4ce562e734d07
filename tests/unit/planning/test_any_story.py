"""The same promise over stories that nobody would think of: several servers, an operator, failing checks, sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from dynsrv.model import Endpoint, EndpointState
from dynsrv.planning import NO_LIMITS, Admission, DrainTimeoutAction, Limits
from tests.fakes.builders import CHECKED, a_policy, an_endpoint
from tests.fakes.haproxy import FakeServer
from tests.fakes.haproxy_process import DRAIN
from tests.fakes.loop import FakeTimeLoop
from tests.unit.planning.world import DRAIN_TIMEOUT, World

endpoints = st.builds(
    an_endpoint,
    st.integers(1, 4),
    weight=st.sampled_from([None, None, 7]),
    state=st.sampled_from([EndpointState.READY, EndpointState.READY, EndpointState.READY, EndpointState.DRAIN]),
)
snapshots = st.lists(endpoints, max_size=4, unique_by=lambda endpoint: endpoint.address).map(tuple)
AGENT = ("agent-check", "agent-port 9")
options = st.sampled_from([CHECKED, ("check", "inter 9s"), (*CHECKED, *AGENT)])
replies = st.sampled_from(["0%", "50%", "100%", "up", "down", "ready", "drain", "maint", "up ready 100%", "drain 0%"])


class AnyStory(RuleBasedStateMachine):
    """Everything that can happen, in any order; then it is left alone, and has to end as desired."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner(loop_factory=FakeTimeLoop)

    def run(self, story: Coroutine[Any, Any, object]) -> None:
        self._runner.run(story)

    @initialize(
        wanted=snapshots,
        options=options | st.sampled_from([(), AGENT]),
        admission=st.sampled_from(Admission),
        on_drain_timeout=st.sampled_from(DrainTimeoutAction),
        version=st.sampled_from(["2.5.1", "2.6.12", "3.0.11", "3.2.26", "3.4.7"]),
        foreign=st.booleans(),
    )
    def begin(
        self,
        *,
        wanted: tuple[Endpoint, ...],
        options: tuple[str, ...],
        admission: Admission,
        on_drain_timeout: DrainTimeoutAction,
        version: str,
        foreign: bool,
    ) -> None:
        policy = a_policy(
            admission=admission,
            on_drain_timeout=on_drain_timeout,
            options=options,
            drain_timeout=DRAIN_TIMEOUT,
            limits=Limits(),
        )
        self.world = World([], wanted=wanted, policy=policy, version=version, foreign=foreign)

    @rule(steps=st.none() | st.integers(0, 3))
    def a_pass(self, steps: int | None) -> None:
        self.run(self.world.make_pass(steps=steps))

    @rule(failing=st.sets(st.integers(1, 4), max_size=2))
    def time_passes(self, failing: set[int]) -> None:
        self.world.let_time_pass(lambda server: server.address not in {f"10.0.0.{host}" for host in failing})

    @rule(wanted=snapshots)
    def the_source_changes_its_mind(self, wanted: tuple[Endpoint, ...]) -> None:
        self.world.wanted = wanted

    @precondition(lambda self: self.world.policy.has_check)
    @rule(options=options)
    def the_options_change(self, options: tuple[str, ...]) -> None:
        self.world.policy = replace(self.world.policy, options=options)

    @rule()
    def dynsrv_restarts(self) -> None:
        self.world.restart_dynsrv()

    @rule()
    def haproxy_reloads(self) -> None:
        self.world.reload_haproxy()

    @precondition(lambda self: any(server.takes_traffic for server in self.world.ours()))
    @rule(data=st.data())
    def a_session_begins(self, data: st.DataObject) -> None:
        server = self.one_of(data, [server for server in self.world.ours() if server.takes_traffic])
        self.world.open_session(server.name)

    @precondition(lambda self: any(server.admin == DRAIN for server in self.world.ours()))
    @rule(data=st.data())
    def a_client_sticks_to_a_server_in_drain(self, data: st.DataObject) -> None:
        server = self.one_of(data, [server for server in self.world.ours() if server.admin == DRAIN])
        self.world.open_session(server.name)

    @precondition(lambda self: any(server.sessions for server in self.world.ours()))
    @rule(data=st.data())
    def a_session_ends(self, data: st.DataObject) -> None:
        server = self.one_of(data, [server for server in self.world.ours() if server.sessions])
        self.world.haproxy.close_session(server.name)

    @precondition(lambda self: any(server.agent_state for server in self.world.ours()))
    @rule(data=st.data(), reply=replies)
    def an_agent_says_something(self, data: st.DataObject, reply: str) -> None:
        server = self.one_of(data, [server for server in self.world.ours() if server.agent_state])
        self.world.agent_says(server.name, reply)

    @precondition(lambda self: self.world.ours())
    @rule(data=st.data(), state=st.sampled_from(["ready", "drain", "maint"]))
    def an_operator_does_something(self, data: st.DataObject, state: str) -> None:
        self.world.operate(self.one_of(data, self.world.ours()).name, state)

    def one_of(self, data: st.DataObject, servers: list[FakeServer]) -> FakeServer:
        return data.draw(st.sampled_from(servers))

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.end()
        finally:
            self._runner.close()

    def end(self) -> None:
        """Leave the world alone: nobody and no agent holds anything, the guard lets all through, and checks pass."""
        for name in list(self.world.held):
            self.world.operate(name, "ready")
        for server in self.world.ours():
            self.world.agent_says(server.name, "up ready 100%")
        self.world.policy = replace(self.world.policy, limits=NO_LIMITS)
        self.run(self.world.converge(within=25, to_the_end=True))
        self.world.close()


TestAnyStory = AnyStory.TestCase
TestAnyStory.settings = settings(stateful_step_count=30)
