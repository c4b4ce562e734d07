"""The promise over all states and interruptions: it ends as desired, and on the way nothing forbidden is asked for.

Forbidden is what `World` watches: a request to a server before its first passed check, the end of a session before its
time, a foreign server touched, anything that HAProxy refuses except to delete what is still in use.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count, product

import pytest

from dynsrv.model import Endpoint
from dynsrv.planning import Admission, DrainTimeoutAction, Policy
from tests.fakes.builders import CHECKED, a_policy
from tests.unit.planning.states import DESIRES, NAME, OTHER, SERVING, UNCHECKED, State, policies, states
from tests.unit.planning.world import DRAIN_TIMEOUT, World

ENOUGH = 12  # passes for one server; two in turn need more
VERSIONS = ("2.5.1", "2.6.12-1", "3.0.11-1", "3.2.26-1", "3.4.7-1")

Start = tuple[State | None, tuple[str, ...], Policy, tuple[Endpoint, ...]]


def every_start() -> Iterator[Start]:
    """Yield every state of a server, or none, with the options that it was added with, and all that may be wanted.

    Left out is what makes no difference: sessions, and what becomes of them, of a server that is to stay; other
    options of one that is to go; sessions once more where servers are admitted at once.
    """
    for options, wanted in product((CHECKED, UNCHECKED), DESIRES):
        for policy in policies(options):
            yield None, options, policy, wanted
            for added_with in (options, OTHER) if options and wanted else (options,):
                stays = wanted and added_with == options
                if stays and policy.on_drain_timeout is DrainTimeoutAction.WAIT:
                    continue
                for state in states(added_with):
                    if not (state.sessions and (stays or policy.admission is Admission.IMMEDIATELY)):
                        yield state, added_with, policy, wanted


def a_world(start: Start, version: str = "3.4.7-1") -> World:
    state, options, policy, wanted = start
    return World([state.server(options)] if state else [], wanted=wanted, policy=policy, version=version)


@pytest.mark.parametrize("version", VERSIONS)
async def test_from_every_state_it_converges_in_every_version(version: str) -> None:
    for start in every_start():
        world = a_world(start, version)
        await world.converge(within=ENOUGH)
        world.close()


async def test_what_has_converged_stays_as_it_is() -> None:
    for start in every_start():
        world = a_world(start)
        await world.converge(within=ENOUGH, to_the_end=True)
        before = len(world.haproxy.changes)
        world.restart_dynsrv()
        for _ in range(2):
            assert (await world.make_pass()).converged, str(world)
        assert len(world.haproxy.changes) == before, str(world)
        world.close()


async def every_place() -> AsyncIterator[World]:
    """Yield every world that comes, undisturbed, after one of the starts: to be copied, not to be changed."""
    seen = set()
    for start in every_start():
        world = a_world(start)
        for _ in range(ENOUGH):
            if world.place() in seen:
                break
            seen.add(world.place())
            yield world
            converged = (await world.make_pass()).converged
            world.let_time_pass()
            if converged:
                break
        world.close()


@pytest.mark.parametrize(
    "interrupt",
    [World.restart_dynsrv, World.reload_haproxy],
    ids=["restart", "reload"],
)
async def test_interrupted_after_any_step_it_converges_all_the_same(interrupt: Callable[[World], None]) -> None:
    async for place in every_place():
        for steps in count():
            world = place.copy()
            plan = await world.make_pass(steps=steps)
            interrupt(world)
            await world.converge(within=ENOUGH)
            world.close()
            if steps >= len(plan.steps):
                break


async def test_interrupted_after_every_single_step_it_converges_as_soon_as_it_is_left_alone() -> None:
    for start in every_start():
        world = a_world(start)
        for _ in range(8):
            converged = (await world.make_pass(steps=1)).converged
            world.restart_dynsrv()
            world.let_time_pass()
            if converged:
                break
        await world.converge(within=ENOUGH)
        world.close()


async def test_a_change_of_mind_at_any_time_converges_on_what_is_wanted_last() -> None:
    async for place in every_place():
        for wanted in DESIRES:
            world = place.copy()
            world.wanted = wanted
            await world.converge(within=ENOUGH)
            world.close()


@pytest.mark.parametrize("on_drain_timeout", DrainTimeoutAction)
async def test_a_predecessor_and_a_successor_in_every_two_states_end_as_the_one_that_is_wanted(
    on_drain_timeout: DrainTimeoutAction,
) -> None:
    policy = a_policy(on_drain_timeout=on_drain_timeout, drain_timeout=DRAIN_TIMEOUT)
    for predecessor, successor, wanted in product(states(OTHER), states(CHECKED), DESIRES[1:]):
        if (
            successor.held
            or successor.sessions
            or (on_drain_timeout is DrainTimeoutAction.WAIT and not predecessor.sessions)
        ):
            continue
        servers = [predecessor.server(OTHER), successor.server(CHECKED, f"{NAME}-f")]
        world = World(servers, wanted=wanted, policy=policy)
        await world.converge(within=2 * ENOUGH)
        world.close()


async def test_while_checks_fail_no_server_that_had_no_requests_gets_any() -> None:
    for start in every_start():
        state, options, policy, _ = start
        if state is None or "check" not in options or policy.admission is Admission.IMMEDIATELY:
            continue
        if state.check_result == 3 or state.admin == 0:
            continue
        world = a_world(start)
        for _ in range(ENOUGH):
            await world.make_pass()
            world.let_time_pass(lambda _: False)
            assert not world.haproxy.traffic(NAME), str(world)
        await world.converge(within=ENOUGH)
        world.close()


async def test_a_server_that_serves_is_kept_until_its_successor_serves() -> None:
    for policy in policies():
        world = World([SERVING.server(OTHER)], wanted=DESIRES[1], policy=policy)
        for _ in range(ENOUGH):
            await world.make_pass()
            world.let_time_pass()
            assert any(server.takes_traffic for server in world.ours()), str(world)
        await world.converge(within=ENOUGH)
        world.close()
