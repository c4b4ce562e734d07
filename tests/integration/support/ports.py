"""Which port may a process have that takes a number only, while other tests look for one, too?"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def a_port() -> Iterator[int]:
    """Keep a free port of 127.0.0.1 for one process, which may come and go: no other test gets it meanwhile.

    It is none of those that the kernel gives away by itself (/proc/sys/net/ipv4/ip_local_port_range), or a connection
    could take it while nobody listens. What makes it ours is the name of a socket, which goes when this process goes.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket(socket.AF_UNIX) as ours:
            try:
                ours.bind(f"\0dynsrv-test-port-{port}")
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(type=kind) as probe:
                        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            yield port
            return
