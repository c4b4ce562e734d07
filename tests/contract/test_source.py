"""What every kind of source promises; see `dynsrv.sources.source.Source`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import aclosing

import pytest

from dynsrv.errors import SourceError
from dynsrv.model import Server, Snapshot
from dynsrv.sources.endpoint_rules import EndpointRules
from tests.contract.stage import RemoteStage, Stage
from tests.fakes.builders import a_server, an_endpoint
from tests.fakes.follower import Follower, following

RETRY = 1.0


def hosts(snapshot: Snapshot) -> set[int]:
    """Return the hosts of the endpoints, which are different ones."""
    locations = [(endpoint.address, endpoint.port) for endpoint in snapshot.endpoints]
    assert len(locations) == len(set(locations))
    return {int(address.rpartition(".")[2]) for address, _ in locations}


def states(follower: Follower[Snapshot]) -> list[set[int]]:
    """Return the different states that *follower* received, one after the other."""
    received = [hosts(snapshot) for snapshot in follower.told]
    return [state for number, state in enumerate(received) if number == 0 or state != received[number - 1]]


async def until(condition: Callable[[], object], *, within: float = 120.0) -> None:
    """Wait for *condition*, in the loop's time."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - of whatever kind it is, it may depend on anything
            await asyncio.sleep(0.05)


async def nothing_left() -> bool:
    """Return whether all tasks but this one are done, now or soon."""
    await asyncio.sleep(1)
    return asyncio.all_tasks() == {asyncio.current_task()}


# ---- what is desired


async def test_the_first_snapshot_is_the_current_state_as_soon_as_that_is_known(stage: Stage) -> None:
    stage.set(1, 2)
    async with following(stage.a_source().watch) as follower:
        await until(lambda: follower.told, within=1)
    assert states(follower) == [{1, 2}]


async def test_every_change_is_followed(stage: Stage) -> None:
    stage.set(1)
    changes: list[set[int]] = [{1, 2}, {2}, {2, 3, 4}, {5}]
    async with following(stage.a_source().watch) as follower:
        await until(lambda: follower.told)
        for change in changes:
            stage.set(*change)
            await until(lambda change=change: hosts(follower.latest) == change)  # type: ignore[misc]
    assert follower.errors == []
    assert states(follower)[-1] == {5}


async def test_an_empty_state_is_an_empty_snapshot(stage: Stage) -> None:
    async with following(stage.a_source().watch) as follower:
        await until(lambda: follower.told)
        stage.set(1)
        await until(lambda: len(states(follower)) == 2)
        stage.set()
        await until(lambda: len(states(follower)) == 3)
    assert states(follower) == [set(), {1}, set()]


async def test_a_snapshot_is_the_whole_state_however_large_it_is(stage: Stage) -> None:
    stage.set(*range(1, 251))
    async with following(stage.a_source().watch) as follower:
        await until(lambda: follower.told)
        stage.set(*range(2, 251))
        await until(lambda: len(states(follower)) == 2)
    assert states(follower) == [set(range(1, 251)), set(range(2, 251))]


async def test_an_unchanged_state_is_yielded_again_which_shows_that_the_source_is_alive(stage: Stage) -> None:
    stage.set(1)
    async with following(stage.a_source().watch) as follower:
        await until(lambda: len(follower.told) == 4)
    assert states(follower) == [{1}]


async def test_whoever_is_slow_gets_the_latest_state_next(stage: Stage) -> None:
    stage.set(1)
    async with aclosing(stage.a_source().watch()) as snapshots:
        assert hosts(await anext(snapshots)) == {1}
        for host in range(2, 6):
            stage.set(host)
            await asyncio.sleep(40)
        received = [hosts(await anext(snapshots)) for _ in range(2)]
    assert received[-1] == {5}
    assert await nothing_left()


# ---- what cannot be read


async def test_what_cannot_be_read_at_first_is_an_error_and_never_an_empty_snapshot(stage: Stage) -> None:
    stage.set(1)
    stage.break_()
    async with following(stage.a_source().watch, retry=RETRY) as follower:
        await asyncio.sleep(60)
    assert follower.told == []
    assert len(follower.errors) > 3


