"""What do the rows of the Runtime API mean? Servers and processes of the model."""

from __future__ import annotations

from contextlib import suppress

from dynsrv.model import MAX_WEIGHT, AdminState, Agent, Check, OperationalState, Process, Server, canonical_address
from dynsrv.runtime import CheckStat, ProcessInfo, ServersReader, ServerStat, ServerState


def process(info: ProcessInfo) -> Process:
    """Return the process that answered."""
    return Process(pid=info.pid, started=info.started, version=info.version)


_OPERATIONAL = (OperationalState.DOWN, OperationalState.STARTING, OperationalState.UP, OperationalState.STOPPING)

# bits of srv_admin_state
_MAINT = 0x01
_DRAIN = 0x08
_DOWN = 0x02 | 0x20  # because of the server that it tracks, or because its name cannot be resolved: nobody's wish
_STOPPING = 0x10  # because of the server that it tracks
# bits of srv_check_state
_CONFIGURED = 2
_ENABLED = 4
_PAUSED = 8
_AGENTS = {0: Agent.NONE, _CONFIGURED: Agent.DISABLED}  # by these bits of srv_agent_state
# srv_check_result; 0 while a check runs, too
_MOST_CHECK_RESULT = 4
_CHECK_RESULTS = {2: Check.FAILED, 3: Check.PASSED, 4: Check.PASSED}  # 4: passed, with `disable-on-404`


_MAX_OUTPUT = 200  # characters of a check's output, which an external check or a web server chooses


def servers_reader() -> ServersReader[Server]:
    """Return a reader for the servers of one backend, which keeps what it read last."""
    return ServersReader(server, ages=lambda one: not one.serving)


def server(row: ServerState) -> Server:
    """Convert a row of `show servers state`.

    Raises:
        ValueError: a number that HAProxy does not print (2.6-3.4), so that its meaning is unknown.
    """
    for column, found, most in (
        ("srv_op_state", row.operational_state, len(_OPERATIONAL) - 1),
        ("srv_check_result", row.check_result, _MOST_CHECK_RESULT),
        ("srv_uweight", row.weight, MAX_WEIGHT),
        ("srv_port", row.port, 65535),
    ):
        if found > most:
            raise ValueError(f"server {row.name}: {column}: found {found}, expected 0 to {most}")
    if row.admin_state & _MAINT:
        admin = AdminState.MAINT
    elif row.admin_state & _DRAIN:
        admin = AdminState.DRAIN
    else:
        admin = AdminState.READY
    if row.admin_state & _DOWN:
        operational = OperationalState.DOWN
    elif row.admin_state & _STOPPING:
        operational = OperationalState.STOPPING
    else:
        operational = _OPERATIONAL[row.operational_state]
    if not row.check_state & _CONFIGURED:
        check = Check.NONE
    elif not row.check_state & _ENABLED:
        check = Check.DISABLED
    else:
        check = _CHECK_RESULTS.get(row.check_result, Check.PENDING)
    return Server(
        name=row.name,
        id=row.id,
        address=_address(row.address),
        port=row.port,
        weight=row.weight,
        admin=admin,
        operational=operational,
        check=check,
        check_paused=bool(row.check_state & _PAUSED),
        since_change=row.since_change,
        agent=_AGENTS.get(row.agent_state & (_CONFIGURED | _ENABLED), Agent.ENABLED),
        initial_weight=row.initial_weight,
    )


def with_stat(one: Server, stat: ServerStat, *, sessions: bool, timed: bool) -> Server:
    """Return the server with what only `show stat` shows.

    *sessions*: the number of sessions in *stat* is current. *timed*: this version's time since the last change is also
    that since a drain began. It is the difference of two clocks in whole seconds, so it may be up to a second too long.
    """
    return Server(  # twice as fast as `dataclasses.replace`, which matters when thousands drain
        one.name,
        one.id,
        one.address,
        one.port,
        one.weight,
        one.admin,
        one.operational,
        one.check,
        one.check_paused,
        one.since_change,
        sessions=stat.sessions + stat.queued if sessions else None,
        sessions_total=stat.total if sessions else None,
        maxconn=stat.maxconn,
        drained_for=max(0.0, one.since_change - 1) if timed and one.admin is AdminState.DRAIN else None,
        backup=stat.backup,
        agent=one.agent,
        initial_weight=one.initial_weight,
    )


def check_detail(stat: CheckStat) -> str | None:
    """Return why a check failed: `L4CON, Connection refused`, `L7STS 503, …`; None if HAProxy does not say."""
    output = "".join(one if one.isprintable() else " " for one in stat.output).strip()
    if len(output) > _MAX_OUTPUT:
        output = f"{output[:_MAX_OUTPUT]}…"
    return ", ".join(filter(None, (f"{stat.status} {stat.code}".strip(), output))) or None


def _address(text: str) -> str | None:
    if ":" in text:  # IPv6 has many spellings
        with suppress(ValueError):  # a static server at an address that no endpoint can have
            return canonical_address(text)
    return None if text == "-" else text
