"""How long until servers whose checks have to pass first get requests?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bench import plain, raw
from bench.dynsrv import installed
from bench.haproxy import running
from bench.raw import Raw
from bench.scenario import DYNSRV, PLAIN, RAW, Measured, Round
from bench.servers import BACKEND, Kind, Server, servers

_PASSED = {b"3", b"4"}  # srv_check_result
_PAUSE = 0.02


def after_check(this: Round, *, number: int) -> Measured:
    """From no server to *number*, each admitted when its first check passed, with `inter 2s`."""
    kind = Kind(inter=2)
    wanted = servers(number, port=this.port, kind=kind)
    with running(this.version) as haproxy:
        began = time.perf_counter()
        with Raw(haproxy.socket) as connection:

            def send(lines: Sequence[str]) -> None:
                connection.send(lines)
                raw.exchange([connection])

            _admit(wanted, send=send, ask=connection.fetch)
        yield RAW, time.perf_counter() - began
        haproxy.verify(wanted)
    with running(this.version) as haproxy, installed(haproxy, kind=kind, backend={"admit": "after-check"}) as dynsrv:
        dynsrv.want(wanted)
        yield DYNSRV, dynsrv.apply()
        haproxy.verify(wanted)
    if this.plain:
        with running(this.version) as haproxy:
            path = haproxy.socket
            began = time.perf_counter()
            _admit(
                wanted,
                send=lambda lines: plain.timed(path, lines),
                ask=lambda line: plain.command(str(path), line),
                with_id=False,
            )
            yield PLAIN, time.perf_counter() - began
            haproxy.verify(wanted, ids=False)


def _admit(
    wanted: Sequence[Server],
    *,
    send: Callable[[Sequence[str]], object],
    ask: Callable[[str], bytes],
    with_id: bool = True,
) -> None:
    """Add *wanted* and let their checks run; admit those whose check passed, until all are."""
    send([*(one.add(with_id=with_id) for one in wanted), *(f"enable health {one.path}" for one in wanted)])
    waiting = {one.name.encode(): one.path for one in wanted}
    while True:
        rows = [line.split(b" ") for line in ask(f"show servers state {BACKEND}").split(b"\n")]
        passed = [row[3] for row in rows if len(row) > 13 and row[11] in _PASSED and row[3] in waiting]
        if passed:
            send([f"enable server {waiting.pop(name)}" for name in passed])
        if not waiting:
            return
        time.sleep(_PAUSE)
