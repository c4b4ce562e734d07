"""What does the daemon cost, and does it answer while it works?"""

from __future__ import annotations

import socket
import time

from bench import raw
from bench.daemon import running
from bench.dynsrv import installed
from bench.haproxy import running as haproxy_running
from bench.load import Load
from bench.scenario import Measured, Round
from bench.servers import Kind, admission, servers
from dynsrv.logs import Event
from tests.integration.support.figures import Usage

RESIDENT = "resident"
PEAK = "peak"
STALL = "longest stall"
QUIET = "quiet"
CPU = "dynsrv"

_RHYTHM = 0.005
_WARM_UP = 0.5
_QUIET_SECONDS = 2.0


def memory(this: Round, *, number: int) -> Measured:
    """MiB resident after a fill to *number* servers."""
    kind = Kind()
    wanted = servers(number, port=this.port, kind=kind)
    with haproxy_running(this.version) as haproxy, installed(haproxy, kind=kind) as dynsrv:
        dynsrv.want(wanted)
        with running(dynsrv) as daemon:
            daemon.logged(Event.BACKEND_IN_SYNC)
            yield RESIDENT, Usage.of(daemon.pid).memory
            yield PEAK, daemon.peak
        haproxy.verify(wanted)


def idle(this: Round, *, number: int, seconds: float) -> Measured:
    """Per cent of one core while nothing changes, over so many seconds: at best a multiple of the resync's 30."""
    kind = Kind()
    wanted = servers(number, port=this.port, kind=kind)
    with haproxy_running(this.version) as haproxy, installed(haproxy, kind=kind) as dynsrv:
        raw.timed(haproxy.socket, admission(wanted))
        dynsrv.want(wanted)
        with running(dynsrv) as daemon:
            daemon.logged(Event.BACKEND_IN_SYNC)
            time.sleep(3)  # the source reads its file again for a while after a change
            began, before = time.monotonic(), Usage.of(daemon.pid).cpu
            time.sleep(seconds)
            yield CPU, 100 * (Usage.of(daemon.pid).cpu - before) / (time.monotonic() - began)
        haproxy.verify(wanted)


def stall(this: Round, *, number: int) -> Measured:
    """Milliseconds that /healthz took at most: while nothing happens, and during a fill to *number* servers."""
    kind = Kind()
    wanted = servers(number, port=this.port, kind=kind)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    with haproxy_running(this.version) as haproxy, installed(haproxy, kind=kind, web=port) as dynsrv:
        dynsrv.want([])
        with running(dynsrv) as daemon:
            daemon.logged(Event.BACKEND_IN_SYNC)
            load = Load(port, "/healthz", interval=_RHYTHM)
            time.sleep(_WARM_UP)
            began = time.time()
            time.sleep(_QUIET_SECONDS)
            dynsrv.want(wanted)
            changed = time.time()
            ended = daemon.logged(Event.BACKEND_IN_SYNC)
            load.end()
            yield QUIET, 1000 * load.between(began, changed)[-1]
            yield STALL, 1000 * load.between(changed, ended)[-1]
        haproxy.verify(wanted)
