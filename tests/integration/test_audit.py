"""Every command that changes HAProxy is in the audit file with its reply, and in the log with its reason."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from dynsrv.logs import Event
from tests.integration.support.api import TOKEN, Api, done, name_of
from tests.integration.support.controller import Install
from tests.integration.support.haproxy import HAProxy, StartHAProxy, serves
from tests.integration.support.load import request
from tests.integration.support.waiting import eventually
from tests.integration.support.web_servers import WebServers

pytestmark = pytest.mark.any_version

EVENTS = {
    "add": Event.SERVER_ADDED,
    "enable_health": Event.HEALTH_CHECK_ENABLED,
    "admit": Event.SERVER_ENABLED,
    "set_weight": Event.WEIGHT_CHANGED,
    "set_maxconn": Event.MAXCONN_CHANGED,
    "drain": Event.SERVER_DRAINING,
    "disable": Event.SERVER_DISABLED,
    "close_sessions": Event.SESSIONS_CLOSED,
    "delete": Event.SERVER_DELETED,
}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_of_many_equal_changes_the_log_names_all_and_the_audit_file_has_each(
    haproxy: HAProxy, dynsrv: Install, *, tmp_path: Path
) -> None:
    audit = tmp_path / "audit.jsonl"
    backend = {"server": {"check": False}}
    controller = dynsrv(haproxy, backend=backend, log={"format": "json"}, audit={"path": audit.name})
    wanted = {f"dyn-app-{number}" for number in range(50)}
    controller.want({"name": f"app-{number}", "address": f"127.66.0.{number + 1}", "port": 80} for number in range(50))
    await controller.start()
    await controller.logged(Event.BACKEND_IN_SYNC)
    for step in ("add", "admit", "set_weight"):
        told = [line for line in controller.log_data() if line.get("step") == step]
        own, (rest,) = [line["server"] for line in told if "server" in line], [one for one in told if "others" in one]
        assert (len(own), rest["others"], rest["event"]) == (20, 30, Event.MORE_SERVERS_CHANGED)
        assert {*own, *rest["servers"]} == wanted
        assert {line["server"] for line in _lines(audit) if line["step"] == step} == wanted
    assert set(await haproxy.servers()) == wanted


async def test_every_command_is_there_with_its_reply_and_every_change_is_a_line_of_the_log(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, *, unused_tcp_port: int, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    one, other = await web_servers(2)
    audit = tmp_path / "audit.jsonl"
    controller = dynsrv(
        haproxy,
        backend={
            "server": {"check": True, "inter": "100ms", "fall": 1, "rise": 1, "maxconn": 10},
            "drain": {"timeout": "500ms", "on_timeout": "close"},
        },
        web={"listen": f"127.0.0.1:{unused_tcp_port}", "token_file": "token"},
        log={"format": "json"},
        audit={"path": audit.name},
    )
    controller.want([one, other])
    await controller.start()
    await serves(haproxy, [one, other])
    controller.want([{**one.endpoint, "weight": 7, "maxconn": 20}, other])
    await eventually(lambda: {"set_weight", "set_maxconn"} <= {line["step"] for line in _lines(audit)})

    api, held = Api(unused_tcp_port), name_of(one)
    assert await api.hold(held, state="maint") == (200, done("lb1"))
    assert await api.release(held) == (200, done("lb1"))

    slow = asyncio.create_task(request(haproxy.frontend, "/slow", timeout=60))
    await eventually(lambda: one.slow_running + other.slow_running == 1)
    busy = one if one.slow_running else other
    controller.want([])
    await eventually(lambda: sum(line["step"] == "delete" and line["outcome"] == "done" for line in _lines(audit)) == 2)
    await asyncio.gather(slow, return_exceptions=True)
    await eventually(lambda: len(controller.lines(Event.BACKEND_IN_SYNC)) >= 2)
    assert await controller.stop() == 0

    lines = _lines(audit)
    assert {line["step"] for line in lines if line["outcome"] == "done"} == EVENTS.keys()
    for line in lines:
        assert line.keys() == {
            *("time", "proxy", "backend", "step", "server", "reason", "outcome", "command", "reply", "seconds")
        }
        assert (line["proxy"], line["backend"]) == ("lb1", "be_app")
        assert line["server"] in {name_of(one), name_of(other)}
        assert line["server"] in line["command"]
        assert line["reason"]
        assert 0 <= line["seconds"] < 5
    assert {line["reply"] for line in lines if line["step"] == "add"} == {"New server registered."}
    assert {line["reply"] for line in lines if line["step"] == "delete" and line["outcome"] == "done"} == {
        "Server deleted."
    }
    cut = [line for line in lines if line["step"] == "close_sessions"]
    assert {line["server"] for line in cut} == {name_of(busy)}
    assert cut[0]["reason"] == "no longer listed by the source; 1 session left, none younger than 0.5 s"
    by_hand = [line["command"] for line in lines if line["reason"] == "held by an operator through the API"]
    assert by_hand == [f"set server be_app/{held} state maint"]

    logged = controller.log_data()
    told = [line for line in logged if line["event"] in EVENTS.values()]
    for line in told:
        assert EVENTS[line["step"]] == line["event"]
        assert line.keys() == {
            *("event", "message", "level", "timestamp", "proxy", "backend", "server", "step", "reason", "seconds")
        }
        assert line["level"] == "info"
    facts = ("step", "server", "reason", "proxy", "backend")
    done_lines = Counter(tuple(line[key] for key in facts) for line in lines if line["outcome"] == "done")
    assert Counter(tuple(line[key] for key in facts) for line in told) == done_lines


async def test_a_refusal_is_there_in_haproxy_s_words(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, tmp_path: Path
) -> None:
    controller = dynsrv(haproxy, backend={"server": {"options": ["ws nonsense"]}}, audit={"path": "audit"})
    controller.want(await web_servers(1))
    await controller.start()
    await eventually(lambda: _lines(tmp_path / "audit"))
    line = _lines(tmp_path / "audit")[0]
    assert (line["step"], line["outcome"]) == ("add", "refused")
    assert "'ws' has to be" in line["reply"]
    assert " ws nonsense" in line["command"]


def _has(path: Path, end: str) -> bool:
    return any(line["command"].endswith(end) for line in _lines(path))


async def test_a_file_that_is_rotated_loses_no_line(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, tmp_path: Path
) -> None:
    (server,) = await web_servers(1)
    audit = tmp_path / "audit"
    controller = dynsrv(haproxy, audit={"path": "audit"})
    controller.want([server])
    await controller.start()
    await serves(haproxy, [server])
    files = []
    for weight in range(1, 11):
        rotated = tmp_path / f"audit.{weight}"
        audit.rename(rotated)
        files.append(rotated)
        controller.want([{**server.endpoint, "weight": weight}])
        await eventually(partial(_has, audit, f" weight {weight}"))
    lines = [line for path in [*files, audit] for line in _lines(path)]
    weights = [line["command"].rpartition(" ")[2] for line in lines if line["step"] == "set_weight"]
    assert weights == [str(weight) for weight in range(1, 11)]


async def test_a_file_that_cannot_be_written_is_told_once_and_everything_else_goes_on(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, tmp_path: Path
) -> None:
    servers = await web_servers(2)
    controller = dynsrv(haproxy, log={"format": "json"}, audit={"path": "none/audit"})
    refused = await controller.run("check")
    assert (refused.code, refused.out) == (1, "")
    problem = "there is no such directory; create it, or correct the path"
    assert refused.err == f"dynsrv: audit.path: {tmp_path}/none/audit: {problem}\n"
    (tmp_path / "none").mkdir()
    controller.want([])
    await controller.start()
    await controller.logged(Event.FIRST_ENDPOINTS_RECEIVED)
    (tmp_path / "none").rmdir()
    controller.want(servers[:1])
    await serves(haproxy, servers[:1])
    controller.want(servers)
    await serves(haproxy, servers)
    told = json.loads(await controller.logged(Event.AUDIT_WRITE_FAILED))
    assert told["error"] == "there is no such directory; create it, or correct the path"
    assert told["path"] == str(tmp_path / "none" / "audit")
    (tmp_path / "none").mkdir()
    controller.want(servers[1:])
    await serves(haproxy, servers[1:])
    await controller.logged(Event.AUDIT_WRITE_RECOVERED)
    assert name_of(servers[0]) in {line["server"] for line in _lines(tmp_path / "none" / "audit")}
    assert len(controller.lines(Event.AUDIT_WRITE_FAILED)) == 1


async def test_a_file_system_that_hangs_delays_what_is_done_and_does_not_stop_it(
    a_haproxy: StartHAProxy, web_servers: WebServers, dynsrv: Install, tmp_path: Path
) -> None:
    haproxy = await a_haproxy()
    (server,) = await web_servers(1)
    os.mkfifo(tmp_path / "audit")  # nobody reads it: to open it takes for ever
    controller = dynsrv(haproxy, log={"format": "json"}, audit={"path": "audit"})
    controller.want([server])
    await controller.start()
    told = json.loads(await controller.logged(Event.AUDIT_WRITE_FAILED))
    assert told["error"] == "no answer within 5 s"
    await serves(haproxy, [server])
    controller.want([{**server.endpoint, "weight": 5}])
    await controller.logged(Event.WEIGHT_CHANGED, within=5)
    assert len(controller.lines(Event.AUDIT_WRITE_FAILED)) == 1
    reader = os.open(tmp_path / "audit", os.O_RDONLY | os.O_NONBLOCK)  # it answers again
    controller.want([{**server.endpoint, "weight": 6}])
    await controller.logged(Event.AUDIT_WRITE_RECOVERED)
    os.close(reader)


async def test_the_file_can_be_another_one_after_sighup(
    haproxy: HAProxy, web_servers: WebServers, dynsrv: Install, tmp_path: Path
) -> None:
    servers = await web_servers(2)
    controller = dynsrv(haproxy)
    controller.want(servers[:1])
    await controller.start()
    await serves(haproxy, servers[:1])
    settings = yaml.safe_load(controller.configuration.read_text())
    controller.configuration.write_text(yaml.safe_dump({**settings, "audit": {"path": "audit"}}))
    controller.signal(signal.SIGHUP)
    await controller.logged(Event.CONFIGURATION_RELOADED)
    controller.want(servers)
    await serves(haproxy, servers)
    assert {line["server"] for line in _lines(tmp_path / "audit")} == {name_of(servers[1])}
