"""What do HAProxy's dumps say? Readers of `show info`, `show servers state` and `show stat`: text in, values out.

Columns are found by the names in the header, so a version that adds one can still be parsed. A text that is not such a
dump, or is truncated, raises ValueError.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """The process that answers. A reload or a restart changes *pid* or *started*.

    *started* is Unix time in whole seconds, 0 if HAProxy does not report it (before 2.6). *stopping*: an old worker
    that lives only for its remaining connections.
    """

    version: str
    pid: int
    started: int
    stopping: bool

    def same_process(self, other: ProcessInfo) -> bool:
        """Whether both describe one process."""
        return (self.pid, self.started) == (other.pid, other.started)


def read_info(text: str) -> ProcessInfo:
    """Parse `show info`: only four of its lines, because it is sent around every batch."""
    return ProcessInfo(
        version=_field(text, "Version"),
        pid=_number(_field(text, "Pid"), "Pid"),
        started=_number(_field(text, "Start_time_sec", "0"), "Start_time_sec"),
        stopping=_field(text, "Stopping", "0") != "0",
    )


def _field(text: str, name: str, default: str | None = None) -> str:
    _, found, rest = f"\n{text}".partition(f"\n{name}: ")
    if found:
        return rest.partition("\n")[0]
    if default is None:
        raise ValueError(f"no line {name!r} in the reply to `show info`")
    return default


_DIGITS = 20
"""HAProxy's largest numbers have 64 bits."""


def _number(text: str, name: str) -> int:
    """Read a number of a dump, of which *name* is the column. HAProxy prints nothing but digits."""
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS:
        return int(text)
    raise ValueError(f"{name}: found {text[:50]!r}, expected a number")


class ServerState(NamedTuple):
    """One line of `show servers state`, with HAProxy's own numbers (see its management guide, "show servers state").

    *address* is `-` if the server has none that can be printed. *since_change* is in whole seconds. A frontend may
    have the same name as the backend, but not the same *backend_id*.
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
    agent_state: int
    backend_id: int


_AGE = "srv_time_since_last_change"
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
    _AGE,
    "srv_check_result",
    "srv_check_state",
    "srv_agent_state",
    "be_id",
)


class ServersReader(Generic[T]):
    """Parses `show servers state` of one backend repeatedly; *make* converts each line to a value.

    A line that is unchanged, except for its age, keeps the identical value, unless that value *ages*: then it is
    converted again.
    """

    def __init__(self, make: Callable[[ServerState], T], *, ages: Callable[[T], bool]) -> None:
        self._make = make
        self._ages = ages
        self._header: list[str] = []
        self._known: dict[str, T] = {}  # by line, without its age
        self.backend_id: int | None = None
        """HAProxy's id of the backend, if it has or had any servers."""

    def read(self, text: str) -> tuple[T, ...]:
        """Return the values, in HAProxy's order."""
        lines = text.split("\n")
        if lines[0] != "1" or len(lines) < 2 or not lines[1].startswith("# "):
            raise ValueError("not a `show servers state` dump of version 1")
        header = lines[1][2:].split(" ")
        if header != self._header:
            self._header, self._known = header, {}
        columns = [header.index(column) for column in _STATE_COLUMNS]
        age = header.index(_AGE)
        known, self._known = self._known, {}
        values = []
        for line in lines[2:]:
            ageless = line.split(" ", age + 1)
            del ageless[age:-1]
            key = " ".join(ageless)
            value = known.get(key)
            if value is None or self._ages(value):
                if not line:
                    continue
                row = _server_state(line.split(" "), columns, of=len(header))
                self.backend_id = row.backend_id
                value = self._make(row)
            self._known[key] = value
            values.append(value)
        return tuple(values)


def _server_state(cells: list[str], columns: list[int], *, of: int) -> ServerState:
    if len(cells) != of:
        raise ValueError(f"{len(cells)} columns instead of {of}: {' '.join(cells)!r}")
    backend, id_, name, address, *numbers = columns
    age = columns[_STATE_COLUMNS.index(_AGE)]
    if re.fullmatch("-[0-9]+", cells[age]):  # a change by another of HAProxy's threads, whose clock is ahead
        cells[age] = "0"
    try:
        server_id = _number(cells[id_], "srv_id")
        rest = [_number(cells[column], what) for column, what in zip(numbers, _STATE_COLUMNS[4:], strict=True)]
    except ValueError as error:
        raise ValueError(f"server {cells[name]}: {error}") from None
    return ServerState(cells[backend], server_id, cells[name], cells[address], *rest)


