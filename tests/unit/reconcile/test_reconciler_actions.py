"""What an operator asks for is done by the reconciler, one at a time with its passes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from dynsrv.haproxy.proxy import Proxy
from dynsrv.model import Backend
from dynsrv.steps import Applied, Drain, Step, StepResult
from tests.fakes.builders import an_endpoint
from tests.fakes.managed import Managed

SERVER = "dyn-10.0.0.1:80"


class Slow:
    """A proxy that takes a second for everything, and keeps what it did."""

    def __init__(self, proxy: Proxy) -> None:
        self.name = proxy.name
        self.did: list[str] = []
        self._proxy = proxy

    async def observe(self, backend: str, *, with_maxconn: bool) -> Backend:
        observed = await self._proxy.observe(backend, with_maxconn=with_maxconn)
        await asyncio.sleep(1)
        self.did.append("observe")
        return observed

    async def check_accepts(self, backend: Backend) -> None:
        await self._proxy.check_accepts(backend)

    async def apply(self, backend: Backend, steps: Sequence[Step]) -> Applied:
        applied = await self._proxy.apply(backend, steps)
        await asyncio.sleep(1)
        self.did.append("+".join(step.kind for step in steps))
        return applied


async def in_sync() -> tuple[Managed, Slow]:
    """Return a backend with one server, on a slow proxy."""
    managed = Managed()
    await managed.settle(an_endpoint(1))
    slow = managed.reconciler.proxy = Slow(managed.behind.proxy)
    return managed, slow


async def drain(managed: Managed) -> StepResult:
    return await managed.reconciler.perform(SERVER, lambda _: Drain(SERVER, "somebody asked for it"))


async def test_what_is_asked_for_during_a_pass_is_done_after_it() -> None:
    managed, slow = await in_sync()
    await asyncio.gather(managed.attempt(an_endpoint(1), an_endpoint(2)), drain(managed))
    assert slow.did == ["observe", "add+admit+set_weight", "observe", "drain"]


async def test_a_pass_that_is_due_meanwhile_begins_after_it_and_observes_what_was_done() -> None:
    managed, slow = await in_sync()
    await asyncio.gather(drain(managed), managed.attempt(an_endpoint(1)))
    assert slow.did == ["observe", "drain", "observe"]
    assert managed.reconciler.last is not None
    assert [hold.server for hold in managed.reconciler.last.plan.holds] == [SERVER]


async def test_two_who_ask_at_the_same_time_are_served_one_after_the_other() -> None:
    managed, slow = await in_sync()
    await asyncio.gather(drain(managed), drain(managed))
    assert slow.did == ["observe", "drain"] * 2
