"""The HAProxy of the unit tests answers as the real one does, line by line: so it cannot drift away from it."""

from __future__ import annotations

import re

from dynsrv.runtime import commands
from tests.fakes.haproxy import FakeBackend, FakeHAProxy
from tests.integration.support.haproxy import StartHAProxy

ADDRESS = "127.0.0.1:9"
LINES = [
    "add server be_app/probe",
    "add server be_static/probe",
    "add server nowhere/probe",
    "add server be_app",
    f"add server be_app/a {ADDRESS} id 7 weight 20 check inter 1h",
    f"add server be_app/a {ADDRESS} id 8 weight 20",
    f"add server be_app/b {ADDRESS} id 7 weight 20",
    f"add server be_app/b {ADDRESS} id 8 weight 20 nonsense",
    f"add server be_app/b {ADDRESS} id 8 weight 257",
    f"add server be_app/b@c {ADDRESS} id 8 weight 20",
    f"add server be_app/b {ADDRESS} id 8 weight 0",
    "show servers state be_app",
    "set server be_app/b weight 300",
    "set server be_app/b weight 30",
    "enable health be_app/b",
    "enable server be_app/b",
    "enable agent be_app/b",
    "disable agent be_app/b",
    "enable server be_app/nobody",
    "enable server nowhere/b",
    "show servers state be_app",
    "del server be_app/b",
    "set server be_app/b state drain",
    "show servers state be_app",
    "set server be_app/b state maint",
    "show servers state be_app",
    "set server be_app/b state drain",
    "set server be_app/b state nonsense",
    "show servers state be_app",
    "set server be_app/b state ready",
    "set maxconn server be_app/b 12",
    "shutdown sessions server be_app/b",
    "set server be_app/b state maint",
    "del server be_app/b",
    "del server be_app/b",
    f"add server be_app/c {ADDRESS} id 9 weight 20 agent-check",
    f"add server be_app/c {ADDRESS} id 9 weight 20 agent-check agent-port 9 agent-inter 1h",
    "show servers state be_app",
    "enable agent be_app/c",
    "show servers state be_app",
    "disable agent be_app/c",
    "show servers state be_app",
    "del server nowhere/b",
    "del server be_app",
    "show servers state nowhere",
    "show stat nowhere 4 -1",
    "show cli level",
]
STATE_COLUMNS = (
    "id",
    "name",
    "address",
    "port",
    "admin_state",
    "weight",
    "initial_weight",
    "check_state",
    "agent_state",
)


def _comparable(line: str, answer: str) -> object:
    if line.startswith("show servers state") and "# " in answer:
        rows = commands.servers_state("be_app").read(answer.rstrip("\n"))
        return [tuple(getattr(row, column) for column in STATE_COLUMNS) for row in rows]
    # where the other one is configured, and what was meant instead, are of no use to dynsrv
    return re.sub(r"already used at \S+|; did you mean .*", "", answer.strip()).rstrip(".")


async def test_the_fake_answers_every_line_as_the_real_one_does(a_haproxy: StartHAProxy) -> None:
    haproxy = await a_haproxy(extra="\nbackend be_static\n    balance static-rr\n")
    version = commands.info().read((await haproxy.ask("show info")).rstrip("\n")).version
    fake = FakeHAProxy(version, backends=[FakeBackend("be_app"), FakeBackend("be_static", algorithm="static-rr")])
    for line in LINES:
        real = _comparable(line, await haproxy.ask(line))
        assert _comparable(line, fake.answer(line)) == real, line
