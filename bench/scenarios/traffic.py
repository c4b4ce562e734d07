"""Does it hurt the traffic on other backends when many servers are added?"""

from __future__ import annotations

import time

from bench import daemon, raw
from bench.dynsrv import installed
from bench.haproxy import HAProxy, running
from bench.load import Load
from bench.scenario import RAW, Measured, Round
from bench.servers import Kind, Server, admission, servers
from dynsrv.logs import Event

QUIET = "quiet"
PACED = "dynsrv"
UNPACED = "unpaced"

_QUIET_SECONDS = 3.0
_CONNECTIONS = 4
"""HAProxy's threads share them out, and those of the thread that serves the Runtime API as well wait longest."""
_INTERVAL = 0.004  # seconds between two requests of one connection
_WARM_UP = 0.5
_OTHER = """
frontend fe_other
    bind unix@{folder}/other.sock
    default_backend be_other

backend be_other
    server origin 127.0.0.1:"""


def neighbours(this: Round, *, number: int) -> Measured:
    """The 99th percentile of other traffic in ms, during a fill of `balance random` to *number* servers of weight 100.

    With dynsrv as it is, without its pace, and with the raw limit, which has none either.
    """
    wanted = servers(number, port=this.port, kind=Kind(weight=100))
    for way in (PACED, UNPACED, RAW):
        with running(this.version, balance="balance random", extra=f"{_OTHER}{this.port}\n") as haproxy:
            quiet, p99 = _raw(haproxy, wanted) if way == RAW else _dynsrv(haproxy, wanted, paced=way == PACED)
            haproxy.verify(wanted)
        yield QUIET, quiet
        yield way, p99


def _raw(haproxy: HAProxy, wanted: list[Server]) -> tuple[float, float]:
    loads, quiet = _other_traffic(haproxy)
    began = time.time()
    raw.timed(haproxy.socket, admission(wanted))
    return _p99s(loads, quiet, (began, time.time()))


def _dynsrv(haproxy: HAProxy, wanted: list[Server], *, paced: bool) -> tuple[float, float]:
    with installed(haproxy, kind=wanted[0].kind) as dynsrv:
        dynsrv.want([])
        with daemon.running(dynsrv, module="dynsrv" if paced else "bench.unpaced") as running_daemon:
            running_daemon.logged(Event.BACKEND_IN_SYNC)
            loads, quiet = _other_traffic(haproxy)
            dynsrv.want(wanted)
            began = running_daemon.logged(Event.ENDPOINTS_CHANGED)
            return _p99s(loads, quiet, (began, running_daemon.logged(Event.BACKEND_IN_SYNC)))


def _other_traffic(haproxy: HAProxy) -> tuple[list[Load], tuple[float, float]]:
    """Begin it, and return it with the quiet time, which it had already."""
    loads = [Load(haproxy.folder / "other.sock", "/", interval=_INTERVAL) for _ in range(_CONNECTIONS)]
    time.sleep(_WARM_UP)
    began = time.time()
    time.sleep(_QUIET_SECONDS)
    return loads, (began, time.time())


def _p99s(loads: list[Load], *times: tuple[float, float]) -> tuple[float, float]:
    for load in loads:
        load.end()
    quiet, busy = (sorted(took for load in loads for took in load.between(began, ended)) for began, ended in times)
    return 1000 * quiet[int(len(quiet) * 0.99)], 1000 * busy[int(len(busy) * 0.99)]
