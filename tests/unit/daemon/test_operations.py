"""What an operator asks for is done once, on every proxy that is meant, and what became of it is told."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest
from structlog.testing import capture_logs

from dynsrv.errors import ActionRefused
from dynsrv.logs import Event
from dynsrv.model import AdminState, Snapshot
from dynsrv.web.interfaces import ActionResult
from tests.fakes.at_work import AtWork
from tests.fakes.behind import Behind
from tests.fakes.builders import a_policy, an_endpoint

SERVER = "dyn-10.0.0.1:80"


async def two_proxies() -> AtWork:
    at_work = AtWork(Behind(proxy="lb1"), Behind(proxy="lb2"))
    await at_work.settle(an_endpoint(1), an_endpoint(2))
    return at_work


def hold(
    at_work: AtWork,
    server: str = SERVER,
    *,
    backend: str = "be_app",
    state: AdminState = AdminState.DRAIN,
    proxy: str | None = None,
) -> Awaitable[ActionResult]:
    return at_work.controls.hold(backend, server, state=state, proxy=proxy)


def release(at_work: AtWork, *, proxy: str | None = None) -> Awaitable[ActionResult]:
    return at_work.controls.release("be_app", SERVER, proxy=proxy)


async def denial(asked: Awaitable[ActionResult]) -> tuple[str, str]:
    with pytest.raises(ActionRefused) as caught:
        await asked
    return caught.value.reason, str(caught.value)


def outcomes(done: ActionResult) -> list[tuple[str, str, str]]:
    assert all(one.backend == "be_app" for one in done)
    return [(one.proxy, one.outcome, one.detail) for one in done]


def states(at_work: AtWork) -> list[int]:
    return [behind.haproxy.server(SERVER).admin for behind in at_work.behinds]


@pytest.mark.parametrize(("state", "admin"), [(AdminState.DRAIN, 8), (AdminState.MAINT, 1)])
async def test_a_server_is_held_on_all_proxies_until_it_is_released(state: AdminState, admin: int) -> None:
    at_work = await two_proxies()
    assert outcomes(await hold(at_work, state=state)) == [("lb1", "done", ""), ("lb2", "done", "")]
    assert states(at_work) == [admin, admin]
    await at_work.passes(3)
    assert states(at_work) == [admin, admin]
    assert all(view.converged for view in at_work.backend.views())
    why = f"held by an operator: put into {state} by hand; set it to ready to release it"
    assert (await at_work.told_of(SERVER))["why"] == why

    assert outcomes(await release(at_work)) == [("lb1", "done", ""), ("lb2", "done", "")]
    assert states(at_work) == [0, 0]
    await at_work.passes(3)
    assert states(at_work) == [0, 0]
    assert (await at_work.told_of(SERVER))["why"] == "as desired"


async def test_one_proxy_alone_can_be_meant() -> None:
    at_work = await two_proxies()
    assert outcomes(await hold(at_work, proxy="lb2")) == [("lb2", "done", "")]
    assert states(at_work) == [0, 8]
    assert at_work.woken() == ["lb2"]


async def test_it_is_logged_and_recorded_like_every_other_change() -> None:
    at_work = await two_proxies()
    known = len(at_work.audit_log.recent)
    with capture_logs() as logs:
        await hold(at_work, proxy="lb1")
        await release(at_work, proxy="lb1")
    assert [(line["event"], line["server"], line["reason"]) for line in logs] == [
        (Event.SERVER_DRAINING, SERVER, "held by an operator through the API"),
        (Event.SERVER_ENABLED, SERVER, "released by an operator through the API"),
    ]
    assert [one.reason for one in at_work.audit_log.recent][known:] == [line["reason"] for line in logs]
    assert at_work.woken() == ["lb1"]


async def test_a_hold_and_its_release_are_no_drift() -> None:
    at_work = await two_proxies()
    with capture_logs() as logs:
        await hold(at_work)
        await at_work.passes(2)
        await release(at_work)
        await at_work.passes(2)
    assert not [line for line in logs if line["event"] == Event.DRIFT_DETECTED]


async def test_a_server_that_is_held_already_is_not_held_again() -> None:
    at_work = await two_proxies()
    await hold(at_work)
    for state in (AdminState.DRAIN, AdminState.MAINT):
        assert await denial(hold(at_work, state=state)) == ("conflict", f"the server {SERVER} is in drain already")


async def test_a_server_that_leaves_cannot_be_held() -> None:
    at_work = await two_proxies()
    for behind in at_work.behinds:
        behind.haproxy.open_session(SERVER)
    at_work.want(an_endpoint(2))
    await at_work.passes(2)
    assert await denial(hold(at_work)) == ("conflict", f"the server {SERVER} is in drain already")


async def test_a_new_server_that_waits_for_its_check_cannot_be_held() -> None:
    at_work = AtWork(policy=a_policy())
    at_work.want(an_endpoint(1))
    await at_work.passes()
    assert await denial(hold(at_work)) == ("conflict", f"the server {SERVER} is in maint already")


async def test_a_server_of_weight_0_cannot_be_held_because_nobody_could_tell_later() -> None:
    at_work = AtWork()
    await at_work.settle(an_endpoint(1, weight=0))
    sentence = f"the server {SERVER} has weight 0; dynsrv could not tell your drain from its own"
    assert await denial(hold(at_work)) == ("conflict", sentence)


async def test_a_server_that_nobody_holds_cannot_be_released() -> None:
    at_work = await two_proxies()
    assert await denial(release(at_work)) == ("conflict", f"the server {SERVER} is not held by an operator")


async def test_what_can_be_done_on_one_proxy_is_done_there_and_told_of_the_other() -> None:
    at_work = await two_proxies()
    await hold(at_work, proxy="lb1")
    already = f"the server {SERVER} is in drain already"
    assert outcomes(await hold(at_work)) == [("lb1", "refused", already), ("lb2", "done", "")]
    await release(at_work, proxy="lb2")
    not_held = f"the server {SERVER} is not held by an operator"
    assert outcomes(await release(at_work)) == [("lb1", "done", ""), ("lb2", "refused", not_held)]
    assert states(at_work) == [0, 0]


async def test_a_server_that_one_proxy_does_not_have_is_told_as_that() -> None:
    at_work = await two_proxies()
    at_work.behinds[1].haproxy.reload()
    absent = f"there is no server {SERVER} in the backend be_app"
    assert outcomes(await hold(at_work)) == [("lb1", "done", ""), ("lb2", "refused", absent)]
    assert await denial(hold(at_work, proxy="lb2")) == ("not_found", absent)


async def test_a_wrong_state_is_told_rather_than_an_absence() -> None:
    at_work = await two_proxies()
    await hold(at_work, proxy="lb1")
    at_work.behinds[1].haproxy.reload()
    assert await denial(hold(at_work)) == ("conflict", f"the server {SERVER} is in drain already")


async def test_what_does_not_exist_is_not_found() -> None:
    at_work = await two_proxies()
    absent = "there is no server dyn-none in the backend be_app"
    assert await denial(hold(at_work, "dyn-none")) == ("not_found", absent)
    unknown = "there is no backend be_none in dynsrv's configuration"
    assert await denial(hold(at_work, backend="be_none")) == ("not_found", unknown)
    assert await denial(hold(at_work, proxy="lb3")) == ("not_found", "no backend be_app is managed on a proxy lb3")
    for backend, sentence in (("be_app", "no backend be_app"), (None, "no backend")):
        with pytest.raises(ActionRefused, match=f"^{sentence} is managed on a proxy lb3$"):
            at_work.controls.reconcile(backend=backend, proxy="lb3")


@pytest.mark.parametrize("server", ["by-hand", "s1", "dyn", "by hand; shutdown"])
async def test_a_server_of_somebody_else_s_is_never_touched(server: str) -> None:
    at_work = await two_proxies()
    at_work.behind.haproxy.answer("add server be_app/by-hand 10.0.0.9:80")
    asked = len(at_work.behind.haproxy.journal)
    sentence = f"the server {server} is not managed by dynsrv"
    assert await denial(hold(at_work, server)) == ("forbidden", sentence)
    assert len(at_work.behind.haproxy.journal) == asked


async def test_a_name_that_could_end_a_command_is_only_looked_for() -> None:
    at_work = await two_proxies()
    before = len(at_work.behind.haproxy.changes)
    reason, _ = await denial(hold(at_work, "dyn-;\nshutdown"))
    assert reason == "not_found"
    assert len(at_work.behind.haproxy.changes) == before


async def test_a_proxy_that_does_not_answer_is_told_with_the_sentence_and_the_other_does_it() -> None:
    at_work = await two_proxies()
    first = at_work.behind
    for connection in first.wire.open:
        connection.end()
    first.wire.refusals = [FileNotFoundError(2, "No such file or directory")] * 9
    (one, other) = outcomes(await hold(at_work))
    assert other == ("lb2", "done", "")
    assert one[:2] == ("lb1", "error")
    assert "lb1: unix:///run/haproxy/admin.sock: no such socket: HAProxy is not running" in one[2]


async def test_a_haproxy_that_goes_in_the_middle_is_an_error_and_is_in_the_ledger_s_file(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    at_work = await two_proxies()
    at_work.audit_log.audit = tmp_path_factory.mktemp("audit") / "audit"
    wire = at_work.behind.wire

    def goes(line: str) -> None:
        if line.startswith("set server"):
            wire.connections[-1].end()
            wire.refusals = [ConnectionRefusedError(111, "Connection refused")] * 9

    wire.before_line = goes
    (result,) = outcomes(await hold(at_work, proxy="lb1"))
    assert result[1] == "error"
    assert '"outcome": "unanswered"' in at_work.audit_log.audit.read_text()


async def test_a_refusal_of_haproxy_s_is_told_in_its_words() -> None:
    at_work = await two_proxies()
    haproxy = at_work.behind.haproxy

    def deletes(line: str) -> None:
        if line.startswith("set server"):
            haproxy.answer(f"set server be_app/{SERVER} state maint")
            haproxy.answer(f"del server be_app/{SERVER}")

    at_work.behind.wire.before_line = deletes
    (result,) = outcomes(await hold(at_work, proxy="lb1"))
    assert result == ("lb1", "refused", "No such server.")


async def test_a_rejected_backend_says_why() -> None:
    at_work = AtWork(Behind(algorithm="static-rr"))
    (result,) = outcomes(await hold(at_work))
    assert result[1] == "error"
    assert "its algorithm (static-rr) does not accept servers at runtime" in result[2]


async def test_two_entries_of_one_backend_are_both_meant() -> None:
    at_work = AtWork(Behind(proxy="lb1"))
    other = at_work.manage(Behind(proxy="lb2"))
    at_work.want(an_endpoint(1))
    other.feed.publish(Snapshot((an_endpoint(1),)))
    await at_work.passes(3)
    assert outcomes(await hold(at_work)) == [("lb1", "done", ""), ("lb2", "done", "")]
