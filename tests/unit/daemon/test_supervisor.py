"""What runs becomes what should run, and nothing that is the same before and after notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from dynsrv.daemon.runner import RunningSet
from dynsrv.daemon.supervisor import Difference, Supervisor, difference
from dynsrv.errors import ConfigurationError
from dynsrv.logs import Event
from dynsrv.model import Snapshot
from dynsrv.planning import Limits
from dynsrv.settings import OnRemoved
from dynsrv.specs import BackendSpec, SourceSpec
from tests.fakes.behind import Behind
from tests.fakes.builders import a_policy, an_endpoint
from tests.fakes.factory import FakeFactory, a_backend_spec, a_proxy_spec, a_source_spec, the_specs
from tests.fakes.sources import ScriptedSource

ONE = Snapshot((an_endpoint(1),))
TWO = Snapshot((an_endpoint(1), an_endpoint(2)))
LB2 = a_proxy_spec("lb2")
OTHER = a_backend_spec("be_other")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, Difference()),
        ({}, {"a": 1, "b": 2}, Difference(new=("a", "b"))),
        ({"a": 1, "b": 2}, {}, Difference(gone=("a", "b"))),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, Difference()),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, Difference(changed=("b",))),
        ({"a": 1}, {"b": 1}, Difference(gone=("a",), new=("b",))),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}, Difference(changed=("a", "b"))),
        ({"a": 1, "b": 2, "c": 3}, {"d": 4, "c": 5, "a": 1}, Difference(gone=("b",), changed=("c",), new=("d",))),
    ],
    ids=str,
)
def test_specs_are_compared_by_key_and_equality(
    before: Mapping[str, int], after: Mapping[str, int], expected: Difference[str]
) -> None:
    assert difference(before, after) == expected


class Supervised:
    """A supervisor of backends on HAProxys in memory: be_app, be_other and be_third on lb1 and lb2."""

    def __init__(self) -> None:
        self.behinds = {name: Behind(proxy=name, others=("be_other", "be_third")) for name in ("lb1", "lb2")}
        self.factory = FakeFactory(*self.behinds.values())
        self.running = RunningSet()

    @asynccontextmanager
    async def applying(self, *backends: BackendSpec) -> AsyncIterator[Supervisor]:
        """Run *backends*, and everything else that is applied meanwhile, until the end of the block."""
        async with asyncio.TaskGroup() as group:
            supervisor = Supervisor(self.running, self.factory, group)
            await supervisor.apply(the_specs(*backends))
            yield supervisor
            await supervisor.stop()

    async def want(self, snapshot: Snapshot, *backends: str) -> None:
        """Let the sources of *backends*, by default all, say this, and give everybody time to act on it."""
        for (backend, _), source in self.running.sources.items():
            if not backends or backend in backends:
                source.feed.publish(snapshot)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(10)
            for behind in self.behinds.values():
                behind.haproxy.advance(1)

    def runners(self) -> list[object]:
        """Everything that runs."""
        running = self.running
        return [
            one
            for each in (running.proxies, running.sources, running.desired, running.backends)
            for one in each.values()
        ]

    def servers(self, backend: str = "be_app", proxy: str = "lb1") -> dict[str, int]:
        """The weights of the servers that get requests."""
        servers = self.behinds[proxy].haproxy.backend(backend).servers
        return {server.name: server.weight for server in servers if server.takes_traffic}

    def value(self, name: str, **labels: str) -> float | None:
        return self.factory.metrics.registry.get_sample_value(f"dynsrv_{name}", labels)

    def series(self, **labels: str) -> set[str]:
        """The gauges that have these labels."""
        return {
            sample.name
            for metric in self.factory.metrics.registry.collect()
            for sample in metric.samples
            if metric.type == "gauge" and labels.items() <= sample.labels.items()
        }


def names(snapshot: Snapshot) -> set[str]:
    return {f"dyn-{endpoint}" for endpoint in snapshot.endpoints}


# ---- what is the same


async def test_nothing_notices_that_the_same_specs_are_applied_again() -> None:
    supervised = Supervised()
    async with supervised.applying(a_backend_spec(), OTHER) as supervisor:
        await supervised.want(ONE)
        before = supervised.runners()
        with capture_logs() as logs:
            await supervisor.apply(the_specs(a_backend_spec(), a_backend_spec("be_other")))
        assert supervised.runners() == before
        assert logs == []
        assert not any(source.ended for source in supervised.factory.sources)
        await supervised.want(TWO)
        assert supervised.servers().keys() == names(TWO)


async def test_a_backend_that_is_added_is_managed_and_the_others_keep_running() -> None:
    supervised = Supervised()
    async with supervised.applying(a_backend_spec()) as supervisor:
        await supervised.want(ONE)
        before = supervised.running.backends["be_app", "lb1"]
        await supervisor.apply(the_specs(a_backend_spec(), OTHER))
        await supervised.want(ONE, "be_other")
        assert supervised.servers("be_other").keys() == names(ONE)
        assert supervised.running.backends["be_app", "lb1"] is before
        await supervised.want(TWO, "be_app")
        assert supervised.servers("be_app").keys() == names(TWO)


# ---- what changed


async def test_another_policy_applies_at_once_to_what_the_source_said_last_and_the_source_keeps_running() -> None:
    supervised = Supervised()
    async with supervised.applying(a_backend_spec()) as supervisor:
        await supervised.want(ONE)
        await supervisor.apply(the_specs(a_backend_spec(policy=a_policy(options=(), weight=7))))
        await supervised.settle()
        assert supervised.servers() == {"dyn-10.0.0.1:80": 7}
        (source,) = supervised.factory.sources
        assert not source.ended
        await supervised.want(TWO)
        assert supervised.servers().keys() == names(TWO)


async def test_another_source_takes_the_place_of_the_one_before() -> None:
    supervised = Supervised()
    async with supervised.applying(a_backend_spec(), OTHER) as supervisor:
        await supervised.want(ONE)
        await supervisor.apply(the_specs(a_backend_spec(source=a_source_spec(path="others.yaml")), OTHER))
        old, untouched, _ = supervised.factory.sources
        assert (old.ended, untouched.ended) == (True, False)
        await supervised.settle()
        assert supervised.servers().keys() == names(ONE)  # the new one has not answered yet: nothing changes
        await supervised.want(TWO)
        assert supervised.servers().keys() == names(TWO)


async def test_a_proxy_with_other_settings_is_connected_to_anew_and_its_servers_stay() -> None:
    supervised = Supervised()
    async with supervised.applying(a_backend_spec(on_removed=OnRemoved.DRAIN)) as supervisor:
        await supervised.want(ONE)
        before = supervised.running.proxies["lb1"]
        await supervisor.apply(the_specs(a_backend_spec(proxy=a_proxy_spec(probe=5.0), on_removed=OnRemoved.DRAIN)))
        assert supervised.running.proxies["lb1"] is not before
        assert not supervised.factory.sources[0].ended
        await supervised.settle()
        assert supervised.servers().keys() == names(ONE)
        await supervised.want(TWO)
        assert supervised.servers().keys() == names(TWO)
        assert not any("drain" in line for line in supervised.behinds["lb1"].haproxy.changes)


async def test_a_proxy_that_is_added_gets_the_servers_that_the_source_said_last() -> None:
    supervised = Supervised()
    async with supervised.applying(a_backend_spec()) as supervisor:
        await supervised.want(ONE)
        before = supervised.running.backends["be_app", "lb1"]
        await supervisor.apply(the_specs(a_backend_spec(), a_backend_spec(proxy=LB2)))
        await supervised.settle()
        assert supervised.servers(proxy="lb2").keys() == names(ONE)
        assert supervised.running.backends["be_app", "lb1"] is before
        await supervised.want(TWO)
        assert supervised.servers(proxy="lb1").keys() == supervised.servers(proxy="lb2").keys() == names(TWO)


async def test_a_backend_follows_its_own_entry_when_the_one_before_is_removed() -> None:
    supervised = Supervised()
    first = a_backend_spec(source=a_source_spec(path="a.yaml"))
    second = a_backend_spec(proxy=LB2, number=1, source=a_source_spec(path="b.yaml", number=1))
    async with supervised.applying(first, second) as supervisor:
        await supervised.want(ONE)
        await supervisor.apply(the_specs(a_backend_spec(proxy=LB2, source=a_source_spec(path="b.yaml"))))
        await supervised.want(TWO)
        assert supervised.servers(proxy="lb1").keys() == names(ONE)
        assert supervised.servers(proxy="lb2").keys() == names(TWO)


async def test_what_stops_stops_side_by_side() -> None:
    class SlowToStop(ScriptedSource):
        async def watch(self) -> AsyncGenerator[Snapshot, None]:
            try:
                async for snapshot in super().watch():
                    yield snapshot
            finally:
                await asyncio.sleep(3)

    class SlowFactory(FakeFactory):
        def source(self, spec: SourceSpec) -> ScriptedSource:
            return SlowToStop()

    supervised = Supervised()
    supervised.factory = SlowFactory(*supervised.behinds.values())
    async with supervised.applying(a_backend_spec(), OTHER, a_backend_spec("be_third")) as supervisor:
        await supervised.want(ONE)
        began = asyncio.get_running_loop().time()
        await supervisor.apply(the_specs())
        assert asyncio.get_running_loop().time() - began == pytest.approx(3)


async def test_if_something_cannot_be_created_everything_keeps_running() -> None:
    class BrokenFactory(FakeFactory):
        def source(self, spec: SourceSpec) -> ScriptedSource:
            if spec.backend == "be_other":
                raise ConfigurationError("servers.yaml", "it cannot be used")
            return super().source(spec)

    supervised = Supervised()
    supervised.factory = BrokenFactory(*supervised.behinds.values())
    async with supervised.applying(a_backend_spec()) as supervisor:
        await supervised.want(ONE)
        before = supervised.running.backends.copy()
        with pytest.raises(ConfigurationError):
            await supervisor.apply(the_specs(OTHER, a_backend_spec(source=a_source_spec(path="others.yaml"))))
        assert supervised.running.backends == before
        await supervised.want(TWO)
        assert supervised.servers().keys() == names(TWO)


# ---- what is gone


@pytest.mark.parametrize(("on_removed", "left"), [(OnRemoved.LEAVE, names(ONE)), (OnRemoved.DRAIN, set())])
async def test_on_removed_is_applied_to_the_servers_of_a_backend_that_is_gone_whatever_the_guard_says(
    on_removed: OnRemoved, left: set[str]
) -> None:
    supervised = Supervised()
    guarded = a_policy(options=(), limits=Limits())
    async with supervised.applying(OTHER, a_backend_spec(policy=guarded, on_removed=on_removed)) as supervisor:
        await supervised.want(ONE)
        with capture_logs() as logs:
            await supervisor.apply(the_specs(OTHER))
        assert [(line["backend"], line["proxy"], line["drains"]) for line in logs] == [("be_app", "lb1", not left)]
        await supervised.settle()
        assert supervised.servers().keys() == left
        assert supervised.servers("be_other").keys() == names(ONE)


async def test_on_removed_is_applied_on_a_proxy_that_is_gone_and_on_no_other() -> None:
    supervised = Supervised()
    first, second = (a_backend_spec(proxy=one, on_removed=OnRemoved.DRAIN) for one in (a_proxy_spec(), LB2))
    async with supervised.applying(first, second) as supervisor:
        await supervised.want(ONE)
        await supervisor.apply(the_specs(first))
        await supervised.settle()
        assert supervised.servers(proxy="lb1").keys() == names(ONE)
        assert supervised.servers(proxy="lb2") == {}


async def test_a_backend_that_is_back_is_not_removed_any_more() -> None:
    supervised = Supervised()
    spec = a_backend_spec(on_removed=OnRemoved.DRAIN)
    async with supervised.applying(spec) as supervisor:
        await supervised.want(ONE)
        supervised.behinds["lb1"].haproxy.open_session("dyn-10.0.0.1:80")
        await supervisor.apply(the_specs())
        await supervised.settle()
        assert supervised.servers() == {}
        await supervisor.apply(the_specs(spec))
        await supervised.want(ONE)
        assert supervised.servers().keys() == names(ONE)
        supervised.behinds["lb1"].haproxy.close_session("dyn-10.0.0.1:80")
        await supervised.settle()
        assert supervised.servers().keys() == names(ONE)


async def test_a_pending_removal_does_not_hold_up_the_end() -> None:
    supervised = Supervised()
    async with supervised.applying(a_backend_spec(on_removed=OnRemoved.DRAIN)) as supervisor:
        await supervised.want(ONE)
        supervised.behinds["lb1"].haproxy.open_session("dyn-10.0.0.1:80")
        await supervisor.apply(the_specs())
        await supervised.settle()
    assert supervised.behinds["lb1"].haproxy.server("dyn-10.0.0.1:80").sessions == 1


async def test_metrics_of_what_is_gone_are_forgotten_and_of_nothing_else() -> None:
    supervised = Supervised()
    app, on_lb2 = a_backend_spec(on_removed=OnRemoved.DRAIN), a_backend_spec(proxy=LB2)
    async with supervised.applying(app, on_lb2, OTHER) as supervisor:
        await supervised.want(ONE)
        per_source = {"dynsrv_source_up", "dynsrv_source_ignored", "dynsrv_source_last_success_timestamp_seconds"}
        assert supervised.series(backend="be_app", kind="file") == per_source
        others = supervised.series(backend="be_other")
        await supervisor.apply(the_specs(app, OTHER))
        assert supervised.series(backend="be_app", proxy="lb2") == supervised.series(proxy="lb2") == set()
        assert supervised.series(backend="be_app", kind="file") == per_source
        assert supervised.value("desired_servers", backend="be_app") == 1
        await supervisor.apply(the_specs(OTHER))
        await supervised.settle()
        assert supervised.series(backend="be_app") == set()
        assert supervised.series(backend="be_other") == others
        assert supervised.value("proxy_up", proxy="lb1") == 1


# ---- what fails


async def test_a_bug_that_ends_one_runner_restarts_it_and_ends_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    supervised = Supervised()
    async with supervised.applying(a_backend_spec(), OTHER):
        await supervised.want(ONE)
        state = supervised.running.desired[a_backend_spec().desired.key].state

        async def fail() -> None:
            raise IndexError("tuple index out of range")

        with monkeypatch.context() as broken, capture_logs() as logs:
            broken.setattr(state, "update", fail)
            await supervised.want(TWO)
            assert supervised.servers("be_other").keys() == names(TWO)
            assert supervised.servers("be_app").keys() == names(ONE)
        failures = [one for one in logs if one["event"] is Event.INTERNAL_ERROR]
        assert {one["part"] for one in failures} == {"desired state of be_app"}
        assert supervised.value("internal_errors_total", part="task") == len(failures)
        assert 5 < len(failures) < 20
        await supervised.settle()
        assert supervised.servers("be_app").keys() == names(TWO)
