"""What does a look cost when there is nothing to do, and how long does one change take among many servers?"""

from __future__ import annotations

import time

from bench import raw
from bench.daemon import running as daemon_running
from bench.dynsrv import installed
from bench.haproxy import HAProxy, running
from bench.raw import Raw
from bench.scenario import DYNSRV, RAW, Measured, Round
from bench.servers import BACKEND, Kind, Server, admission, servers
from dynsrv.logs import Event

_LOOKS = 5


def _look(connection: Raw) -> int:
    """Fetch the servers, split their lines, and return how many there are."""
    rows = [line.split(b" ") for line in connection.fetch(f"show servers state {BACKEND}").split(b"\n")]
    return len(rows)


def no_op(this: Round, *, number: int) -> Measured:
    """A pass over *number* servers that are as desired."""
    kind = Kind()
    wanted = servers(number, port=this.port, kind=kind)
    with running(this.version) as haproxy, installed(haproxy, kind=kind) as dynsrv:
        raw.timed(haproxy.socket, admission(wanted))
        dynsrv.want(wanted)
        for _ in range(_LOOKS):
            began = time.perf_counter()
            with Raw(haproxy.socket) as connection:
                assert _look(connection) >= number
            yield RAW, time.perf_counter() - began
        for seconds in dynsrv.passes(_LOOKS):
            yield DYNSRV, seconds
        haproxy.verify(wanted)


def change(this: Round, *, number: int) -> Measured:
    """One more server among *number*: from the source's word to HAProxy's answer."""
    kind = Kind()
    before = servers(number, port=this.port, kind=kind)
    (coming,) = servers(1, port=this.port, kind=kind, beside=before)
    with running(this.version) as haproxy:
        raw.timed(haproxy.socket, admission(before))
        began = time.perf_counter()
        with Raw(haproxy.socket) as connection:
            _look(connection)
            connection.send(admission([coming]))
            raw.exchange([connection])
        yield RAW, time.perf_counter() - began
        haproxy.verify([*before, coming])
    with running(this.version) as haproxy, installed(haproxy, kind=kind) as dynsrv:
        raw.timed(haproxy.socket, admission(before))
        dynsrv.want(before)
        yield DYNSRV, dynsrv.change([*before, coming])
        haproxy.verify([*before, coming])


def change_of_file(this: Round, *, number: int) -> Measured:
    """The same with the whole daemon: from the renamed file to the server that HAProxy shows as ready."""
    kind = Kind()
    before = servers(number, port=this.port, kind=kind)
    (coming,) = servers(1, port=this.port, kind=kind, beside=before)
    with running(this.version) as haproxy, installed(haproxy, kind=kind) as dynsrv:
        raw.timed(haproxy.socket, admission(before))
        dynsrv.want(before)
        with daemon_running(dynsrv) as daemon:
            daemon.logged(Event.BACKEND_IN_SYNC)
            time.sleep(2)  # the source reads its file again for a while after a change
            dynsrv.want([*before, coming])
            began = time.perf_counter()
            _await_ready(haproxy, coming)
            yield DYNSRV, time.perf_counter() - began
        haproxy.verify([*before, coming])


def _await_ready(haproxy: HAProxy, server: Server) -> None:
    deadline = time.monotonic() + 30
    backend_id = next(iter(haproxy.rows().values()))[0]
    while time.monotonic() < deadline:
        # the row of one server is cheap, so that asking does not slow down what is measured
        row = haproxy.ask(f"show stat {backend_id} 4 {server.id}").split("\n")[1]
        if ",UP" in row or ",no check" in row:
            return
        time.sleep(0.005)
    raise SystemExit(f"{server.name} was not ready within 30 s")
