"""What a source tells over stories that nobody would think of: outages, restores, tokens, servers that lag behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from dynsrv.errors import SourceError
from dynsrv.model import EndpointState, Snapshot
from dynsrv.sources.consul.endpoints import InstanceMapper
from dynsrv.sources.consul.source import ConsulSource
from dynsrv.sources.consul.transport import Response
from tests.fakes.consul import NO_LEADER, A, Acl, B, FakeConsul, FakeInstance, Trouble, an_instance
from tests.fakes.follower import Follower
from tests.fakes.loop import FakeTimeLoop
from tests.unit.sources.consul.watches import LONGEST_WAIT, a_watch

T = TypeVar("T")

Truth = frozenset[tuple[str, EndpointState]]

HTML = Response(200, b"<html>Please log in</html>", 99)
NOTHING_READABLE = (Acl(services=()), Acl(nodes=()), Acl(known=False), Acl(denied={"service web"}))

hosts = st.integers(1, 3)
states: st.SearchStrategy[dict[str, Any]] = st.sampled_from([{}, {}, {"status": "critical"}, {"maintenance": True}])
addresses = st.sampled_from([A, B])
troubles = st.sampled_from([*Trouble, NO_LEADER, HTML])
seconds = st.sampled_from([0.0, 0.1, 0.1, 2.5, 2.5, 45.0])
"""How long a story rests after what happened: not at all, so that a question is kept, or until all is settled."""


def truth_of(instances: list[FakeInstance]) -> Truth:
    """What the backend should have."""
    return frozenset(
        (one.address, EndpointState.DRAIN if one.maintenance else EndpointState.READY)
        for one in instances
        if one.maintenance or one.status != "critical"
    )


def told(snapshot: Snapshot) -> Truth:
    return frozenset((endpoint.address, endpoint.state) for endpoint in snapshot.endpoints)


class AnyStory(RuleBasedStateMachine):
    """Whatever happens, what is told was true, in the order in which it was; and in the end it is what is true."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner(loop_factory=FakeTimeLoop)
        self.followers: list[Follower[Snapshot]] = []
        self.read: dict[Follower[Snapshot], tuple[int, int]] = {}

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        """Run *story*, and whatever needs no time after it: nothing happens between a response and its verification."""

        async def settle() -> T:
            result = await story
            for _ in range(100):
                await asyncio.sleep(0)
            return result

        return self._runner.run(settle())

    @initialize(
        at_first=st.sets(hosts), stale=st.booleans(), near=st.booleans(), acl=st.booleans(), newer=st.booleans()
    )
    def begin(self, *, at_first: set[int], stale: bool, near: bool, acl: bool, newer: bool) -> None:
        self.consul = FakeConsul(*map(an_instance, at_first), addresses=(A, B))
        self.consul.latency = 0.0
        self.consul.acl = Acl() if acl else None
        self.consul.tells_of_filtering = newer
        self.watch = a_watch(self.consul, stale=stale, near="_agent" if near else None)
        self.truths = [truth_of(self.consul.catalog.of("web"))]
        self.log = [self.consul.catalog.copy()]
        """What the catalog was after each change since it was last restored."""
        self.snapshot = self.consul.catalog.copy()
        self.followers.append(self.a_follower())

    def a_follower(self) -> Follower[Snapshot]:
        async def subscribe() -> Follower[Snapshot]:
            return Follower(ConsulSource(self.watch, InstanceMapper(), backend="be_app").watch, retry=1.0)

        follower = self.run(subscribe())
        self.read[follower] = (0, 0)
        return follower

    def note(self) -> None:
        """Remember what is true now."""
        self.truths.append(truth_of(self.consul.catalog.of("web")))
        self.log.append(self.consul.catalog.copy())

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        if seconds:
            self.run(asyncio.sleep(seconds))
            self.check()

    # ---- what happens

    @rule(host=hosts, state=states, rest=seconds)
    def an_instance_comes_or_changes(self, host: int, state: dict[str, Any], rest: float) -> None:
        self.consul.register(an_instance(host, **state))
        self.note()
        self.pass_(rest)

    @precondition(lambda self: self.consul.catalog.of("web"))
    @rule(data=st.data(), rest=seconds)
    def an_instance_goes(self, data: st.DataObject, rest: float) -> None:
        self.consul.deregister(data.draw(st.sampled_from(self.consul.catalog.of("web"))))
        self.note()
        self.pass_(rest)

    @precondition(lambda self: self.consul.catalog.of("web"))
    @rule(rest=seconds)
    def all_go(self, rest: float) -> None:
        for instance in self.consul.catalog.of("web"):
            self.consul.deregister(instance)
            self.note()
        self.pass_(rest)

    @rule(host=hosts, rest=seconds)
    def another_service_changes(self, host: int, rest: float) -> None:
        self.consul.register(an_instance(host, service="other", output=str(self.consul.catalog.index)))
        self.pass_(rest)

    @rule()
    def a_snapshot_is_taken(self) -> None:
        self.snapshot = self.consul.catalog.copy()

    @rule(rest=seconds)
    def the_snapshot_is_restored(self, rest: float) -> None:
        self.consul.not_caught_up = None
        self.consul.restore(self.snapshot)
        self.log.clear()
        self.note()
        self.pass_(rest)

    @rule(address=addresses, trouble=troubles, rest=seconds)
    def an_agent_gets_into_trouble(self, address: str, trouble: Trouble | Response, rest: float) -> None:
        self.consul.agents[address].fail(trouble)
        self.pass_(rest)

    @rule(trouble=troubles, rest=seconds)
    def only_the_other_agent_answers(self, trouble: Trouble | Response, rest: float) -> None:
        for address, agent in self.consul.agents.items():
            agent.fail(trouble if address == self.watch.agents.address else None)
        self.pass_(rest)

    @rule(rest=seconds)
    def all_agents_get_out_of_trouble(self, rest: float) -> None:
        for agent in self.consul.agents.values():
            agent.fail(None)
        self.pass_(rest)

    @rule(address=addresses, ignores=st.booleans())
    def a_proxy_stands_before_an_agent(self, address: str, *, ignores: bool) -> None:
        self.consul.agents[address].ignores_index = ignores

    @rule(address=addresses)
    def a_follower_lags_behind(self, address: str) -> None:
        self.consul.agents[address].lag()

    @rule(address=addresses, rest=seconds)
    def a_follower_catches_up(self, address: str, rest: float) -> None:
        self.consul.agents[address].catch_up()
        self.pass_(rest)

    @rule(data=st.data(), rest=seconds)
    def a_new_leader_has_not_caught_up(self, data: st.DataObject, rest: float) -> None:
        self.consul.not_caught_up = data.draw(st.sampled_from(self.log))
        self.consul.tell()
        self.pass_(rest)

    @rule(rest=seconds)
    def the_leader_catches_up(self, rest: float) -> None:
        self.consul.not_caught_up = None
        self.consul.tell()
        self.pass_(rest)

    @rule(leader=st.booleans(), verified=st.booleans(), rest=seconds)
    def servers_lose_each_other_or_meet_again(self, *, leader: bool, verified: bool, rest: float) -> None:
        self.consul.leader, self.consul.verified = leader, verified
        self.consul.tell()
        self.pass_(rest)

    @precondition(lambda self: self.consul.acl is not None)
    @rule(acl=st.sampled_from(NOTHING_READABLE), rest=seconds)
    def the_token_may_not_read_anything(self, acl: Acl, rest: float) -> None:
        self.consul.acl = acl
        self.pass_(rest)

    @precondition(lambda self: self.consul.acl is not None and self.followers[0].told)
    @rule(data=st.data(), rest=seconds)
    def the_token_may_not_read_a_node_that_is_known(self, data: st.DataObject, rest: float) -> None:
        # One that nobody has seen yet cannot be missed.
        known = [endpoint.address.rpartition(".")[2] for endpoint in self.followers[0].latest.endpoints]
        if known:
            self.consul.acl = Acl(denied={f"node n{data.draw(st.sampled_from(known))}"})
        self.pass_(rest)

    @precondition(lambda self: self.consul.acl is not None)
    @rule(rest=seconds)
    def the_token_may_read_again(self, rest: float) -> None:
        self.consul.acl = Acl()
        self.pass_(rest)

    @precondition(lambda self: len(self.followers) == 1)
    @rule(rest=seconds)
    def another_one_follows(self, rest: float) -> None:
        self.followers.append(self.a_follower())
        self.pass_(rest)

    @rule(rest=seconds)
    def one_leaves(self, rest: float) -> None:
        self.run(self.followers.pop().leave())
        if not self.followers:
            self.followers.append(self.a_follower())
        self.pass_(rest)

    # ---- what must hold

    def check(self) -> None:
        """Look at what was told since the last time: each is the same, or is what was true later."""
        for follower in self.followers:
            done, moment = self.read[follower]
            for snapshot in follower.told[done:]:
                later = self.truths[moment:]
                assert told(snapshot) in later, f"told {sorted(told(snapshot))}, of {list(map(sorted, later))}"
                moment += later.index(told(snapshot))
            self.read[follower] = (len(follower.told), moment)
            for error in follower.errors:
                assert isinstance(error, SourceError), repr(error)

    def teardown(self) -> None:
        try:
            if hasattr(self, "consul"):
                self.end()
        finally:
            self._runner.close()

    def end(self) -> None:
        """Let all be well again, and look at what is told after a wait."""
        consul = self.consul
        for agent in consul.agents.values():
            agent.trouble, agent.behind, agent.ignores_index = None, None, False
        consul.leader, consul.verified, consul.not_caught_up = True, True, None
        consul.acl = Acl() if consul.acl is not None else None
        consul.tell()
        self.pass_(LONGEST_WAIT + 10)
        for follower in self.followers:
            assert told(follower.latest) == self.truths[-1], str(follower.errors[-1:])
        while self.followers:
            self.run(self.followers.pop().leave())
        self.pass_(0.1)
        assert (consul.entered, consul.at_once) == (0, 0)


TestAnyStory = AnyStory.TestCase
TestAnyStory.settings = settings(stateful_step_count=30)
