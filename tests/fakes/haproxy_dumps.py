"""How does HAProxy print what it has? `show info`, `show servers state` and `show stat` of a fake process."""

from __future__ import annotations

import csv
import io
import ipaddress
from collections.abc import Iterable

from tests.fakes.haproxy_process import CONFIGURED, DOWN, DRAIN, ENABLED, FakeBackend, FakeServer, Process

_STATE = (
    "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight"
    " srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state"
    " bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord"
)
_STATE_SINCE_2_4 = " srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port"
_STAT = (
    "pxname,svname,qcur,qmax,scur,smax,slim,stot,status,weight,act,bck,iid,sid,type,check_status,check_code,last_chk,addr,cookie,"
    "mode,algo"
)
_NAMELESS = {"random": "unknown", "sticky": "unknown", "consistent": "source", "map-based": "source"}


def info(process: Process) -> str:
    """Return `show info`, its lines that tell one process from another and a few others."""
    uptime = int(process.now() - process.started)
    lines = [
        "Name: HAProxy",
        f"Version: {process.version}",
        "Release_date: 2026/10/14",
        "Nbthread: 2",
        "Process_num: 1",
        f"Pid: {process.pid}",
        f"Uptime_sec: {uptime}",
        "node: lb: 1",
        f"Stopping: {int(process.stopping)}",
        "Jobs: 4",
    ]
    if process.number >= (2, 6):
        lines.append(f"Start_time_sec: {process.started}")
    return "".join(f"{line}\n" for line in lines)


def servers_state(backends: Iterable[FakeBackend], process: Process) -> str:
    """Return `show servers state`."""
    newer = process.number >= (2, 4)
    text = f"1\n# {_STATE}{_STATE_SINCE_2_4 if newer else ''}\n"
    for backend in backends:
        for server in backend.servers:
            cells: tuple[object, ...] = (
                backend.id,
                backend.name,
                server.id,
                server.name,
                _address(server),
                server.operational,
                server.admin,
                server.weight,
                server.initial_weight,
                int(process.now()) - int(server.changed_at),  # HAProxy's clock has whole seconds
                1,
                server.check_result,
                0,
                server.check_state,
                server.agent_state,
                0,
                int("id" in server.options),
                "-" if _is_address(server.address) else server.address,
                server.port,
                "-",
                *((int("ssl" in server.options), 0, "-", "-", 0) if newer else ()),
            )
            text += " ".join(map(str, cells)) + "\n"
    return text


def stat(backends: Iterable[FakeBackend], kinds: int, sid: int, *, algorithms: bool) -> str:
    """Return `show stat` of servers (4 in *kinds*) and backends as a whole (2), with a part of its columns."""
    text = io.StringIO()
    rows = csv.DictWriter(text, _STAT.split(","), lineterminator=",\n", restval="")
    text.write(f"# {_STAT},\n")
    for backend in backends:
        mode = "syslog" if backend.mode == "log" else backend.mode
        common = {"pxname": backend.name, "iid": backend.id, "mode": mode, "qcur": 0, "scur": 0}
        if kinds & 4:
            for server in backend.servers:
                if sid in {-1, server.id}:
                    rows.writerow(common | _stat_of(server))
        if kinds & 2:
            algorithm = _NAMELESS.get(backend.algorithm, backend.algorithm) if algorithms else ""
            total = {"svname": "BACKEND", "sid": 0, "type": 1, "status": "UP", "algo": algorithm}
            total["cookie"] = backend.cookie if algorithms else ""
            usable = [server for server in backend.servers if server.takes_traffic]
            total["act"] = sum(not server.backup for server in usable)
            total["bck"] = sum(server.backup for server in usable)
            rows.writerow(common | total)
    return text.getvalue()


def _stat_of(server: FakeServer) -> dict[str, object]:
    return {
        "svname": server.name,
        "qcur": server.queued,
        "scur": server.sessions + server.closing,
        "slim": server.maxconn or "",
        "stot": server.total,
        "status": _status(server),
        "weight": server.weight,
        "act": int(not server.backup),
        "bck": int(server.backup),
        "sid": server.id,
        "type": 2,
        "check_status": "L7STS" if server.check_result == 2 else "",
        "check_code": "503" if server.check_result == 2 else "",
        "last_chk": 'a "quoted" text, with a comma',
        "addr": f"{server.address}:{server.port}",
    }


def _status(server: FakeServer) -> str:
    if server.in_maintenance:
        return "MAINT"
    if server.admin & DRAIN:
        return "DRAIN"
    if server.check_state & (CONFIGURED | ENABLED) != CONFIGURED | ENABLED:
        return "no check"
    return "DOWN" if server.operational == DOWN else "UP"


def _address(server: FakeServer) -> str:
    return server.address if _is_address(server.address) else "-"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
