from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from dynsrv.logs import Event
from dynsrv.web.connections import BoundedConnections, log_accept_errors


class Connection:
    def __init__(self) -> None:
        self.closed = False

    def force_close(self) -> None:
        self.closed = True


def test_beyond_the_limit_a_connection_replaces_the_oldest_idle_one() -> None:
    connections: list[Connection] = []

    def create() -> Connection:
        connections.append(Connection())
        return connections[-1]

    bounded = BoundedConnections(create, lambda: connections, limit=3)
    for _ in range(5):
        bounded()
    assert [one.closed for one in connections] == [True, True, False, False, False]


async def test_that_no_connection_can_be_accepted_is_logged_once_a_minute() -> None:
    loop = asyncio.get_running_loop()
    log_accept_errors(loop)
    context = {"message": "socket.accept() out of system resource", "exception": OSError(24, "Too many open files")}
    with capture_logs() as logs:
        for _ in range(3):
            for _ in range(1000):
                loop.call_exception_handler(context)
            await asyncio.sleep(30)
    assert [one["event"] for one in logs] == [Event.ACCEPT_FAILED] * 2