async def test_a_failure_ends_the_iteration_and_takes_nothing_away(stage: Stage) -> None:
    stage.set(1)
    async with following(stage.a_source().watch) as follower:
        await until(lambda: follower.told)
        stage.break_()
        await until(lambda: follower.errors)
        stage.heal()
        await asyncio.sleep(60)
    assert isinstance(follower.error, SourceError)
    assert states(follower) == [{1}]


async def test_a_part_of_the_state_is_an_error(stage: Stage) -> None:
    stage.set(1, 2, 3)
    async with following(stage.a_source().watch, retry=RETRY) as follower:
        await until(lambda: follower.told)
        stage.cut()
        await until(lambda: len(follower.errors) > 3)
    assert states(follower) == [{1, 2, 3}]


async def test_a_failure_has_one_message_for_as_long_as_it_lasts_and_a_reason_for_the_metric(stage: Stage) -> None:
    stage.set(1)
    stage.break_()
    async with following(stage.a_source().watch, retry=RETRY) as follower:
        await until(lambda: len(follower.errors) > 3)
    ((reason, message),) = {(error.reason, str(error)) for error in follower.errors if isinstance(error, SourceError)}
    assert re.fullmatch("[a-z_]+", reason)
    assert message.isprintable()


async def test_after_a_failure_a_new_iteration_begins_with_the_current_state(stage: Stage) -> None:
    stage.set(1, 2)
    async with following(stage.a_source().watch, retry=RETRY) as follower:
        await until(lambda: follower.told)
        stage.break_()
        await until(lambda: follower.errors)
        stage.heal()
        stage.set(2, 3)
        await until(lambda: hosts(follower.latest) == {2, 3})
    assert states(follower) == [{1, 2}, {2, 3}]


async def test_an_endpoint_that_the_rules_refuse_is_reported_and_never_in_a_snapshot(stage: Stage) -> None:
    stage.set(1)
    rules = EndpointRules(denied=("10.0.0.2/32",))
    async with following(stage.a_source(rules=rules).watch, retry=RETRY) as follower:
        await until(lambda: follower.told)
        stage.set(1, 2)
        await until(lambda: follower.errors or follower.latest.notes)
    assert states(follower) == [{1}]
    (problem,) = {*map(str, follower.errors), *follower.latest.notes}
    assert "10.0.0.2 is in 10.0.0.2/32, which is in the backend's denied_networks" in problem


# ---- who follows


async def test_nothing_is_read_before_the_iteration_begins(remote: RemoteStage) -> None:
    remote.break_()
    source = remote.a_source()
    await asyncio.sleep(60)
    assert (remote.requests, remote.open) == (0, 0)
    source.close()


async def test_equal_sources_send_the_requests_of_one(remote: RemoteStage) -> None:
    remote.set(1)

    async def requests_of(followers: int) -> int:
        before = remote.requests
        sources = [remote.a_source(f"be_{number}") for number in range(followers)]
        all_of_them = [Follower(source.watch) for source in sources]
        await asyncio.sleep(45)
        for follower in all_of_them:
            assert states(follower) == [{1}]
            await follower.leave()
        await asyncio.sleep(100)  # so that whoever follows next does not profit from these requests
        return remote.requests - before

    assert await requests_of(5) == await requests_of(1)


async def test_whoever_comes_later_gets_the_latest_snapshot_without_a_request(remote: RemoteStage) -> None:
    remote.set(1)
    async with following(remote.a_source().watch) as first:
        await until(lambda: first.told)
        requests = remote.requests
        async with following(remote.a_source("be_api").watch) as second:
            await until(lambda: second.told, within=0.1)
            assert remote.requests == requests
    assert second.told == first.told[-1:]


async def test_a_failure_reaches_all_and_all_recover(remote: RemoteStage) -> None:
    remote.set(1)
    one, other = remote.a_source(), remote.a_source("be_api")
    async with following(one.watch, retry=RETRY) as first, following(other.watch, retry=3 * RETRY) as second:
        await until(lambda: first.told and second.told)
        remote.break_()
        await until(lambda: first.errors and second.errors)
        assert str(first.errors[0]) == str(second.errors[0])
        assert first.errors[0] is not second.errors[0]
        assert type(first.errors[0]) is type(second.errors[0]) is SourceError
        remote.heal()
        remote.set(2)
        await until(lambda: hosts(first.latest) == hosts(second.latest) == {2})


