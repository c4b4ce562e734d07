"""What are a server's name and id? Functions of the endpoint and of the options, equal on every HAProxy.

The id serves three purposes. Consistent hashing places a server by its id, so equal ids make a fleet agree. An explicit
id makes `add server` fast, and is what makes 2.6 spread requests at all. And because it is a hash of the options, too,
the id of a live server shows, even after a restart, whether the server was added with the current options.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from hashlib import blake2b
from itertools import count
from typing import TypeVar

from dynsrv.model import Endpoint

T = TypeVar("T")

_LOWEST_ID = 65_536
"""Smaller ids are left to the servers of the configuration file, which HAProxy numbers from 1."""
_HIGHEST_ID = 268_435_456
"""Consistent hashing maps higher ids to the same positions (2.6-3.4)."""


def ids(endpoint: Endpoint, options: tuple[str, ...]) -> Iterator[int]:
    """Yield candidate ids for a server of *endpoint* with *options*, the preferred one first; infinite.

    Weight, state and name are not included: a change of these does not replace the server.
    """
    identity = "\n".join((endpoint.address, str(endpoint.port), *options)).encode()
    for attempt in count():
        digest = blake2b(identity, digest_size=8, salt=attempt.to_bytes(8)).digest()
        yield _LOWEST_ID + int.from_bytes(digest) % (_HIGHEST_ID - _LOWEST_ID + 1)


def names(endpoint: Endpoint, prefix: str, server_id: int) -> Iterator[str]:
    """Yield candidate names for a server of *endpoint*, the preferred one first; infinite.

    The second one is needed while a predecessor with the first name still drains.
    """
    name = prefix + (endpoint.name or f"{endpoint.address}:{endpoint.port}")
    yield name
    yield f"{name}-{server_id:x}"
    for number in count(2):
        yield f"{name}-{server_id:x}-{number}"


def first_free(candidates: Iterator[T], taken: Container[T]) -> T:
    """Return the first candidate that is not taken."""
    return next(candidate for candidate in candidates if candidate not in taken)
