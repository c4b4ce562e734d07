"""What do HAProxy's dumps say? Readers of `show info`, `show servers state` and `show stat`: text in, values out.

Columns are found by the names in the header, so that a version which adds one is read all the same. A text that is not
such a dump, or a cut one, is a ValueError.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """The process that answers. A reload or a restart makes another *pid* or another *started*.

    *started* is Unix time in whole seconds, 0 where HAProxy does not tell (before 2.6). *stopping*: an old worker that
    lives only for the connections it still has.
    """

    version: str
    pid: int
    started: int
    stopping: bool

    def same_process(self, other: ProcessInfo) -> bool:
        """Whether both describe one process."""
        return (self.pid, self.started) == (other.pid, other.started)


def read_info(text: str) -> ProcessInfo:
    """Read `show info`."""
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    try:
        return ProcessInfo(
            version=fields["Version"],
            pid=int(fields["Pid"]),
            started=int(fields.get("Start_time_sec", 0)),
            stopping=fields.get("Stopping", "0") != "0",
        )
    except KeyError as missing:
        raise ValueError(f"no line {missing} in the reply to `show info`") from missing


class ServerState(NamedTuple):
    """One line of `show servers state`, with HAProxy's own numbers (see its management guide, "show servers state").

    *address* is `-` where the server has none that can be printed. *since_change* is in whole seconds. A frontend may
    have the backend's name, but not its *backend_id*.
    """

    backend: str
    id: int
    name: str
    address: str
    port: int
    operational_state: int
    admin_state: int
    weight: int
    initial_weight: int
    since_change: int
    check_result: int
    check_state: int
    backend_id: int


_STATE_COLUMNS = (
    "be_name",
    "srv_id",
    "srv_name",
    "srv_addr",
    "srv_port",
    "srv_op_state",
    "srv_admin_state",
    "srv_uweight",
    "srv_iweight",
    "srv_time_since_last_change",
    "srv_check_result",
    "srv_check_state",
    "be_id",
)


def read_servers_state(text: str) -> tuple[ServerState, ...]:
    """Read `show servers state`, in HAProxy's order."""
    lines = text.split("\n")
    if lines[0] != "1" or len(lines) < 2 or not lines[1].startswith("# "):
        raise ValueError("not the dump of `show servers state` in its version 1")
    header = lines[1][2:].split(" ")
    backend, id_, name, address, port, operational, admin, weight, initial, since, result, state, be_id = (
        header.index(column) for column in _STATE_COLUMNS
    )
    columns = len(header)
    servers = []
    for line in lines[2:]:
        cells = line.split(" ")
        if len(cells) != columns:
            if not line:
                continue
            raise ValueError(f"{len(cells)} columns instead of {columns}: {line!r}")
        servers.append(
            ServerState(
                cells[backend],
                int(cells[id_]),
                cells[name],
                cells[address],
                int(cells[port]),
                int(cells[operational]),
                int(cells[admin]),
                int(cells[weight]),
                int(cells[initial]),
                int(cells[since]),
                int(cells[result]),
                int(cells[state]),
                int(cells[be_id]),
            )
        )
    return tuple(servers)


class Stat(NamedTuple):
    """One row of `show stat`: what `show servers state` does not tell.

    *name* is the server's, or BACKEND or FRONTEND. *sessions* are the running ones, *queued* those that wait for the
    server; *maxconn* is its bound, 0 for none. *algorithm* and the name of a persistence *cookie* stand in the BACKEND
    row only; they are empty below the level operator, and *algorithm* is `unknown` for some.
    """

    proxy: str
    name: str
    id: int
    status: str
    sessions: int
    queued: int
    maxconn: int
    algorithm: str
    cookie: str = ""


def read_stat(text: str) -> tuple[Stat, ...]:
    """Read `show stat` in its CSV form."""
    if not text.startswith("# pxname,"):
        raise ValueError("not the dump of `show stat`")
    rows = csv.reader(text[2:].splitlines())
    header = next(rows)
    proxy, name, sid, status, current, queued, limit = (
        header.index(column) for column in ("pxname", "svname", "sid", "status", "scur", "qcur", "slim")
    )
    algorithm, cookie = (header.index(column) if column in header else -1 for column in ("algo", "cookie"))
    try:
        return tuple(
            Stat(
                row[proxy],
                row[name],
                int(row[sid] or 0),
                row[status],
                int(row[current] or 0),
                int(row[queued] or 0),
                int(row[limit] or 0),
                row[algorithm] if algorithm >= 0 else "",
                row[cookie] if cookie >= 0 else "",
            )
            for row in rows
            if row
        )
    except IndexError as cut:
        raise ValueError("a row of `show stat` is cut") from cut
