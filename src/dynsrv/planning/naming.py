"""What are a server's name and id? Functions of the endpoint and of the options, equal on every HAProxy.

The id does three things. Consistent hashing places a server by it, so equal ids make a fleet agree. Sent explicitly it
makes `add server` fast, and 2.6 spread requests at all. And since it is a hash of the options too, a live server's id
tells, after any restart, whether the server was added with the options that are wanted now.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from hashlib import blake2b
from itertools import count
from typing import TypeVar

from dynsrv.model import Endpoint

T = TypeVar("T")

_LOWEST_ID = 65_536
"""Leaves the small ids to the servers of the configuration file, which HAProxy numbers from 1."""
_HIGHEST_ID = 268_435_456
"""Consistent hashing folds higher ids together (2.6-3.4)."""


def ids(endpoint: Endpoint, options: tuple[str, ...]) -> Iterator[int]:
    """Yield the ids that a server for *endpoint* with *options* may have, the preferred one first, without end.

    Weight, state and name are no part of it: they do not make another server.
    """
    identity = "\n".join((endpoint.address, str(endpoint.port), *options)).encode()
    for attempt in count():
        digest = blake2b(identity, digest_size=8, salt=attempt.to_bytes(8)).digest()
        yield _LOWEST_ID + int.from_bytes(digest) % (_HIGHEST_ID - _LOWEST_ID + 1)


def names(endpoint: Endpoint, prefix: str, server_id: int) -> Iterator[str]:
    """Yield the names that a server for *endpoint* may have, the preferred one first, without end.

    The second is for the time in which a predecessor with the first still drains.
    """
    name = prefix + (endpoint.name or f"{endpoint.address}:{endpoint.port}")
    yield name
    yield f"{name}-{server_id:x}"
    for number in count(2):
        yield f"{name}-{server_id:x}-{number}"


def first_free(candidates: Iterator[T], taken: Container[T]) -> T:
    """Return the first candidate that is not taken."""
    return next(candidate for candidate in candidates if candidate not in taken)
