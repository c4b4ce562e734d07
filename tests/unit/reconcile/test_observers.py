"""Whoever observes passes hears of each: of its steps, then of how it ended."""

from __future__ import annotations

import pytest

from dynsrv.errors import DynsrvError, ProxyUnreachable
from dynsrv.reconcile.observer import PassObserver
from dynsrv.reconcile.result import Pass, Result
from dynsrv.steps import Admit, Applied, Disable, Outcome
from tests.fakes.builders import an_endpoint, the_targets
from tests.fakes.managed import UNCHECKED, Managed

SERVER = "dyn-10.0.0.1:80"


class Heard(PassObserver):
    """Keeps what it hears, in words."""

    def __init__(self, managed: Managed) -> None:
        self._managed = managed
        self.of: list[str] = []
        self.passes: list[Pass] = []
        managed.observers.append(self)

    async def on_steps(self, applied: Applied) -> None:
        done = [one.step.kind for one in applied.results if one.outcome is Outcome.DONE]
        self.of.append(f"{len(done)} done, {len(applied.unanswered)} unanswered")

    async def on_pass(self, this: Pass) -> None:
        assert self._managed.reconciler.last is this
        self.passes.append(this)
        self.of.append(this.result)

    async def on_failure(self, error: DynsrvError) -> None:
        self.of.append(type(error).__name__)


async def test_an_observer_hears_of_the_steps_of_a_pass_and_then_of_the_pass() -> None:
    managed = Managed()
    heard = Heard(managed)
    await managed.delays(3, an_endpoint())
    assert heard.of == ["3 done, 0 unanswered", Result.CHANGED, Result.CONVERGED, Result.CONVERGED]


async def test_of_a_pass_that_was_cut_short_an_observer_hears_what_was_done_and_why_it_ended() -> None:
    managed = Managed()
    heard = Heard(managed)
    managed.behind.wire.before_line = lambda line: managed.refuse() if line.startswith("enable server") else None
    await managed.attempt(an_endpoint())
    assert heard.of == ["1 done, 2 unanswered", "ProxyUnreachable"]


async def test_a_pass_that_could_not_begin_has_no_steps() -> None:
    managed = Managed()
    heard = Heard(managed)
    managed.refuse()
    await managed.attempt(an_endpoint())
    assert heard.of == ["ProxyUnreachable"]


async def test_a_pass_says_how_long_it_took_and_since_when_that_is_desired() -> None:
    managed = Managed()
    heard = Heard(managed)
    managed.behind.wire.before_line = lambda _: managed.haproxy.advance(1)
    for since in (None, 7.0, 8.0):
        await managed.reconciler.attempt(the_targets(an_endpoint(), policy=UNCHECKED), since=since)
    assert [this.desired_since for this in heard.passes] == [None, 7, 8]
    assert all(this.seconds > 0 for this in heard.passes)


async def test_an_observer_hears_of_the_step_of_an_operator_too() -> None:
    managed = Managed()
    await managed.settle(an_endpoint())
    heard = Heard(managed)
    result = await managed.reconciler.perform(SERVER, lambda _: Disable(SERVER, "somebody asked for it"))
    assert result.outcome is Outcome.DONE
    assert heard.of == ["1 done, 0 unanswered"]


async def test_of_a_step_without_an_answer_an_observer_hears_and_whoever_asked_for_it() -> None:
    managed = Managed()
    await managed.settle(an_endpoint())
    heard = Heard(managed)
    managed.behind.wire.before_line = lambda line: managed.refuse() if line.startswith("enable server") else None
    with pytest.raises(ProxyUnreachable):
        await managed.reconciler.perform(SERVER, lambda _: Admit(SERVER, "somebody asked for it"))
    assert heard.of == ["0 done, 1 unanswered"]
