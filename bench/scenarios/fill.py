"""How long does it take to add servers, to take them away, and to replace some?"""

from __future__ import annotations

from bench import plain, raw
from bench.dynsrv import installed
from bench.haproxy import running
from bench.scenario import DYNSRV, PLAIN, RAW, Measured, Round
from bench.servers import BACKEND, Kind, admission, removal, servers

_PATIENCE = 4.5


def fill(this: Round, *, number: int, balance: str = "balance roundrobin") -> Measured:
    """From no server to *number*, all of them admitted at once.

    The plain way is stopped when it takes four and a half times as long as dynsrv, which says enough.
    """
    kind = Kind()
    wanted = servers(number, port=this.port, kind=kind)
    with running(this.version, balance=balance) as haproxy:
        yield RAW, raw.timed(haproxy.socket, admission(wanted))
        haproxy.verify(wanted)
    with running(this.version, balance=balance) as haproxy, installed(haproxy, kind=kind) as dynsrv:
        dynsrv.want(wanted)
        seconds = dynsrv.apply()
        yield DYNSRV, seconds
        haproxy.verify(wanted)
    if this.plain:
        with running(this.version, balance=balance) as haproxy:
            patience = _PATIENCE * max(seconds, 1)
            took = plain.timed(haproxy.socket, admission(wanted, with_id=False), at_most=patience)
            yield PLAIN, took
            if took > patience:
                this.stopped.add(PLAIN)
            else:
                haproxy.verify(wanted, ids=False)


def empty(this: Round, *, number: int) -> Measured:
    """From *number* servers without a session to none. The plain way drains first and looks, as dynsrv does."""
    kind = Kind()
    there = servers(number, port=this.port, kind=kind)
    with running(this.version) as haproxy:
        raw.timed(haproxy.socket, admission(there))
        names = haproxy.names()
        yield RAW, raw.timed(haproxy.socket, removal(names))
        haproxy.verify([])
    with running(this.version) as haproxy, installed(haproxy, kind=kind) as dynsrv:
        raw.timed(haproxy.socket, admission(there))
        dynsrv.want([])
        yield DYNSRV, dynsrv.apply()
        haproxy.verify([])
    if this.plain:
        with running(this.version) as haproxy:
            raw.timed(haproxy.socket, admission(there))
            drain = [f"set server {one.path} state drain" for one in there]
            lines = [*drain, f"show stat {BACKEND} 4 -1", *removal([one.name for one in there])]
            yield PLAIN, plain.timed(haproxy.socket, lines)
            haproxy.verify([])


def churn(this: Round, *, number: int) -> Measured:
    """Every tenth of *number* servers replaced by another."""
    kind = Kind()
    before = servers(number, port=this.port, kind=kind)
    coming = servers(number // 10, port=this.port, kind=kind, beside=before)
    leaving = [one.name for one in before[::10]]
    after = [one for one in before if one.name not in set(leaving)] + coming
    with running(this.version) as haproxy:
        raw.timed(haproxy.socket, admission(before))
        yield RAW, raw.timed(haproxy.socket, [*admission(coming), *removal(leaving)])
        haproxy.verify(after)
    with running(this.version) as haproxy, installed(haproxy, kind=kind) as dynsrv:
        raw.timed(haproxy.socket, admission(before))
        dynsrv.want(after)
        yield DYNSRV, dynsrv.apply()
        haproxy.verify(after)
    if this.plain:
        with running(this.version) as haproxy:
            raw.timed(haproxy.socket, admission(before))
            drain = [f"set server {BACKEND}/{name} state drain" for name in leaving]
            look = f"show stat {BACKEND} 4 -1"
            lines = [*admission(coming, with_id=False), *drain, look, *removal(leaving)]
            yield PLAIN, plain.timed(haproxy.socket, lines)
            haproxy.verify(after, ids=False)
