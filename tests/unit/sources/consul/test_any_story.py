"""What a source tells over stories that nobody would think of: outages, restores, tokens, servers that lag behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from dynsrv.errors import SourceError
from dynsrv.model import EndpointState, Snapshot
from dynsrv.sources.consul.endpoints import Reading
from dynsrv.sources.consul.source import ConsulSource
from dynsrv.sources.consul.transport import Reply
from tests.fakes.consul import NO_LEADER, A, Acl, B, FakeConsul, FakeInstance, Trouble, an_instance
from tests.fakes.loop import FakeTimeLoop
from tests.unit.sources.consul.following import LONGEST_WAIT, Follower, a_watch

Truth = frozenset[tuple[str, EndpointState]]

HTML = Reply(200, b"<html>Please log in</html>", 99)
NOTHING_READABLE = (Acl(services=()), Acl(nodes=()), Acl(known=False), Acl(denied={"service web"}))

hosts = st.integers(1, 4)
states = st.sampled_from([{}, {}, {"status": "critical"}, {"maintenance": True}])
addresses = st.sampled_from([A, B])


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

    def run(self, story: Coroutine[Any, Any, object]) -> None:
        self._runner.run(story)

    @initialize(
        at_first=st.sets(hosts), stale=st.booleans(), near=st.booleans(), acl=st.booleans(), newer=st.booleans()
    )
    def begin(self, *, at_first: set[int], stale: bool, near: bool, acl: bool, newer: bool) -> None:
        self.consul = FakeConsul(*map(an_instance, at_first), addresses=(A, B))
        self.consul.latency = 0.0  # nothing happens between an answer and the doubts that it raises
        self.consul.acl = Acl() if acl else None
        self.consul.tells_of_filtering = newer
        self.watch = a_watch(self.consul, stale=stale, near="_agent" if near else None)
        self.snapshots = [self.consul.catalog.copy()]
        self.truths = [truth_of(self.consul.catalog.of("web"))]
        self.one_follows()

    def note_truth(self) -> None:
        self.truths.append(truth_of(self.consul.catalog.of("web")))

    def pass_(self, seconds: float) -> None:
        """Let time pass, and all that is to happen without time."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            for _ in range(100):
                await asyncio.sleep(0)

        self.run(wait())
        self.check()

    # ---- what happens

    @rule()
    def a_moment_passes(self) -> None:
        self.pass_(0.1)

    @rule(seconds=st.sampled_from([1.0, 2.5]))
    def some_seconds_pass(self, seconds: float) -> None:
        self.pass_(seconds)

    @rule(seconds=st.sampled_from([10.0, 45.0]))
    def much_time_passes(self, seconds: float) -> None:
        self.pass_(seconds)

    @rule(host=hosts, state=states)
    def an_instance_comes_or_changes(self, host: int, state: dict[str, Any]) -> None:
        self.consul.register(an_instance(host, **state))
        self.note_truth()

    @precondition(lambda self: self.consul.catalog.of("web"))
    @rule(data=st.data())
    def an_instance_goes(self, data: st.DataObject) -> None:
        self.consul.deregister(data.draw(st.sampled_from(self.consul.catalog.of("web"))))
        self.note_truth()

    @precondition(lambda self: self.consul.catalog.of("web"))
    @rule()
    def all_go(self) -> None:
        for instance in self.consul.catalog.of("web"):
            self.consul.deregister(instance)
            self.note_truth()

    @rule(host=hosts)
    def another_service_changes(self, host: int) -> None:
        self.consul.register(an_instance(host, service="other", output=str(self.consul.catalog.index)))

    @rule()
    def a_snapshot_is_taken(self) -> None:
        self.snapshots.append(self.consul.catalog.copy())

    @rule(data=st.data())
    def a_snapshot_is_restored(self, data: st.DataObject) -> None:
        self.consul.restore(data.draw(st.sampled_from(self.snapshots)))
        self.note_truth()

    @rule(address=addresses, trouble=st.sampled_from([*Trouble, NO_LEADER, HTML]))
    def an_agent_gets_into_trouble(self, address: str, trouble: Trouble | Reply) -> None:
        self.consul.agents[address].fail(trouble)

    @rule(address=addresses)
    def an_agent_gets_out_of_trouble(self, address: str) -> None:
        self.consul.agents[address].fail(None)

    @rule(address=addresses, ignores=st.booleans())
    def a_proxy_stands_before_an_agent(self, address: str, *, ignores: bool) -> None:
        self.consul.agents[address].ignores_index = ignores

    @rule(address=addresses)
    def a_follower_lags_behind(self, address: str) -> None:
        self.consul.agents[address].lag()

    @rule(address=addresses)
    def a_follower_catches_up(self, address: str) -> None:
        self.consul.agents[address].catch_up()

    @rule(leader=st.booleans(), verified=st.booleans())
    def servers_lose_each_other_or_meet_again(self, *, leader: bool, verified: bool) -> None:
        self.consul.leader, self.consul.verified = leader, verified
        self.consul.tell()

    @precondition(lambda self: self.consul.acl is not None)
    @rule(acl=st.sampled_from(NOTHING_READABLE))
    def the_token_may_not_read_anything(self, acl: Acl) -> None:
        self.consul.acl = acl

    @precondition(lambda self: self.consul.acl is not None and self.followers and self.followers[0].told)
    @rule(data=st.data())
    def the_token_may_not_read_a_node_that_is_known(self, data: st.DataObject) -> None:
        # One that nobody has seen yet cannot be missed.
        known = [endpoint.address.rpartition(".")[2] for endpoint in self.followers[0].latest.endpoints]
        if known:
            self.consul.acl = Acl(denied={f"node n{data.draw(st.sampled_from(known))}"})

    @precondition(lambda self: self.consul.acl is not None)
    @rule()
    def the_token_may_read_again(self) -> None:
        self.consul.acl = Acl()

    @precondition(lambda self: len(self.followers) < 2)
    @rule()
    def one_follows(self) -> None:
        async def follow() -> None:
            source = ConsulSource(self.watch, Reading(), backend="be_app")
            self.followers.append(Follower(source.watch, retry=1.0))

        self.run(follow())
        self.read[self.followers[-1]] = (0, 0)

    @precondition(lambda self: len(self.followers) == 2)
    @rule()
    def one_leaves(self) -> None:
        self.run(self.followers.pop().leave())

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
        consul.leader = consul.verified = True
        if consul.acl is not None:
            consul.acl = Acl()
        consul.tell()
        self.pass_(LONGEST_WAIT + 10)
        for follower in self.followers:
            assert told(follower.latest) == self.truths[-1], str(follower.errors[-1:])
        while self.followers:
            self.run(self.followers.pop().leave())
        self.pass_(0.1)
        assert (consul.entered, consul.at_once) == (0, 0)


TestAnyStory = AnyStory.TestCase
TestAnyStory.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
