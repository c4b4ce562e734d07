"""Facts about the real Consul on which dynsrv relies; nothing of dynsrv runs here."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.support.certificates import make_certificates
from tests.integration.support.consul import Cluster, Consul
from tests.integration.support.consul_api import MANAGEMENT, Answer, request
from tests.integration.support.waiting import eventually

UNKNOWN = "00000000-0000-4000-8000-000000000000"
ALLOWED = 'service "web" { policy = "read" } node_prefix "" { policy = "read" }'
WANTED = [
    {"Resource": "service", "Access": "read", "Segment": "web"},
    {"Resource": "node", "Access": "read", "Segment": "consul"},
]


async def a_consul(stack: AsyncExitStack, **arguments: Any) -> Consul:
    """Start one with an instance of the service web."""
    consul = await stack.enter_async_context(Consul(**arguments))
    await consul.register("web", port=80)
    await eventually(lambda: ports(consul, {80}))
    return consul


async def ports(consul: Consul, wanted: set[int]) -> bool:
    answer = await consul.health("web")
    return answer.status == 200 and {one["Service"]["Port"] for one in answer.json} == wanted


async def blocked(consul: Consul, index: int, *, service: str = "web", wait: str = "10s") -> asyncio.Task[Answer]:
    """Begin to wait for another state of *service* than that of *index*, and return when Consul waits."""
    query = asyncio.create_task(consul.health(service, f"index={index}&wait={wait}"))
    await eventually(consul.blocked)
    return query


async def cancelled(query: asyncio.Task[Answer]) -> None:
    query.cancel()
    await asyncio.gather(query, return_exceptions=True)


async def rights(consul: Consul, token: str | None) -> dict[str, bool]:
    answer = await consul.ask("/v1/internal/acl/authorize", method="POST", body=WANTED, token=token)
    assert answer.status == 200, answer
    return {one["Resource"]: one["Allow"] for one in answer.json}


async def test_what_a_token_may_not_see_is_left_out_of_a_good_answer(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack, acl=True)
    service_only = await consul.a_token(await consul.a_policy("service", 'service "web" { policy = "read" }'))
    both = await consul.a_token(await consul.a_policy("both", ALLOWED))
    assert len((await consul.ask("/v1/health/service/web", token=both)).json) == 1
    for token in (None, service_only):
        answer = await consul.ask("/v1/health/service/web", token=token)
        assert (answer.status, answer.json) == (200, [])
        assert answer.index > 1
        assert "x-consul-results-filtered-by-acls" not in answer.headers


async def test_an_unknown_token_is_refused(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack, acl=True)
    answer = await consul.ask("/v1/health/service/web", token=UNKNOWN)
    assert (answer.status, answer.text) == (403, "ACL not found")


async def test_a_token_is_told_what_it_may_do(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack, acl=True)
    token = await consul.a_token(await consul.a_policy("some", 'service "web" { policy = "read" }'))
    assert await rights(consul, None) == {"service": False, "node": False}
    assert await rights(consul, token) == {"service": True, "node": False}
    assert await rights(consul, MANAGEMENT) == {"service": True, "node": True}

    await consul.a_policy("some", ALLOWED)
    assert await rights(consul, token) == {"service": True, "node": True}
    await consul.delete_token(token)
    answer = await consul.ask("/v1/internal/acl/authorize", method="POST", body=WANTED, token=token)
    assert (answer.status, answer.text) == (403, "ACL not found")


async def test_a_query_that_nothing_wakes_is_answered_with_what_the_token_could_read_when_it_came(
    stack: AsyncExitStack,
) -> None:
    consul = await a_consul(stack, acl=True)
    token = await consul.a_token(await consul.a_policy("some", 'service "web" { policy = "read" }'))
    index = (await consul.health("web")).index
    query = asyncio.create_task(consul.ask(f"/v1/health/service/web?index={index}&wait=3s", token=token))
    await eventually(consul.blocked)
    await consul.a_policy("some", ALLOWED)
    assert await rights(consul, token) == {"service": True, "node": True}
    assert not query.done()
    answer = await query
    assert (answer.status, answer.json, answer.index) == (200, [], index)
    assert len((await consul.ask("/v1/health/service/web", token=token)).json) == 1


async def test_who_may_read_every_node_may_read_the_one_without_a_name(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack, acl=True)
    every = await consul.a_token(await consul.a_policy("every", 'node_prefix "" { policy = "read" }'))
    one = await consul.a_token(await consul.a_policy("one", 'node "consul" { policy = "read" }'))
    wanted = [{"Resource": "node", "Access": "read", "Segment": ""}]
    for token, allowed in ((every, True), (one, False)):
        answer = await consul.ask("/v1/internal/acl/authorize", method="POST", body=wanted, token=token)
        assert [entry["Allow"] for entry in answer.json] == [allowed]


async def test_without_acls_nobody_is_told_what_a_token_may_do(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack)
    answer = await consul.ask("/v1/internal/acl/authorize", method="POST", body=WANTED)
    assert (answer.status, answer.text) == (401, "ACL support disabled")


async def test_after_a_loss_of_data_the_index_goes_back_and_the_old_one_hides_changes(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack)
    for port in range(81, 121):
        await consul.register("web", port=port)
    await eventually(lambda: ports(consul, set(range(80, 121))))
    old = (await consul.health("web")).index
    await consul.kill()
    await consul.start()
    assert (await consul.health("web")).index < old

    query = await blocked(consul, old)
    await consul.register("web", port=80)
    await eventually(lambda: ports(consul, {80}))
    assert not query.done()
    await cancelled(query)


async def test_data_is_kept_or_put_back(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack, durable=True)
    await consul.kill()
    copy = consul.copy_data()
    await consul.start()
    await consul.register("web", port=81)
    await eventually(lambda: ports(consul, {80, 81}))
    index = (await consul.health("web")).index

    await consul.kill()
    consul.restore(copy)
    await consul.start()
    assert await ports(consul, {80})
    assert (await consul.health("web")).index < index


async def test_an_error_has_the_index_1(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack)
    answer = await consul.health("web", "filter=nonsense")
    assert (answer.status, answer.index) == (500, 1)


async def test_an_agent_that_ends_answers_with_what_it_knows(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack)
    known = await consul.health("web")
    query = await blocked(consul, known.index)
    await consul.terminate()
    answer = await query
    assert (answer.status, answer.json, answer.index) == (200, known.json, known.index)
    with pytest.raises(ConnectionRefusedError):
        await consul.health("web")


async def test_who_asks_for_a_missing_service_is_woken_by_others(stack: AsyncExitStack) -> None:
    # The agent has told the catalog of itself, too: that would have woken the query.
    consul = await a_consul(stack)
    nothing = await consul.health("missing")
    query = await blocked(consul, nothing.index, service="missing")
    await consul.touch_unrelated()
    answer = await query
    assert answer.json == []
    assert answer.index > nothing.index


async def test_who_asks_for_a_service_that_exists_is_not_woken_by_others(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack)
    query = await blocked(consul, (await consul.health("web")).index, wait="1s")
    begin = time.monotonic()
    await consul.touch_unrelated()
    await query
    assert time.monotonic() - begin > 0.5


async def test_a_bad_filter_is_the_fault_of_the_server(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack)
    answer = await consul.health("web", f"filter={quote('no such thing')}")
    assert answer.status == 500
    assert "Failed to create boolean expression evaluator" in answer.text


async def test_an_unknown_datacenter_is_the_fault_of_the_server(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack)
    answer = await consul.health("web", "dc=dc9")
    assert answer.status == 500
    assert "No path to datacenter" in answer.text


async def test_a_connection_too_many_is_closed_without_an_answer(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack, extra={"limits": {"http_max_conns_per_client": 5}})
    index = (await consul.health("web")).index
    queries = [asyncio.create_task(consul.health("web", f"index={index}&wait=10s")) for _ in range(6)]
    closed, _ = await asyncio.wait(queries, return_when=asyncio.FIRST_COMPLETED)
    for query in closed:
        assert isinstance(query.exception(), (ConnectionError, EOFError))
    for query in queries:
        await cancelled(query)


async def test_a_query_that_was_given_up_goes_on_in_consul(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack)
    query = await blocked(consul, (await consul.health("web")).index)
    await cancelled(query)
    assert await consul.blocked() == 1
    await consul.register("web", port=81)
    await eventually(lambda: nothing_blocked(consul))


async def nothing_blocked(consul: Consul) -> bool:
    return await consul.blocked() == 0


async def test_maintenance_is_a_critical_check_with_a_name_of_its_own(stack: AsyncExitStack) -> None:
    consul = await a_consul(stack)

    async def checks() -> dict[str, str]:
        (instance,) = (await consul.health("web")).json
        return {check["CheckID"]: check["Status"] for check in instance["Checks"]}

    usual = {"serfHealth": "passing", "service:web-80": "passing"}
    await eventually(lambda: seen(checks, usual))
    await consul.service_maintenance("web-80", enable=True)
    await eventually(lambda: seen(checks, {**usual, "_service_maintenance:web-80": "critical"}))
    await consul.service_maintenance("web-80", enable=False)
    await consul.node_maintenance(enable=True)
    await eventually(lambda: seen(checks, {**usual, "_node_maintenance": "critical"}))
    await consul.node_maintenance(enable=False)
    await consul.set_status("web-80", "warning")
    await eventually(lambda: seen(checks, {**usual, "service:web-80": "warning"}))


async def seen(checks: Any, wanted: dict[str, str]) -> bool:
    found = await checks()
    assert found == wanted
    return True


async def test_https_may_ask_for_a_certificate(stack: AsyncExitStack, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    consul = await a_consul(stack, certificates=certificates, verify_clients=True)
    assert consul.https_url is not None
    answer = await request(consul.https_url, "/v1/status/leader", tls=certificates.context(client=True))
    assert answer.status == 200
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
        await request(consul.https_url, "/v1/status/leader", tls=certificates.context())
    with pytest.raises(ssl.SSLCertVerificationError):
        await request(consul.https_url, "/v1/status/leader", tls=ssl.create_default_context())


async def test_another_leader_is_elected_and_without_a_quorum_only_stale_reads_go_on(stack: AsyncExitStack) -> None:
    cluster = await stack.enter_async_context(Cluster())
    first = await cluster.leader()
    await first.register("web", port=80)
    await eventually(lambda: ports(first, {80}))
    await first.kill()
    second = await cluster.leader()
    assert second is not first
    # Until it has committed something of its own, even what the first one had told already may be missing.
    await eventually(lambda: ports(second, {80}))
    (follower,) = await cluster.followers()
    await follower.kill()
    await eventually(lambda: has_no_leader(second))
    assert len((await second.health("web", "stale")).json) == 1
    await cluster.start()
    await eventually(lambda: ports(second, {80}))


async def has_no_leader(consul: Consul) -> bool:
    return not await consul.leader_address()