async def test_whoever_leaves_changes_nothing_for_the_others(remote: RemoteStage) -> None:
    remote.set(1)
    async with following(remote.a_source().watch) as stays:
        for number in range(3):
            async with following(remote.a_source("be_api").watch) as leaves:
                await until(lambda leaves=leaves: leaves.told)  # type: ignore[misc]
            remote.set(1, number + 2)
            await until(lambda number=number: hosts(stays.latest) == {1, number + 2})  # type: ignore[misc]
    assert stays.errors == []


# ---- the end


async def test_when_the_last_leaves_nothing_is_left_open(stage: Stage) -> None:
    stage.set(1)
    for _ in range(2):
        async with following(stage.a_source().watch) as one, following(stage.a_source("be_api").watch) as other:
            await until(lambda one=one, other=other: one.told and other.told)  # type: ignore[misc]
        assert await nothing_left()
        assert not isinstance(stage, RemoteStage) or stage.open == 0


async def test_one_snapshot_may_be_taken_and_the_iteration_closed(stage: Stage) -> None:
    stage.set(1)
    async with aclosing(stage.a_source().watch()) as snapshots:
        assert hosts(await anext(snapshots)) == {1}
    assert await nothing_left()
    assert not isinstance(stage, RemoteStage) or stage.open == 0


async def test_after_a_failure_nothing_is_left_open(stage: Stage) -> None:
    stage.break_()
    with pytest.raises(SourceError):
        await anext(stage.a_source().watch())
    assert await nothing_left()
    assert not isinstance(stage, RemoteStage) or stage.open == 0


async def test_whoever_gives_up_while_a_request_hangs_leaves_nothing_open(remote: RemoteStage) -> None:
    remote.hang()

    async def first_snapshot() -> None:
        async with asyncio.timeout(5), aclosing(remote.a_source().watch()) as snapshots:
            await anext(snapshots)

    with pytest.raises(TimeoutError):
        await first_snapshot()
    remote.heal()
    assert await nothing_left()
    assert remote.open == 0


async def test_a_source_can_be_followed_again_after_it_was_left(stage: Stage) -> None:
    source = stage.a_source()
    for host in range(1, 4):
        stage.set(host)
        async with following(source.watch) as follower:
            await until(lambda host=host, follower=follower: follower.told and hosts(follower.latest) == {host})  # type: ignore[misc]
        assert follower.errors == []


# ---- inspect, observed, close


async def test_an_inspection_finds_everything_in_order(stage: Stage) -> None:
    stage.set(1)
    sentences = [sentence async for sentence in stage.a_source().inspect()]
    assert sentences
    assert all(sentence.isprintable() for sentence in sentences)
    assert await nothing_left()


async def test_an_inspection_and_a_first_snapshot_find_what_cannot_be_read(stage: Stage) -> None:
    stage.set(1)
    stage.break_()
    source = stage.a_source()

    async def check() -> None:
        async for _ in source.inspect():
            pass
        await anext(source.watch())

    with pytest.raises(SourceError):
        await check()
    assert await nothing_left()
    assert not isinstance(stage, RemoteStage) or stage.open == 0


@pytest.mark.parametrize("servers", [[], [a_server(an_endpoint(1))]], ids=len)
async def test_a_source_may_learn_what_haproxy_has_at_any_time(stage: Stage, servers: list[Server]) -> None:
    stage.set(1)
    source = stage.a_source()
    source.observed(iter(servers))
    async with following(source.watch) as follower:
        await until(lambda: follower.told)
        source.observed(iter(servers))
        stage.set(2)
        await until(lambda: hosts(follower.latest) == {2})
    source.observed(iter(servers))
    assert follower.errors == []


async def test_a_source_may_be_closed_at_any_time_and_twice(stage: Stage) -> None:
    stage.set(1)
    source = stage.a_source()
    source.close()
    source.close()
    other = stage.a_source("be_api")
    async with following(other.watch) as follower:
        await until(lambda: follower.told)
        other.close()
    other.close()
    assert await nothing_left()