def read_servers_state(text: str) -> tuple[ServerState, ...]:
    """Parse `show servers state`, in HAProxy's order."""
    reader: ServersReader[ServerState] = ServersReader(lambda row: row, ages=lambda _: True)
    return reader.read(text)


class ServerStat(NamedTuple):
    """A server's row of `show stat`: what `show servers state` does not include.

    *sessions* are the running ones, *queued* those that wait for the server, *total* those that it ever had; *maxconn*
    is its bound, 0 for none; *backup*: it gets requests only while no other server can.
    """

    name: str
    id: int
    sessions: int
    queued: int
    maxconn: int
    total: int
    backup: bool


class CheckStat(NamedTuple):
    """The last result of a server's health check, in HAProxy's own words.

    *status* is such as `L4CON` or `L7STS`; *code* the response's, or empty; *output* the last output, or empty.
    """

    name: str
    id: int
    status: str
    code: str
    output: str


class BackendStat(NamedTuple):
    """A backend's own row of `show stat`: its algorithm, the name of its persistence cookie, and its backup servers.

    The first two are empty below the level operator, and *algorithm* is `unknown` for some. *backups* counts those that
    could get requests now. *mode* is `http`, `tcp`, `spop` or `syslog` (`mode log`).
    """

    algorithm: str
    cookie: str
    backups: int
    mode: str


def read_servers_stat(text: str) -> tuple[ServerStat, ...]:
    """Parse the servers' rows of `show stat` in CSV format, of which there may be thousands.

    Only the beginning of a row is split: quoted columns come later.
    """
    header, lines = _stat_lines(text)
    columns = [header.index(column) for column in ("svname", "sid", "scur", "qcur", "slim", "stot", "bck")]
    name, id_, current, queued, limit, total, backup = columns
    last = max(columns) + 1
    try:
        return tuple(
            ServerStat(
                row[name],
                _number(row[id_], "sid"),
                _number(row[current], "scur"),
                _number(row[queued] or "0", "qcur"),
                _number(row[limit] or "0", "slim"),
                _number(row[total], "stot"),
                row[backup] == "1",
            )
            for row in (line.split(",", last) for line in lines)
        )
    except IndexError as cut:
        raise ValueError("a row of `show stat` is truncated") from cut


def read_checks_stat(text: str) -> tuple[CheckStat, ...]:
    """Parse the columns of `show stat` in CSV format that describe the health checks of servers."""
    header, lines = _stat_lines(text)
    columns = [header.index(column) for column in ("svname", "sid", "check_status", "check_code", "last_chk")]
    try:
        rows = [[row[column] for column in columns] for row in csv.reader(lines)]
    except (IndexError, csv.Error) as cut:
        raise ValueError("a row of `show stat` is truncated") from cut
    # `* L7OK`: the last result while another check runs
    return tuple(
        CheckStat(name, _number(id_, "sid"), status.removeprefix("* "), code, output)
        for name, id_, status, code, output in rows
    )


def read_backend_stat(text: str) -> tuple[BackendStat, ...]:
    """Parse a backend's own row of `show stat` in CSV format."""
    header, lines = _stat_lines(text)
    algorithm, cookie, mode = (
        header.index(column) if column in header else -1 for column in ("algo", "cookie", "mode")
    )
    backups = header.index("bck")
    try:
        return tuple(
            BackendStat(
                row[algorithm] if algorithm >= 0 else "",
                row[cookie] if cookie >= 0 else "",
                _number(row[backups] or "0", "bck"),
                row[mode] if mode >= 0 else "",
            )
            for row in csv.reader(lines)
        )
    except (IndexError, csv.Error) as cut:
        raise ValueError("a row of `show stat` is truncated") from cut


def _stat_lines(text: str) -> tuple[list[str], list[str]]:
    """Return the names of the columns, and the rows."""
    if not text.startswith("# pxname,"):
        raise ValueError("not a `show stat` dump")
    header, *lines = text[2:].split("\n")
    return header.split(","), [line for line in lines if line]
