"""How long does one dynsrv take for many HAProxies?"""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench import raw
from bench.dynsrv import installed
from bench.haproxy import several
from bench.raw import Raw
from bench.scenario import DYNSRV, RAW, Measured, Round
from bench.servers import Kind, admission, servers


def fleet(this: Round, *, proxies: int, number: int) -> Measured:
    """From no server to *number* on each of *proxies* HAProxies, all at the same time from one process."""
    kind = Kind()
    wanted = servers(number, port=this.port, kind=kind)
    with several(proxies, this.version) as haproxys:
        began = time.perf_counter()
        with ExitStack() as stack:
            connections = [stack.enter_context(Raw(one.socket)) for one in haproxys]
            for connection in connections:
                connection.send(admission(wanted))
            raw.exchange(connections)
        yield RAW, time.perf_counter() - began
        for haproxy in haproxys:
            haproxy.verify(wanted)
    with several(proxies, this.version) as haproxys, installed(*haproxys, kind=kind) as dynsrv:
        dynsrv.want(wanted)
        yield DYNSRV, dynsrv.apply()
        for haproxy in haproxys:
            haproxy.verify(wanted)
